"""Sophia: momentum over an estimate of the Hessian's diagonal, clipped element by element."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np

from scalecheck.optimizers._per_tensor import PerTensor, decayed, moving_average
from scalecheck.optimizers.contract import (
    BETAS,
    UNIT,
    Beta,
    Entry,
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
    settings=("betas", "eps", "weight_decay", "weight_decouple", "fixed_decay", "step", "p"),
    entries=("momentum", "hessian_moment"),
    optional_entries=("hessian",),
    values={"fixed_decay": False},
    names={"decoupled_weight_decay": "weight_decouple"},
)
"""SophiaH of pytorch_optimizer, which estimates the Hessian within a step, before the update."""


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """w ← (1 − lr·weight_decay)·w − lr·clip(m/max(h, eps), ±p).

    m averages g, h an estimate of the Hessian's diagonal: g² in a replay, as by Gauss-Newton and
    Bartlett. Without decoupled_weight_decay g includes weight_decay·w. Source: Liu et al. 2023.
    """

    spellings: ClassVar[Collection[str]] = ("SophiaG", "SophiaH")
    state: ClassVar[SavedState] = SavedState(
        entries={
            "step": Entry.STEP,
            "momentum": Entry.FIRST_MOMENT,
            "hessian_moment": Entry.CURVATURE,
        },
        pairs=BETAS,
        writers=(PYTORCH_OPTIMIZER,),
    )
    state_without_step: ClassVar[bool] = True

    beta1: Beta = 0.96
    beta2: Beta = 0.99
    eps: NotNegative = 1e-12
    weight_decay: NotNegative = 0.0
    decoupled_weight_decay: bool = True
    p: Positive = 1e-2

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> NoReturn:
        """NoFormula: it depends on the Hessian."""
        require_step(step)
        raise NoFormula("Sophia's update depends on the loss's curvature: a saved state tells it")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """clip(m/max(h, eps), ±p)."""
        m = state["momentum"]
        return LastUpdate(
            np.clip(m / np.maximum(state["hessian_moment"], self.eps), -self.p, self.p)
        )

    def reparameterization(self) -> NoReturn:
        """NoFormula: an unclipped step follows the weights' scale by itself, a clipped one lr·p."""
        raise NoFormula(
            "no exponent of lr fits both clipped elements and the others: p' = k·p does"
        )

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        beside = lr if self.decoupled_weight_decay else None
        gradient = decayed(weights, gradient, self.weight_decay, beside)
        m = moving_average(state, "momentum", self.beta1, gradient)
        h = moving_average(state, "hessian_moment", self.beta2, gradient * gradient)
        ratio = (m / h.clamp(min=self.eps)).masked_fill(m == 0, 0.0)  # 0/0 where eps is 0
        weights.sub_(ratio.clamp(-self.p, self.p), alpha=lr)
