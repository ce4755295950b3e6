"""Lion: the sign of an average between momentum and gradient."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from scalecheck.optimizers._per_tensor import PerTensor, moving_average
from scalecheck.optimizers.contract import (
    BETAS,
    UNIT,
    Beta,
    Entry,
    Evidence,
    Gradient,
    NoFormula,
    NotNegative,
    SavedState,
    Weights,
)
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.sign_updates import lion_equilibrium_rms, lion_noise_gain

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """c = beta1·m + (1−beta1)·g, w ← w − lr·(sign(c) + weight_decay·w), m = beta2·m + (1−beta2)·g.

    weight_decay is multiplied by lr. Source: Chen et al. 2023.
    """

    state: ClassVar[SavedState] = SavedState(
        entries={"exp_avg": Entry.FIRST_MOMENT},
        optional_entries={"step": Entry.STEP},
        pairs=BETAS,
        evidence=(Evidence(entry="exp_avg", no_entry="exp_avg_sq"),),
    )
    equal_updates: ClassVar[bool] = True
    state_without_step: ClassVar[bool] = True

    beta1: Beta = 0.9
    beta2: Beta = 0.99
    weight_decay: NotNegative = 0.0

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

    def displacement(self, lr_sum: float, lr_square_sum: float, gradient: Gradient) -> float:
        """√Σlr² times 6.78 at (0.9, 0.99), for Gaussian gradients without a mean: signs of an
        average stay for many steps."""
        self._require_noise(gradient)
        return lion_noise_gain(self.beta1, self.beta2) * math.sqrt(lr_square_sum)

    def equilibrium_rms(self, lr: float, gradient: Gradient) -> float:
        """As its displacement, with the decay of what it adds up."""
        self._require_noise(gradient)
        return lion_equilibrium_rms(lr, self.weight_decay, self.beta1, self.beta2)

    def _require_noise(self, gradient: Gradient) -> None:
        gradient.require_gaussian()
        if gradient.snr:
            raise NoFormula(f"snr {gradient.snr}: solved for gradients without a mean only")

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, weight_decay' = weight_decay/k."""
        return Reparameterization(1, {"weight_decay": -1})

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        m = state.get("exp_avg", gradient.new_zeros(gradient.shape))
        direction = (self.beta1 * m + (1 - self.beta1) * gradient).sign()
        weights.sub_(direction + self.weight_decay * weights, alpha=lr)
        moving_average(state, "exp_avg", self.beta2, gradient)
