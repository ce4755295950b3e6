"""What an lr does to a tensor of a known scale: arithmetic on the optimizer's expected update."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from scalecheck.optimizers.contract import (
    REFUSALS,
    Gradient,
    Hyperparameters,
    NoFormula,
    Weights,
    refusal,
)

_LARGE = 1e12  # a gradient RMS beside which no eps counts


@dataclass(frozen=True)
class Forecast:
    """One step of a tensor. RMS over its elements; None where `reason` says why.

    rms: of the weights, at least 0. lr: as given. effective_lr: lr, unless the optimizer caps it.
    update_rms: of Δw/lr, or of Δw/(lr·rms) where the optimizer's lr is relative already
    (`relative_lr`); weight decay is not in it.
    """

    rms: float
    lr: float
    effective_lr: float
    update_rms: float | None
    relative_lr: bool = False
    reason: str = ""

    @property
    def absolute_update(self) -> float | None:
        """RMS of Δw."""
        if self.update_rms is None:
            return None
        return self.effective_lr * self.update_rms * (self.rms if self.relative_lr else 1.0)

    @property
    def relative_update(self) -> float | None:
        """RMS of Δw over that of w; None too where the weights are all zero."""
        if self.update_rms is None or not self.rms:
            return None
        return self.effective_lr * self.update_rms / (1.0 if self.relative_lr else self.rms)

    @property
    def nominal_relative_update(self) -> float | None:
        """lr/rms: that of an update of 1 an element; None where the weights are all zero."""
        if self.relative_lr:
            return self.lr
        return self.lr / self.rms if self.rms else None


def forecast(
    optimizer: Hyperparameters,
    lr: float,
    rms: float,
    shape: tuple[int, ...],
    gradient: Gradient,
    step: int | None = None,
) -> Forecast:
    """The expected step of a tensor of this RMS and shape; step None is the steady state.

    Where theory refuses, or needs a gradient's RMS that is not known, update_rms is None and the
    reason says so.
    """
    update, reason = None, ""
    try:
        weights = Weights(shape, rms)
        update = at_any_rms(lambda known: optimizer.update_rms(known, step, weights), gradient)
    except REFUSALS as error:
        reason = refusal(error)
    if update is not None and not math.isfinite(update):
        update, reason = None, "its expected update is not finite"
    if update == 0 and step is None:
        update, reason = None, "its late updates vanish: give --step"
    effective = optimizer.effective_lr(lr, step)
    return Forecast(rms, lr, effective, update, optimizer.relative_lr, reason)


def at_any_rms(formula: Callable[[Gradient], float], gradient: Gradient) -> float:
    """A formula of a gradient whose RMS may not be known. Raises NoFormula where it is not and the
    result depends on it, beside what the formula raises."""
    if gradient.rms is not None:
        return formula(gradient)
    result = formula(replace(gradient, rms=_LARGE))
    if not math.isclose(formula(replace(gradient, rms=10 * _LARGE)), result, rel_tol=1e-6):
        raise NoFormula("its updates are as large as its gradients: give --grad-rms")
    return result
