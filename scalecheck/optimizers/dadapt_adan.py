"""D-Adaptation's Adan: Adan whose lr is multiplied by an estimate of the way that is left."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np

from scalecheck.optimizers._d_adaptation import DAdapted
from scalecheck.optimizers._per_tensor import moving_average
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

ENTRIES = {
    "step": Entry.STEP,
    "exp_avg": Entry.FIRST_MOMENT,
    "exp_avg_diff": Entry.GRADIENT_CHANGE,
    "exp_avg_sq": Entry.SECOND_MOMENT,
    "pre_grad": Entry.LAST_GRADIENT,
}
_ESTIMATE = ("betas", "eps", "weight_decay", "d", "k", "gsq_weighted", "growth_rate")

DADAPTATION = Writer(settings=(*_ESTIMATE, "no_prox", "log_every"), entries=(*ENTRIES, "s"))
PYTORCH_OPTIMIZER = Writer(
    settings=(*_ESTIMATE, "weight_decouple", "step"),
    entries=("exp_avg", "exp_avg_diff", "exp_avg_sq", "previous_grad", "s"),
    names={"no_prox": "weight_decouple"},
)


@dataclass(frozen=True)
class Optimizer(DAdapted):
    """w ← (w − (m + beta2·δ)/(√n + eps)) / (1 + lr·d·weight_decay), without bias correction.

    m and δ average lr·d·g and its change lr·d·(g − g_before), n the square of
    g + beta2·(g − g_before). With no_prox the weights shrink by lr·d·weight_decay before the update
    instead. d is the estimate, which grows from 1e-6 on; a replay keeps it. lr is 1 as a rule.
    Source: Defazio & Mishchenko 2023, by Adan of Xie et al. 2022.
    """

    state: ClassVar[SavedState] = SavedState(
        entries=ENTRIES,
        pairs=THREE_BETAS,
        second_moment_factor="beta3",
        writers=(DADAPTATION, PYTORCH_OPTIMIZER),
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
        """(m + beta2·δ)/(√n + eps): lr and d are in m and δ."""
        moved = state["exp_avg"] + self.beta2 * state["exp_avg_diff"]
        return LastUpdate(moved / (np.sqrt(state["exp_avg_sq"]) + self.eps))

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr at this d, eps and weight_decay over k; its estimate makes d k times larger by
        itself, at the same lr."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -1})

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        step_size = lr * self.d
        change = gradient - state.get("pre_grad", gradient)
        ahead = gradient + self.beta2 * change
        m = moving_average(state, "exp_avg", self.beta1, step_size * gradient)
        change = moving_average(state, "exp_avg_diff", self.beta2, step_size * change)
        n = moving_average(state, "exp_avg_sq", self.beta3, ahead * ahead)
        moved = m + self.beta2 * change
        update = (moved / (n.sqrt() + self.eps)).masked_fill(moved == 0, 0.0)  # 0/0 where eps is 0
        if self.no_prox:
            weights.mul_(1 - step_size * self.weight_decay).sub_(update)
        else:
            weights.sub_(update).div_(1 + step_size * self.weight_decay)
        state["pre_grad"] = gradient.clone()
