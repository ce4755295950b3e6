"""RAdam: SGD with momentum in the first steps, then Adam with a factor that grows to 1."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from scalecheck.optimizers.contract import (
    ADAM_ENTRIES,
    BETAS,
    TORCH_FLAGS,
    UNIT,
    Beta,
    FloatArray,
    Gradient,
    Hyperparameters,
    LastUpdate,
    NoFormula,
    NotNegative,
    SavedState,
    Weights,
    Writer,
)
from scalecheck.theory.displacement import LONG, discounted, held_sums
from scalecheck.theory.domain import require_step
from scalecheck.theory.drift import average_rms, displacement_rms
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.schedule import Schedule, Sums
from scalecheck.theory.update_rms import expected_update

RECTIFIED_ABOVE = 5.0  # torch.optim.RAdam rectifies where its rho_t exceeds this

BEFORE_TORCH_2_1 = Writer(
    settings=("betas", "eps", "weight_decay", "foreach"),
    entries=ADAM_ENTRIES,
    without=("maximize", "fused", "capturable"),
)
"""torch.optim.RAdam before it had decoupled_weight_decay; Adam with foreach has amsgrad too."""


@dataclass(frozen=True)
class Optimizer(Hyperparameters):
    """torch.optim.RAdam: w ← w − lr·r_t·m̂·√(1−beta2^t)/(√v + eps), or w − lr·m̂ while ρ_t ≤ 5.

    ρ_t = ρ∞ − 2t·beta2^t/(1−beta2^t), ρ∞ = 2/(1−beta2) − 1, r_t the rectification. eps is added to
    √v, before the bias correction, where Adam's is after. g includes weight_decay·w unless
    decoupled_weight_decay, where w first shrinks by lr·weight_decay.
    Source: Liu et al. 2020, with torch's threshold of 5 for the paper's 4.
    """

    torch_class: ClassVar[str] = "RAdam"
    state: ClassVar[SavedState] = SavedState(
        entries=ADAM_ENTRIES,
        pairs=BETAS,
        optional_settings=TORCH_FLAGS,
        second_moment_factor="beta2",
        writers=(BEFORE_TORCH_2_1,),
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0
    decoupled_weight_decay: bool = False

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """r_t times Adam's, with eps/√(1−beta2^step) for its eps; in the first steps the RMS of m̂,
        which is proportional to the gradient."""
        factor = self._rectification(step)
        if factor is None:
            gradient.require_independent()
            return gradient.known_rms * average_rms(self.beta1, gradient.snr, step)
        remaining = 0.0 if step is None else self.beta2**step
        return (
            factor
            * expected_update(
                self.beta1,
                self.beta2,
                gradient.snr,
                step,
                gradient.over(self.eps) * math.sqrt(1 - remaining),
                gradient.noise,
            ).rms
        )

    def displacement(self, plan: Schedule, gradient: Gradient) -> float:
        """Adam's law, each lr times r_t, or in the first steps, which move by m̂, times rms(g)."""
        gradient.require_independent()
        if self._rectification(None) is None:
            raise NoFormula(f"beta2 {self.beta2}: solved for what leaves its first steps")
        sums = _sums(self, plan, gradient.known_rms)
        return gradient.kept(self.eps) * displacement_rms(*sums, gradient.snr)

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """m̂, times r_t·√(1−beta2^step)/(√v + eps) from where it is rectified."""
        mean = state["exp_avg"] / (1 - self.beta1**step)
        remaining = 1 - self.beta2**step
        factor = self._rectification(step)
        update = mean
        if factor is not None:
            root = np.sqrt(state["exp_avg_sq"]) + self.eps
            update = factor * math.sqrt(remaining) * mean / root
        return LastUpdate(update, mean, state["exp_avg_sq"] / remaining)

    def reparameterization(self) -> Reparameterization:
        """NoFormula: lr' = k²·lr in the first steps, and k·lr with eps/k after them.

        A beta2 up to ⅔ never leaves the first steps, and has SGD's law.
        """
        if self._rectification(None) is None:
            return Reparameterization(2, {"weight_decay": -2})
        step = 1
        while self._rectification(step) is None:
            step += 1
        raise NoFormula(
            f"RAdam's first {step - 1} steps follow the gradient's scale (lr' = k²·lr), "
            "later ones do not (lr' = k·lr): no one exponent fits both"
        )

    def _rectification(self, step: int | None) -> float | None:
        """r_t = √((ρ_t−4)(ρ_t−2)ρ∞ / ((ρ∞−4)(ρ∞−2)ρ_t)); None where the update is m̂ itself; 1 in
        the limit of late steps."""
        require_step(step)
        longest = 2 / (1 - self.beta2) - 1
        if step is None:
            return 1.0 if longest > RECTIFIED_ABOVE else None
        remaining = self.beta2**step
        length = longest - 2 * step * remaining / (1 - remaining)
        if length <= RECTIFIED_ABOVE:
            return None
        return math.sqrt(
            (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        )


@lru_cache(maxsize=256)
def _sums(optimizer: Optimizer, plan: Schedule, grad_rms: float) -> Sums:
    """Of what each gradient moves in all at a peak lr of 1; in the longest schedules, in which the
    rectified steps count for little, lr_i itself."""
    if plan.steps > LONG:
        return plan.sums()
    lrs, beta1 = plan.multiples(), optimizer.beta1
    step = plan.done + np.arange(1.0, len(lrs) + 1)
    remaining, longest = optimizer.beta2**step, 2 / (1 - optimizer.beta2) - 1
    length = np.maximum(longest - 2 * step * remaining / (1 - remaining), RECTIFIED_ABOVE)
    rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    factor = np.where(length > RECTIFIED_ABOVE, np.sqrt(rectified), grad_rms)
    moved = (1 - beta1) * discounted(lrs * factor / (1 - beta1**step), beta1)
    return held_sums(moved, beta1, plan)
