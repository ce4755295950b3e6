"""What an lr does to a tensor of a known scale: arithmetic on the optimizer's expected update."""

import math
from dataclasses import dataclass, replace

from scalecheck.optimizers.contract import (
    REFUSALS,
    Gradient,
    Hyperparameters,
    Weights,
    refusal,
)

UNSEEN = 1e12  # a gradient RMS beside which no eps counts, for one that is not known


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
    """The expected step of a tensor of this RMS and shape; step None is the late one, and a
    gradient of RMS UNSEEN one whose RMS is not known.

    Where theory refuses, or the RMS would be needed, update_rms is None and the reason says so.
    """
    update, reason = _update(optimizer, rms, shape, gradient, step)
    if update is not None and gradient.rms == UNSEEN:
        louder, _ = _update(optimizer, rms, shape, replace(gradient, rms=10 * UNSEEN), step)
        if louder is None or not math.isclose(louder, update, rel_tol=1e-6):
            update, reason = None, "its updates are as large as its gradients: give --grad-rms"
    if update == 0 and step is None:
        update, reason = None, "its late updates vanish: give --step"
    effective = optimizer.effective_lr(lr, step)
    return Forecast(rms, lr, effective, update, optimizer.relative_lr, reason)


def _update(
    optimizer: Hyperparameters,
    rms: float,
    shape: tuple[int, ...],
    gradient: Gradient,
    step: int | None,
) -> tuple[float | None, str]:
    try:
        update = optimizer.update_rms(gradient, step, Weights(shape, rms))
    except REFUSALS as error:
        return None, refusal(error)
    return (update, "") if math.isfinite(update) else (None, "its expected update is not finite")
