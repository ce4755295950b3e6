"""How far a whole schedule carries a tensor, and where weight decay would hold it."""

from typing import Any

from scalecheck.errors import OptionError, UsageError
from scalecheck.optimizers.contract import REFUSALS, Gradient
from scalecheck.theory.schedule import SHAPES, Schedule
from scalecheck.updates.forecast import at_any_rms
from scalecheck.updates.training import Training

SCHEDULES = tuple(name.replace("_", "-") for name in SHAPES)
COOLDOWN = 5  # a wsd schedule falls over the last of so many parts
CONSTANT = 1e6  # an snr that is as good as a constant gradient


def schedule(shape: str, steps: int | None, warmup: int, final: float) -> Schedule | None:
    """The schedule of these words, None without steps; wsd falls over the last fifth. Raises
    UsageError."""
    if steps is None:
        if shape != "constant" or warmup or final:
            raise UsageError("--schedule, --warmup and --final: need --steps")
        return None
    decay = (steps - warmup) // COOLDOWN if shape == "wsd" else 0
    try:
        return Schedule(shape.replace("-", "_"), steps, warmup, final, max(0, decay))
    except ValueError as error:
        raise OptionError("schedule", str(error), shape) from error


def schedule_fields(
    training: Training, rms: float | None, plan: Schedule, gradient: Gradient, known: bool
) -> dict[str, Any]:
    """The fields of LATE of a tensor; known: the gradient's RMS is measured or given."""
    first, second = plan.sums()
    lr = training.lr
    drift = _displacement(training, lr * first, lr * lr * second, Gradient(gradient.rms, CONSTANT))
    walk = _displacement(training, lr * first, lr * lr * second, gradient)
    balance = _equilibrium(training, gradient, known)
    pull = lr * training.weight_decay
    rms = rms or 0.0
    return {
        "drift": drift / rms if drift is not None and rms else None,
        "random_walk": walk / rms if walk is not None and rms else None,
        "equilibrium_rms": balance,
        "equilibrium_ratio": rms / balance if balance else None,
        "memory_steps": 1 / pull if pull and balance is not None else None,
        "decay_sum": pull * first,
    }


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


def _equilibrium(training: Training, gradient: Gradient, known: bool) -> float | None:
    if not training.weight_decay or not (known or training.is_decay_decoupled):
        return None
    try:
        return at_any_rms(
            lambda known: training.optimizer.equilibrium_rms(training.lr, known), gradient
        )
    except REFUSALS:
        return None
