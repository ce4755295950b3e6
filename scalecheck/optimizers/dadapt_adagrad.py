"""D-Adaptation's AdaGrad: dual averaging over √Σg², at an lr times an estimate of the way left."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np

from scalecheck.optimizers._d_adaptation import DAdapted, averaged
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
    entry,
)
from scalecheck.theory.domain import require_step

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

FIRST_SUM = 1e-6  # of the squares, before the first gradient

_ESTIMATE = ("momentum", "eps", "weight_decay", "d", "k", "gsq_weighted", "growth_rate")

DADAPTATION = Writer(
    settings=(*_ESTIMATE, "log_every", "sksq_weighted", "skl1"),
    entries=("alphak", "sk", "x0"),
    count="k",
)
PYTORCH_OPTIMIZER = Writer(
    settings=(
        *(*_ESTIMATE, "weight_decouple", "fixed_decay", "step"),
        *("sk_sq_weighted", "sk_l1"),
    ),
    entries=("alpha_k", "sk", "x0"),
    values={"fixed_decay": False, "weight_decouple": False},
)


@dataclass(frozen=True)
class Optimizer(DAdapted):
    """s = s + lr·d·g, z = x0 − s/(√α + eps), w ← momentum·w + (1−momentum)·z.

    α is 1e-6 + Σg², x0 are the weights before the first step; g includes weight_decay·w. d is the
    estimate, which grows from 1e-6 on; a replay keeps it. lr is 1 as a rule.
    Source: Defazio & Mishchenko 2023.
    """

    state: ClassVar[SavedState] = SavedState(
        entries={
            "step": Entry.STEP,
            "alpha_k": Entry.SQUARE_SUM,
            "sk": Entry.MOMENTUM,
            "x0": Entry.START,
        },
        is_distinct=False,
        writers=(DADAPTATION, PYTORCH_OPTIMIZER),
    )
    state_without_step: ClassVar[bool] = True
    update_needs_weights: ClassVar[bool] = True

    momentum: Beta = 0.9
    eps: NotNegative = 1e-6
    weight_decay: NotNegative = 0.0

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> NoReturn:
        """Not solved."""
        require_step(step)
        raise NoFormula("the expected update of D-Adaptation's AdaGrad is not solved")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """(1−momentum)/momentum·(w − z)."""
        root = np.sqrt(entry(state, "alpha_k", "alphak"))
        return averaged(state, state["x0"] - state["sk"] / (root + self.eps), self.momentum)

    def reparameterization(self) -> NoReturn:
        """NoFormula: α starts at 1e-6 whatever the gradients are."""
        raise NoFormula("no exponent fits α, which starts at 1e-6 whatever the gradients are")

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        gradient = gradient + self.weight_decay * weights
        x0 = state.setdefault("x0", weights.clone())
        sk = state.setdefault("sk", gradient.new_zeros(gradient.shape))
        sk.add_(gradient, alpha=lr * self.d)
        alpha = state.setdefault("alpha_k", gradient.new_full(gradient.shape, FIRST_SUM))
        alpha.add_(gradient * gradient)
        weights.lerp_(x0 - sk / (alpha.sqrt() + self.eps), 1 - self.momentum)
