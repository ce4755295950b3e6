"""LAMB: Adam's update stretched to the length of the weights, so that lr is relative."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from scalecheck.optimizers._per_tensor import PerTensor, bias_corrected_averages
from scalecheck.optimizers.contract import (
    ADAM_ENTRIES,
    BETAS,
    UNIT,
    Beta,
    Gradient,
    NotNegative,
    SavedState,
    Weights,
    Writer,
)
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

FUSED = Writer(
    settings=("betas", "eps", "weight_decay", "bias_correction", "grad_averaging", "max_grad_norm"),
    entries=("exp_avg", "exp_avg_sq"),
    optional_settings=("step", "always_adapt", "trust_clip"),
    optional_entries=("step",),
    values={"trust_clip": False},
)
"""apex's FusedLAMB, and timm's Lamb, which has always_adapt and trust_clip beside. Both leave
weights without decay unscaled, unless use_nvlamb, which is not saved, or always_adapt says not."""


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """u = m̂/(√v̂ + eps) + weight_decay·w, w ← w − lr·‖w‖/‖u‖·u.

    The paper's φ is the identity: implementations that cap ‖w‖ or the ratio lose the law where the
    cap acts. The ratio is 1 where a norm is 0, and lr is not relative there. weight_decay counts
    through the direction only. Source: You et al. 2020, algorithm 2.
    """

    state: ClassVar[SavedState] = SavedState(
        entries=ADAM_ENTRIES,
        pairs=BETAS,
        second_moment_factor="beta2",
        is_distinct=False,
        writers=(FUSED,),
    )
    relative_lr: ClassVar[bool] = True

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-6
    weight_decay: NotNegative = 0.01

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """1, exactly, weight decay included. Raises NoFormula for weights that are all zero."""
        require_step(step)
        weights.require_nonzero()
        return 1.0

    def reparameterization(self) -> Reparameterization:
        """lr' = lr, eps' = eps/k, weight_decay' = weight_decay/k."""
        return Reparameterization(0, {"eps": -1, "weight_decay": -1})

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        m, v = bias_corrected_averages(state, gradient, self.beta1, self.beta2)
        update = (m / (v.sqrt() + self.eps)).masked_fill(m == 0, 0.0)  # 0/0 where eps is 0
        update += self.weight_decay * weights
        length, update_length = float(weights.norm()), float(update.norm())
        ratio = length / update_length if length and update_length else 1.0
        weights.sub_(update, alpha=lr * ratio)
