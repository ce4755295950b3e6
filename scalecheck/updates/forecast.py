"""What theory expects of a tensor of a known scale: the update of a step, how far a whole schedule
carries it, and where weight decay would hold it."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from scalecheck.errors import OptionError, UsageError
from scalecheck.optimizers.contract import (
    REFUSALS,
    Gradient,
    Hyperparameters,
    NoFormula,
    Weights,
    refusal,
)
from scalecheck.settings import Settings
from scalecheck.theory.schedule import Schedule
from scalecheck.updates.training import Training

COOLDOWN = 5  # a wsd schedule falls over the last of so many parts
CONSTANT = 1e6  # an snr that is as good as a constant gradient
_LARGE = 1e12  # a gradient RMS beside which no eps counts


def expected_update(
    optimizer: Hyperparameters,
    rms: float,
    shape: tuple[int, ...],
    gradient: Gradient,
    step: int | None = None,
) -> tuple[float | None, str]:
    """RMS of Δw/lr of a tensor of this RMS and shape, of Δw/(lr·rms) where the optimizer's lr is
    relative; weight decay is not in it. step None is the steady state. None with the reason where
    theory refuses, or needs a gradient's RMS that is not known."""
    try:
        weights = Weights(shape, rms)
        update = _at_any_rms(lambda known: optimizer.update_rms(known, step, weights), gradient)
    except REFUSALS as error:
        return None, refusal(error)
    if not math.isfinite(update):
        return None, "its expected update is not finite"
    if update == 0 and step is None:
        return None, "its late updates vanish: give --step"
    return update, ""


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


def planned(settings: Settings, steps: int | None = None) -> Schedule | None:
    """The schedule that the settings give, over these steps where they give none; None without
    steps. wsd falls over the last fifth. Raises UsageError."""
    steps = settings.steps if settings.steps is not None else steps
    shape, warmup, final = settings.schedule, settings.warmup, settings.final
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
    optimizer, lr = training.optimizer, training.lr
    decay = lr * optimizer.decay_scale * training.weight_decay
    first, second = plan.sums()

    def displacement(snr: float) -> float | None:
        """Over the rms; None where it is not solved, or follows a gradient that is not known."""
        try:
            moved = _at_any_rms(
                lambda known: optimizer.displacement(lr * first, lr * lr * second, known),
                replace(gradient, snr=snr),
            )
        except REFUSALS:
            if snr != CONSTANT or not optimizer.equal_updates:
                return None
            moved = lr * first
        return moved / rms if rms else None

    equilibrium = None
    is_decayed = training.is_decay_known and training.weight_decay
    if is_decayed and (is_known or training.is_decay_decoupled):
        with suppress(*REFUSALS):
            equilibrium = _at_any_rms(lambda known: optimizer.equilibrium_rms(lr, known), gradient)
    return ScheduleForecast(
        drift=displacement(CONSTANT),
        random_walk=displacement(gradient.snr),
        equilibrium_rms=equilibrium,
        equilibrium_ratio=(rms or 0.0) / equilibrium if equilibrium else None,
        memory_steps=1 / decay if decay and equilibrium is not None else None,
        decay_sum=decay * first if training.is_decay_known else None,
    )


def _at_any_rms(formula: Callable[[Gradient], float], gradient: Gradient) -> float:
    """A formula of a gradient whose RMS may not be known. Raises NoFormula where it is not and the
    result depends on it, beside what the formula raises."""
    if gradient.rms is not None:
        return formula(gradient)
    result = formula(replace(gradient, rms=_LARGE))
    if not math.isclose(formula(replace(gradient, rms=10 * _LARGE)), result, rel_tol=1e-6):
        raise NoFormula("its updates are as large as its gradients: give --grad-rms")
    return result
