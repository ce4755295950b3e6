"""Adan: Adam with Nesterov momentum by the change of the gradient from step to step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np

from scalecheck.optimizers._per_tensor import PerTensor, moving_average
from scalecheck.optimizers.contract import (
    THREE_BETAS,
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
from scalecheck.theory.reparameterization import Reparameterization

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

AVERAGES = ("exp_avg", "exp_avg_sq", "exp_avg_diff")

AUTHORS = Writer(
    settings=("betas", "eps", "weight_decay", "max_grad_norm", "no_prox", "step"),
    entries=(*AVERAGES, "neg_pre_grad"),
)
TIMM = Writer(
    settings=("betas", "eps", "weight_decay", "no_prox", "step"),
    entries=(*AVERAGES, "neg_pre_grad"),
    optional_settings=("caution",),
    values={"caution": False},
)
PYTORCH_OPTIMIZER = Writer(
    settings=("betas", "eps", "weight_decay", "weight_decouple", "max_grad_norm", "step"),
    entries=(*AVERAGES, "previous_grad"),
    optional_settings=("use_gc", "adanorm", "adanorm_r"),
    optional_entries=("exp_grad_adanorm",),
    names={"no_prox": "weight_decouple"},
)


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """w ← (w − lr·(m̂ + beta2·d̂)/(√n̂ + eps)) / (1 + lr·weight_decay).

    m averages g, d its change g − g_before, n the square of g + beta2·(g − g_before). With no_prox
    the weights shrink by lr·weight_decay before the update instead. Source: Xie et al. 2022.
    """

    state: ClassVar[SavedState] = SavedState(
        entries={
            "step": Entry.STEP,
            "exp_avg": Entry.FIRST_MOMENT,
            "exp_avg_diff": Entry.GRADIENT_CHANGE,
            "exp_avg_sq": Entry.SECOND_MOMENT,
            "neg_pre_grad": Entry.LAST_GRADIENT,
        },
        pairs=THREE_BETAS,
        second_moment_factor="beta3",
        writers=(AUTHORS, TIMM, PYTORCH_OPTIMIZER),
    )

    beta1: Beta = 0.98
    beta2: Beta = 0.92
    beta3: Beta = 0.99
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0
    no_prox: bool = False

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> NoReturn:
        """Not solved."""
        require_step(step)
        raise NoFormula("the expected update of Adan is not solved: a saved state tells it")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """(m̂ + beta2·d̂)/(√n̂ + eps). n is no average of g²."""
        mean = state["exp_avg"] / (1 - self.beta1**step)
        change = state["exp_avg_diff"] / (1 - self.beta2**step)
        root = np.sqrt(state["exp_avg_sq"]) / math.sqrt(1 - self.beta3**step)
        return LastUpdate((mean + self.beta2 * change) / (root + self.eps), mean)

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k, weight_decay' = weight_decay/k."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -1})

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        step = state["step"]
        change = gradient + state.get("neg_pre_grad", -gradient)
        ahead = gradient + self.beta2 * change
        m = moving_average(state, "exp_avg", self.beta1, gradient) / (1 - self.beta1**step)
        d = moving_average(state, "exp_avg_diff", self.beta2, change) / (1 - self.beta2**step)
        n = moving_average(state, "exp_avg_sq", self.beta3, ahead * ahead)
        moved = m + self.beta2 * d
        update = moved / ((n / (1 - self.beta3**step)).sqrt() + self.eps)
        update = update.masked_fill(moved == 0, 0.0)  # 0/0 where eps is 0
        if self.no_prox:
            weights.mul_(1 - lr * self.weight_decay).sub_(update, alpha=lr)
        else:
            weights.sub_(update, alpha=lr).div_(1 + lr * self.weight_decay)
        state["neg_pre_grad"] = -gradient
