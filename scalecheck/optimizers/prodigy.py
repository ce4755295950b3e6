"""Prodigy: AdamW whose lr is multiplied by an estimate of how far the weights have to go."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scalecheck.optimizers._per_tensor import PerTensor, bias_correction, moving_average
from scalecheck.optimizers.contract import (
    ADAM_ENTRIES,
    BETAS,
    UNIT,
    Beta,
    Finite,
    FloatArray,
    Gradient,
    LastUpdate,
    NotNegative,
    Positive,
    SavedState,
    Weights,
    Writer,
)
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.update_rms import expected_update

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

_ESTIMATE = ("d", "d0", "d_max", "d_coef", "growth_rate", "d_numerator")

PRODIGYOPT = Writer(
    settings=("betas", "eps", "weight_decay", "use_bias_correction", "k", *_ESTIMATE),
    entries=ADAM_ENTRIES,
    optional_settings=(
        *("beta3", "decouple", "safeguard_warmup", "fsdp_in_use", "slice_p"),
        *("d_denom", "d_hat"),
    ),
    optional_entries=("s", "p0"),
    values={"decouple": True},
    names={"bias_correction": "use_bias_correction"},
)
"""prodigyopt, whose versions differ in what stands beside the estimate."""

PYTORCH_OPTIMIZER = Writer(
    settings=("betas", "eps", "weight_decay", "bias_correction", "step", "d_hat", *_ESTIMATE),
    entries=("exp_avg", "exp_avg_sq", "s", "p0"),
    optional_settings=("beta3", "weight_decouple", "fixed_decay", "safeguard_warmup", "d_de_nom"),
    values={"weight_decouple": True, "fixed_decay": False, "bias_correction": False},
)
"""pytorch_optimizer's, which counts one step more than it did: so without bias correction."""


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """w ← (1 − lr·d·weight_decay)·w − lr·d·c·m/(√v + d·eps), m and v averages of d·g and (d·g)².

    c = √(1−beta2^t)/(1−beta1^t) with bias_correction, else 1. d is the estimate, which grows from
    1e-6 on; a replay keeps it. d_hat is the newest estimate, d their largest. lr is 1 as a rule.
    Source: Mishchenko & Defazio 2024, algorithm 4.
    """

    state: ClassVar[SavedState] = SavedState(
        entries=ADAM_ENTRIES,
        pairs=BETAS,
        second_moment_factor="beta2",
        is_distinct=False,
        writers=(PRODIGYOPT, PYTORCH_OPTIMIZER),
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0
    bias_correction: bool = False
    d: Positive = 1e-6
    d_hat: Finite = 0.0

    @property
    def decay_scale(self) -> float:
        """d."""
        return self.d

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """d times Adam's, of averages that are or are not corrected; d as it is."""
        require_step(step)
        eps = self.eps
        if self.bias_correction and step is not None:
            eps /= math.sqrt(1 - self.beta2**step)
        update = expected_update(
            self.beta1,
            self.beta2,
            gradient.snr,
            step,
            gradient.over(eps),
            gradient.noise,
            bias_correction=self.bias_correction,
        )
        return self.d * update.rms

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """d·c·m/(√v + d·eps), unless d grew at the last step: lr was multiplied by the d before."""
        m, v = state["exp_avg"], state["exp_avg_sq"]
        mean = m / self.d / (1 - self.beta1**step)
        square = v / self.d**2 / (1 - self.beta2**step)
        if self.d_hat >= self.d:
            why = "Prodigy's d grew at the last step, whose d before its state does not hold"
            return LastUpdate(None, mean, square, why)
        update = m / (np.sqrt(v) + self.d * self.eps)
        return LastUpdate(self.d * self._correction(step) * update, mean, square)

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr at this d, eps and weight_decay over k; its estimate makes d k times larger by
        itself, at the same lr."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -1})

    def _correction(self, step: int) -> float:
        return bias_correction(self.beta1, self.beta2, step) if self.bias_correction else 1.0

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        scaled = self.d * gradient
        m = moving_average(state, "exp_avg", self.beta1, scaled)
        v = moving_average(state, "exp_avg_sq", self.beta2, scaled * scaled)
        update = (m / (v.sqrt() + self.d * self.eps)).masked_fill(m == 0, 0.0)  # 0/0 for eps 0
        weights.mul_(1 - lr * self.d * self.weight_decay)
        weights.sub_(update, alpha=lr * self.d * self._correction(state["step"]))
