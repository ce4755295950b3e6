"""Hugging Face's AdamW: AdamW that may leave out the correction of its averages' zero start."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scalecheck.optimizers import adamw
from scalecheck.optimizers._per_tensor import PerTensor, bias_correction, moving_average
from scalecheck.optimizers.contract import (
    ADAM_ENTRIES,
    BETAS,
    UNIT,
    Beta,
    FloatArray,
    Gradient,
    LastUpdate,
    NotNegative,
    SavedState,
    Weights,
    Writer,
)
from scalecheck.theory.displacement import (
    LONG,
    average_sums,
    discounted,
    held_sums,
    remaining,
)
from scalecheck.theory.domain import require_step
from scalecheck.theory.drift import displacement_rms
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.schedule import Schedule, Sums
from scalecheck.theory.update_rms import expected_update

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

APEX = Writer(
    settings=("betas", "eps", "weight_decay", "bias_correction"),
    entries=("exp_avg", "exp_avg_sq"),
    optional_settings=("step", "amsgrad"),
    optional_entries=("step",),
    values={"bias_correction": False, "amsgrad": False},
    names={"correct_bias": "bias_correction"},
)
"""apex's and DeepSpeed's FusedAdam where bias_correction is off."""


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """w ← w − lr·c·m/(√v + eps), then w ← (1 − lr·weight_decay)·w, of transformers before 5.

    c = √(1−beta2^t)/(1−beta1^t) with correct_bias, else 1, as BERT was trained: early updates are
    up to (1−beta1)/√(1−beta2) = 3.2 times Adam's. eps is added to √v, which makes it
    1/√(1−beta2^t) times Adam's where the bias is corrected.
    """

    spellings: ClassVar[Collection[str]] = ("transformers.AdamW", "transformers.optimization.AdamW")
    state: ClassVar[SavedState] = SavedState(
        entries=ADAM_ENTRIES, pairs=BETAS, second_moment_factor="beta2", writers=(APEX,)
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-6
    weight_decay: NotNegative = 0.0
    correct_bias: bool = True

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """Adam's, of averages that are or are not corrected: 3.16 without at step 1, 0.2293 late
        for noise in both cases."""
        require_step(step)
        eps = self.eps
        if self.correct_bias and step is not None:
            eps /= math.sqrt(1 - self.beta2**step)
        return expected_update(
            self.beta1,
            self.beta2,
            gradient.snr,
            step,
            gradient.over(eps),
            gradient.noise,
            bias_correction=self.correct_bias,
        ).rms

    def displacement(self, plan: Schedule, gradient: Gradient) -> float:
        """Adam's; without correct_bias of lrs over √(1−beta2^t)/(1−beta1^t)."""
        gradient.require_independent()
        sums = average_sums(plan, self.beta1)
        if not self.correct_bias:
            sums = _uncorrected_sums(plan, self.beta1, self.beta2)
        return gradient.kept(self.eps) * displacement_rms(*sums, gradient.snr)

    def equilibrium_rms(self, lr: float, gradient: Gradient) -> float:
        """AdamW's: late averages need no correction."""
        same = adamw.Optimizer(self.beta1, self.beta2, self.eps, self.weight_decay)
        return same.equilibrium_rms(lr, gradient)

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """c·m/(√v + eps)."""
        m, v = state["exp_avg"], state["exp_avg_sq"]
        mean, square = m / (1 - self.beta1**step), v / (1 - self.beta2**step)
        factor = self._correction(step)
        return LastUpdate(factor * m / (np.sqrt(v) + self.eps), mean, square)

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k, weight_decay' = weight_decay/k."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -1})

    def _correction(self, step: int) -> float:
        return bias_correction(self.beta1, self.beta2, step) if self.correct_bias else 1.0

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        m = moving_average(state, "exp_avg", self.beta1, gradient)
        v = moving_average(state, "exp_avg_sq", self.beta2, gradient * gradient)
        update = (m / (v.sqrt() + self.eps)).masked_fill(m == 0, 0.0)  # 0/0 where eps is 0
        weights.sub_(update, alpha=lr * self._correction(state["step"]))
        weights.mul_(1 - lr * self.weight_decay)


@lru_cache(maxsize=256)
def _uncorrected_sums(plan: Schedule, beta1: float, beta2: float) -> Sums:
    """average_sums of averages that are not corrected for their zero start."""
    if plan.steps > LONG:
        return average_sums(plan, beta1)
    root = np.sqrt(remaining(plan, beta2)) if beta2 else 1.0
    return held_sums((1 - beta1) * discounted(plan.multiples() / root, beta1), beta1, plan)
