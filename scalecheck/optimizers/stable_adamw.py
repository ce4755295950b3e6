"""StableAdamW: AdamW whose step shrinks where gradients outgrow their average square."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from scalecheck.optimizers._per_tensor import PerTensor, bias_corrected_averages
from scalecheck.optimizers.contract import (
    ADAM_ENTRIES,
    BETAS,
    UNIT,
    Beta,
    Gradient,
    NoFormula,
    NotNegative,
    SavedState,
    Weights,
)
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.update_rms import expected_update

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """w ← (1 − η·weight_decay)·w − η·m̂/(√v̂ + eps), η = lr/max(1, √mean(g²/max(v̂, eps²))).

    The mean is over the tensor. The paper writes m̂ and v̂ as averages with beta·(1−beta^(t−1))/
    (1−beta^t), which is the same. weight_decay is multiplied by η; the code published with the
    paper multiplies it by lr. Source: Wortsman et al. 2023, algorithm 2.
    """

    state: ClassVar[SavedState] = SavedState(
        entries=ADAM_ENTRIES, pairs=BETAS, second_moment_factor="beta2", is_distinct=False
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.99
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.2

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """Adam's: a gradient that keeps its scale has E[g²/v̂] ≤ 1, which clips nothing in a
        tensor of many elements. After a jump of the gradient's scale the update is smaller. Raises
        NoFormula for gradients that depend on earlier ones, whose g² strays from v̂ together."""
        if gradient.noise.needs_every_lag:
            raise NoFormula(f"{gradient.noise}: solved for independent gradients only")
        return expected_update(
            self.beta1,
            self.beta2,
            gradient.snr,
            step,
            gradient.over(self.eps),
            gradient.noise,
        ).rms

    def formula_error(self, step: int | None = None) -> float:
        """The clip shortens where chance takes the tensor's mean above 1."""
        return 0.03

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k, weight_decay' = weight_decay/k."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -1})

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        m, v = bias_corrected_averages(state, gradient, self.beta1, self.beta2)
        square = gradient * gradient / v.clamp(min=self.eps**2)
        square = square.masked_fill(gradient == 0, 0.0)  # 0/0 where eps is 0
        eta = lr / max(1.0, float(square.mean().sqrt()))
        weights.mul_(1 - eta * self.weight_decay)
        weights.sub_((m / (v.sqrt() + self.eps)).masked_fill(m == 0, 0.0), alpha=eta)
