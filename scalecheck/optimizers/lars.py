"""LARS: SGD with momentum whose every gradient is stretched to a share of the weights' length."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from scalecheck.optimizers._per_tensor import PerTensor
from scalecheck.optimizers.contract import (
    UNIT,
    Beta,
    Entry,
    Gradient,
    NotNegative,
    Positive,
    SavedState,
    Weights,
)
from scalecheck.theory.domain import require_step
from scalecheck.theory.drift import momentum_update_rms
from scalecheck.theory.reparameterization import Reparameterization

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """local = trust_coefficient·‖w‖/(‖g‖ + weight_decay·‖w‖), w ← w − buffer,
    buffer = momentum·buffer + lr·local·(g + weight_decay·w).

    lr is inside the buffer, as in the paper; implementations on top of torch.optim.SGD have it
    outside, which is the same while lr is constant. local is 1 where a norm is 0, and lr is not
    relative there. Source: You et al. 2017.
    """

    state: ClassVar[SavedState] = SavedState(
        entries={"momentum_buffer": Entry.MOMENTUM},
        optional_entries={"step": Entry.STEP},
        is_distinct=False,
    )
    relative_lr: ClassVar[bool] = True

    momentum: Beta = 0.9
    weight_decay: NotNegative = 0.0
    trust_coefficient: Positive = 0.001

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """trust_coefficient·rms(g)/(rms(g) + weight_decay·rms(w))·√(d²·(Σk)² + (1−d²)·Σk²), k_i =
        momentum^i: from trust_coefficient at step 1 to 1/√(1−momentum²) times it for noise and
        1/(1−momentum) for a constant gradient.

        For a tensor of many elements, as ‖g‖ is taken as known. Raises NoFormula for weights that
        are all zero.
        """
        require_step(step)
        gradient.require_independent()
        weights.require_nonzero()
        rms = gradient.known_rms
        share = rms / (rms + self.weight_decay * weights.rms)
        return (
            self.trust_coefficient * share * momentum_update_rms(self.momentum, gradient.snr, step)
        )

    def formula_error(self, step: int | None = None) -> float:
        """The norm of a finite tensor."""
        return 0.002

    def reparameterization(self) -> Reparameterization:
        """lr' = lr, weight_decay' = weight_decay/k²."""
        return Reparameterization(0, {"weight_decay": -2})

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        length, gradient_length = float(weights.norm()), float(gradient.norm())
        local = 1.0
        if length and gradient_length:
            local = self.trust_coefficient * length
            local /= gradient_length + self.weight_decay * length
        buffer = state.setdefault("momentum_buffer", gradient.new_zeros(gradient.shape))
        buffer.mul_(self.momentum).add_(gradient + self.weight_decay * weights, alpha=lr * local)
        weights.sub_(buffer)
