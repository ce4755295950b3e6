"""signSGD: the sign of the gradient, or of its momentum (Signum)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalecheck.optimizers._optimizer import UNIT, Beta, Gradient, Hyperparameters, Weights
from scalecheck.optimizers._per_tensor import moving_average, per_tensor_optimizer
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State


@dataclass(frozen=True)
class Optimizer(Hyperparameters):
    """m = momentum·m + (1−momentum)·g, w ← w − lr·sign(m). Source: Bernstein et al. 2018."""

    momentum: Beta = 0.0

    def torch_optimizer(
        self, params: "Iterable[torch.Tensor]", lr: float
    ) -> "torch.optim.Optimizer":
        return per_tensor_optimizer(params, lr, self._move)

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """1: every element whose m is not zero moves by lr."""
        require_step(step)
        return 1.0

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, and nothing else."""
        return Reparameterization(1)

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        m = moving_average(state, "momentum_buffer", self.momentum, gradient)
        weights.sub_(m.sign(), alpha=lr)
