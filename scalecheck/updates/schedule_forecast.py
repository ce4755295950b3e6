"""How far a whole schedule carries a tensor, and where weight decay would hold it."""

from dataclasses import dataclass

from scalecheck.errors import OptionError, UsageError
from scalecheck.optimizers.contract import REFUSALS, Gradient
from scalecheck.theory.schedule import Schedule
from scalecheck.updates.forecast import at_any_rms
from scalecheck.updates.training import Training

COOLDOWN = 5  # a wsd schedule falls over the last of so many parts
CONSTANT = 1e6  # an snr that is as good as a constant gradient


@dataclass(frozen=True, kw_only=True)
class ScheduleForecast:
    """Where a schedule leads one tensor; None where theory has no formula or the scale is 0.

    drift, random_walk: its displacement over its rms, for gradients that keep their sign and for
    those of a given snr. equilibrium_rms: the rms at which updates and weight decay hold it,
    equilibrium_ratio: its rms over that. memory_steps: 1/(lr·weight_decay), the steps over which it
    forgets. decay_sum: Σ lr·weight_decay.
    """

    drift: float | None = None
    random_walk: float | None = None
    equilibrium_rms: float | None = None
    equilibrium_ratio: float | None = None
    memory_steps: float | None = None
    decay_sum: float | None = None


def schedule(shape: str, steps: int | None, warmup: int, final: float) -> Schedule | None:
    """The schedule of these words, None without steps; wsd falls over the last fifth. Raises
    UsageError."""
    if steps is None:
        if shape != "constant" or warmup or final:
            raise UsageError("--schedule, --warmup and --final: need --steps")
        return None
    decay = (steps - warmup) // COOLDOWN if shape == "wsd" else 0
    try:
        return Schedule(shape, steps, warmup, final, max(0, decay))
    except ValueError as error:
        raise OptionError("schedule", str(error), shape) from error


def schedule_forecast(
    training: Training, rms: float | None, plan: Schedule, gradient: Gradient, is_known: bool
) -> ScheduleForecast:
    """The forecast of a tensor of this rms; is_known: the gradient's RMS is measured or given."""
    first, second = plan.sums()
    lr = training.lr
    drift = _displacement(training, lr * first, lr * lr * second, Gradient(gradient.rms, CONSTANT))
    walk = _displacement(training, lr * first, lr * lr * second, gradient)
    equilibrium = _equilibrium(training, gradient, is_known)
    decay = lr * training.optimizer.decay_scale * training.weight_decay
    rms = rms or 0.0
    return ScheduleForecast(
        drift=drift / rms if drift is not None and rms else None,
        random_walk=walk / rms if walk is not None and rms else None,
        equilibrium_rms=equilibrium,
        equilibrium_ratio=rms / equilibrium if equilibrium else None,
        memory_steps=1 / decay if decay and equilibrium is not None else None,
        decay_sum=decay * first,
    )


def _displacement(
    training: Training, lr_sum: float, lr_square_sum: float, gradient: Gradient
) -> float | None:
    """None where it is not solved, or follows a gradient that is not known."""
    optimizer = training.optimizer
    try:
        return at_any_rms(
            lambda known: optimizer.displacement(lr_sum, lr_square_sum, known), gradient
        )
    except REFUSALS:
        bound = gradient.snr == CONSTANT and optimizer.equal_updates
        return lr_sum if bound else None


def _equilibrium(training: Training, gradient: Gradient, is_known: bool) -> float | None:
    if not training.weight_decay or not (is_known or training.is_decay_decoupled):
        return None
    try:
        return at_any_rms(
            lambda known: training.optimizer.equilibrium_rms(training.lr, known), gradient
        )
    except REFUSALS:
        return None
