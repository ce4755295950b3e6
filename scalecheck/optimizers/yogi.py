"""Yogi: Adam whose second moment grows and falls by at most (1−beta2)·g² a step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np

from scalecheck.optimizers._per_tensor import PerTensor, decayed, moving_average
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
        "initial_accumulator",
    ),
    entries=("exp_avg", "exp_avg_sq"),
    optional_settings=("adam_debias",),
    values={"fixed_decay": False, "adam_debias": False},
    names={"decoupled_weight_decay": "weight_decouple"},
)


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """w ← (1 − lr·weight_decay)·w − lr·m̂/(√v̂ + eps), v = v − (1−beta2)·sign(v − g²)·g².

    m and v start at initial_accumulator. Without decoupled_weight_decay g includes weight_decay·w.
    Source: Zaheer et al. 2018.
    """

    state: ClassVar[SavedState] = SavedState(
        entries=ADAM_ENTRIES,
        pairs=BETAS,
        second_moment_factor="beta2",
        writers=(PYTORCH_OPTIMIZER,),
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-3
    weight_decay: NotNegative = 0.0
    decoupled_weight_decay: bool = True
    initial_accumulator: NotNegative = 1e-6

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> NoReturn:
        """Not solved."""
        require_step(step)
        raise NoFormula("the expected update of Yogi is not solved: a saved state tells it")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """m̂/(√v̂ + eps). v is no average of g²."""
        mean = state["exp_avg"] / (1 - self.beta1**step)
        root = np.sqrt(state["exp_avg_sq"]) / math.sqrt(1 - self.beta2**step)
        return LastUpdate(mean / (root + self.eps), mean)

    def reparameterization(self) -> NoReturn:
        """NoFormula: initial_accumulator is of g and of g²."""
        raise NoFormula("no exponent fits initial_accumulator, which m and v start at")

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        beside = lr if self.decoupled_weight_decay else None
        gradient = decayed(weights, gradient, self.weight_decay, beside)
        start = gradient.new_full(gradient.shape, self.initial_accumulator)
        state.setdefault("exp_avg", start.clone())
        m = moving_average(state, "exp_avg", self.beta1, gradient)
        v, square = state.setdefault("exp_avg_sq", start), gradient * gradient
        v.sub_((1 - self.beta2) * (v - square).sign() * square)
        root = v.sqrt() / math.sqrt(1 - self.beta2 ** state["step"])
        update = m / (1 - self.beta1 ** state["step"]) / (root + self.eps)
        weights.sub_(update.masked_fill(m == 0, 0.0), alpha=lr)  # 0/0 where eps is 0
