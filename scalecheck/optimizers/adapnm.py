"""AdaPNM: Adam whose numerator is a positive and a negative average of every second gradient."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np

from scalecheck.optimizers._per_tensor import PerTensor, bias_correction, decayed, moving_average
from scalecheck.optimizers.contract import (
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
from scalecheck.theory.domain import require_step

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

NEGLIGIBLE = 1e-15  # added to v

PYTORCH_OPTIMIZER = Writer(
    settings=(
        *("betas", "eps", "weight_decay", "weight_decouple", "fixed_decay", "step"),
        "ams_bound",
    ),
    entries=("exp_avg", "exp_avg_sq", "neg_exp_avg"),
    optional_settings=("adanorm", "adanorm_r", "adam_debias"),
    optional_entries=("max_exp_avg_sq", "exp_grad_adanorm"),
    values={"fixed_decay": False, "adam_debias": False},
    names={"amsgrad": "ams_bound", "decoupled_weight_decay": "weight_decouple"},
)


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """w ← (1 − lr·weight_decay)·w − lr·p/(1−beta1^t)·√(1−beta2^t)/(√(v + 1e-15) + eps).

    p = ((1+beta3)·m − beta3·m_before)/√((1+beta3)²+beta3²): m averages every second gradient with
    beta1², m_before those between. With amsgrad v is the largest so far. Without
    decoupled_weight_decay g includes weight_decay·w. Source: Xie et al. 2021.
    """

    state: ClassVar[SavedState] = SavedState(
        entries={
            "step": Entry.STEP,
            "exp_avg": Entry.FIRST_MOMENT,
            "neg_exp_avg": Entry.FIRST_MOMENT,
            "exp_avg_sq": Entry.SECOND_MOMENT,
        },
        optional_entries={"max_exp_avg_sq": Entry.SECOND_MOMENT_MAXIMUM},
        pairs={"betas": ("beta1", "beta2", "beta3")},
        second_moment_factor="beta2",
        writers=(PYTORCH_OPTIMIZER,),
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    beta3: NotNegative = 1.0
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0
    amsgrad: bool = False
    decoupled_weight_decay: bool = True

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> NoReturn:
        """Not solved."""
        require_step(step)
        raise NoFormula("the expected update of AdaPNM is not solved: a saved state tells it")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """p/(1−beta1^t)·√(1−beta2^t)/(√(v + 1e-15) + eps)."""
        newest, before = (state[name] for name in self._averages(step))
        mixed = ((1 + self.beta3) * newest - self.beta3 * before) / self._norm
        root = np.sqrt(state["max_exp_avg_sq" if self.amsgrad else "exp_avg_sq"] + NEGLIGIBLE)
        factor = bias_correction(self.beta1, self.beta2, step)
        square = state["exp_avg_sq"] / (1 - self.beta2**step)
        return LastUpdate(factor * mixed / (root + self.eps), square=square)

    def reparameterization(self) -> NoReturn:
        """NoFormula: 1e-15 is added to v whatever the gradients are."""
        raise NoFormula("no exponent fits 1e-15, which is added to v whatever the gradients are")

    @property
    def _norm(self) -> float:
        return math.hypot(1 + self.beta3, self.beta3)

    def _averages(self, step: int) -> tuple[str, str]:
        """That of the step, and the other."""
        return ("exp_avg", "neg_exp_avg") if step % 2 else ("neg_exp_avg", "exp_avg")

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        beside = lr if self.decoupled_weight_decay else None
        gradient = decayed(weights, gradient, self.weight_decay, beside)
        step = state["step"]
        first, second = self._averages(step)
        newest = moving_average(state, first, self.beta1**2, gradient)
        before = state.setdefault(second, gradient.new_zeros(gradient.shape))
        v = moving_average(state, "exp_avg_sq", self.beta2, gradient * gradient)
        if self.amsgrad:
            largest = state.setdefault("max_exp_avg_sq", v.clone())
            v = largest.copy_(largest.maximum(v))
        mixed = ((1 + self.beta3) * newest - self.beta3 * before) / self._norm
        update = mixed / ((v + NEGLIGIBLE).sqrt() + self.eps)
        weights.sub_(update, alpha=lr * bias_correction(self.beta1, self.beta2, step))
