"""PAdam: Adam that divides by a power of the second moment's root."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np

from scalecheck.optimizers._per_tensor import PerTensor, bias_correction, decayed, moving_average
from scalecheck.optimizers.contract import (
    ADAM_ENTRIES,
    BETAS,
    UNIT,
    Beta,
    FloatArray,
    Gradient,
    LastUpdate,
    NoFormula,
    NotNegative,
    Positive,
    SavedState,
    Weights,
    Writer,
)
from scalecheck.theory.domain import require_step

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

PYTORCH_OPTIMIZER = Writer(
    settings=(
        *("betas", "eps", "weight_decay", "weight_decouple", "fixed_decay", "step"),
        "partial",
    ),
    entries=("exp_avg", "exp_avg_sq"),
    values={"fixed_decay": False},
    names={"decoupled_weight_decay": "weight_decouple"},
)


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """w ← w − lr·c·m/(√v + eps)^(2·partial), c = √(1−beta2^t)/(1−beta1^t).

    m and v are Adam's, which it is at partial ½. With decoupled_weight_decay w shrinks by
    lr·weight_decay before, else g includes weight_decay·w. Source: Chen et al. 2018.
    """

    state: ClassVar[SavedState] = SavedState(
        entries=ADAM_ENTRIES,
        pairs=BETAS,
        second_moment_factor="beta2",
        writers=(PYTORCH_OPTIMIZER,),
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0
    decoupled_weight_decay: bool = False
    partial: Positive = 0.25

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> NoReturn:
        """Not solved."""
        require_step(step)
        raise NoFormula("the expected update of PAdam is not solved: a saved state tells it")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """c·m/(√v + eps)^(2·partial)."""
        m, v = state["exp_avg"], state["exp_avg_sq"]
        update = m / (np.sqrt(v) + self.eps) ** (2 * self.partial)
        mean, square = m / (1 - self.beta1**step), v / (1 - self.beta2**step)
        return LastUpdate(bias_correction(self.beta1, self.beta2, step) * update, mean, square)

    def reparameterization(self) -> NoReturn:
        """NoFormula: the exponent of lr would depend on partial."""
        raise NoFormula("lr's exponent is 2·(1 − partial), which is no whole number")

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        beside = lr if self.decoupled_weight_decay else None
        gradient = decayed(weights, gradient, self.weight_decay, beside)
        m = moving_average(state, "exp_avg", self.beta1, gradient)
        v = moving_average(state, "exp_avg_sq", self.beta2, gradient * gradient)
        update = (m / (v.sqrt() + self.eps) ** (2 * self.partial)).masked_fill(m == 0, 0.0)
        weights.sub_(update, alpha=lr * bias_correction(self.beta1, self.beta2, state["step"]))
