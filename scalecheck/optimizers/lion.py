"""Lion: the sign of an average between momentum and gradient."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scalecheck.optimizers import _bitsandbytes
from scalecheck.optimizers._per_tensor import PerTensor, decayed, moving_average
from scalecheck.optimizers.contract import (
    BETAS,
    UNIT,
    Beta,
    Entry,
    FloatArray,
    Gradient,
    LastUpdate,
    NoFormula,
    NotNegative,
    SavedState,
    Weights,
    Writer,
)
from scalecheck.theory.displacement import sign_displacement, sign_gain
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.schedule import Schedule

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

PYTORCH_OPTIMIZER = Writer(
    settings=("betas", "weight_decay", "weight_decouple", "fixed_decay", "step"),
    entries=("exp_avg",),
    optional_settings=("use_gc", "adanorm", "adanorm_r", "cautious"),
    optional_entries=("exp_grad_adanorm",),
    values={"fixed_decay": False, "cautious": False},
    names={"decoupled_weight_decay": "weight_decouple"},
)
LION_PYTORCH = Writer(
    settings=("betas", "weight_decay", "cautious_factor", "cautious_wd"),
    entries=("exp_avg",),
    values={"cautious_factor": 1.0, "cautious_wd": False},
)
"""lion_pytorch's, whose cautious factor is off; its Lion without one writes what this Lion does."""


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """c = beta1·m + (1−beta1)·g, w ← w − lr·(sign(c) + weight_decay·w), m = beta2·m + (1−beta2)·g.

    weight_decay is multiplied by lr; without decoupled_weight_decay g includes weight_decay·w.
    Source: Chen et al. 2023.
    """

    state: ClassVar[SavedState] = SavedState(
        entries={"exp_avg": Entry.FIRST_MOMENT},
        optional_entries={"step": Entry.STEP},
        pairs=BETAS,
        optional_settings=("decoupled_weight_decay",),
        writers=(PYTORCH_OPTIMIZER, LION_PYTORCH, _bitsandbytes.LION),
    )
    equal_updates: ClassVar[bool] = True
    state_without_step: ClassVar[bool] = True

    beta1: Beta = 0.9
    beta2: Beta = 0.99
    weight_decay: NotNegative = 0.0
    decoupled_weight_decay: bool = True

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """1: every element whose c is not zero moves by lr; √(1−(1−density)^step) of sparse
        gradients, √density where none is remembered."""
        require_step(step)
        if not self.beta1:
            return math.sqrt(gradient.reached(1))
        if not self.beta2:  # c holds two gradients
            step = 2 if step is None else min(step, 2)
        return math.sqrt(gradient.reached(step))

    def displacement(self, plan: Schedule, gradient: Gradient) -> float:
        """By the arcsine law of signs, for Gaussian gradients without a mean: signs of an average
        stay for many steps, so that late in a run it is 6.78·√Σlr² at (0.9, 0.99)."""
        self._require_noise(gradient)
        return sign_displacement(plan, self.beta1, self.beta2)

    def equilibrium_rms(self, lr: float, gradient: Gradient) -> float:
        """lr/√(1−a²) times the gain of signs that stay, a = 1−lr·weight_decay: at (0.9, 0.99), lr
        0.01 and weight_decay 0.5 it is 5.6 times √(lr/(2·weight_decay)). Raises NoFormula for
        lr·weight_decay ≥ 1 and for a decay in the gradient."""
        if not self.decoupled_weight_decay:
            raise NoFormula("where weight decay in the gradient holds its weights is not solved")
        self._require_noise(gradient)
        decay = lr * self.weight_decay
        if decay >= 1:
            raise NoFormula(f"lr·weight_decay {decay} is not below 1")
        return lr / math.sqrt(decay * (2 - decay)) * sign_gain(self.beta1, self.beta2, decay)

    def _require_noise(self, gradient: Gradient) -> None:
        gradient.require_gaussian()
        if gradient.snr:
            raise NoFormula(f"snr {gradient.snr}: solved for gradients without a mean only")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """Its size, 1 where m is not zero: m and c are 0 for elements that never had a gradient."""
        return LastUpdate((state["exp_avg"] != 0).astype(np.float64))

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, weight_decay' = weight_decay/k if decoupled, else /k²."""
        return Reparameterization(1, {"weight_decay": -1 if self.decoupled_weight_decay else -2})

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        beside = lr if self.decoupled_weight_decay else None
        gradient = decayed(weights, gradient, self.weight_decay, beside)
        m = state.get("exp_avg", gradient.new_zeros(gradient.shape))
        update = (self.beta1 * m + (1 - self.beta1) * gradient).sign()
        weights.sub_(update, alpha=lr)
        moving_average(state, "exp_avg", self.beta2, gradient)
