"""Lion: the sign of an average between momentum and gradient."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalecheck.optimizers._optimizer import (
    UNIT,
    Beta,
    Gradient,
    Hyperparameters,
    NotNegative,
    Weights,
)
from scalecheck.optimizers._per_tensor import moving_average, per_tensor_optimizer
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State


@dataclass(frozen=True)
class Optimizer(Hyperparameters):
    """c = beta1·m + (1−beta1)·g, w ← w − lr·(sign(c) + weight_decay·w), m = beta2·m + (1−beta2)·g.

    weight_decay is multiplied by lr. Source: Chen et al. 2023.
    """

    beta1: Beta = 0.9
    beta2: Beta = 0.99
    weight_decay: NotNegative = 0.0

    def torch_optimizer(
        self, params: "Iterable[torch.Tensor]", lr: float
    ) -> "torch.optim.Optimizer":
        return per_tensor_optimizer(params, lr, self._move)

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """1: every element whose c is not zero moves by lr."""
        require_step(step)
        return 1.0

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
