"""ADOPT: Adam that divides each gradient by the second moment before it, then averages."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

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
from scalecheck.theory.reparameterization import Reparameterization

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

DECOUPLE = Writer(
    settings=("betas", "eps", "weight_decay", "decouple"),
    entries=ADAM_ENTRIES,
    names={"decoupled_weight_decay": "decouple"},
)
DECOUPLED = Writer(
    settings=("betas", "eps", "weight_decay", "decoupled"),
    entries=ADAM_ENTRIES,
    optional_settings=("clip_exp", "caution"),
    values={"caution": False},
    names={"decoupled_weight_decay": "decoupled"},
)
"""Versions of its authors' code, and timm's."""


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """w ← (1 − lr·weight_decay)·w − lr·m, m the average of g/max(√v, eps), v of the steps before.

    v starts as the square of the first gradient, which moves nothing; the ratio is clipped to
    ±(step−1)^¼. Without decoupled_weight_decay g includes weight_decay·w.
    Source: Taniguchi et al. 2024, algorithm 2.
    """

    state: ClassVar[SavedState] = SavedState(
        entries=ADAM_ENTRIES,
        pairs=BETAS,
        second_moment_factor="beta2",
        is_distinct=False,
        writers=(DECOUPLE, DECOUPLED),
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.9999
    eps: NotNegative = 1e-6
    weight_decay: NotNegative = 0.0
    decoupled_weight_decay: bool = False

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> NoReturn:
        """Not solved."""
        require_step(step)
        raise NoFormula("the expected update of ADOPT is not solved: a saved state tells it")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """m, of gradients that are divided already; the weights of v add up to 1."""
        return LastUpdate(state["exp_avg"], square=state["exp_avg_sq"])

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k, weight_decay' = weight_decay/k if decoupled, else /k²."""
        decay = -1 if self.decoupled_weight_decay else -2
        return Reparameterization(1, {"eps": -1, "weight_decay": decay})

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        beside = lr if self.decoupled_weight_decay else None
        gradient = decayed(weights, gradient, self.weight_decay, beside)
        if state["step"] == 1:
            state["exp_avg"] = gradient.new_zeros(gradient.shape)
            state["exp_avg_sq"] = gradient * gradient
            return
        clip = (state["step"] - 1) ** 0.25
        ratio = gradient / state["exp_avg_sq"].sqrt().clamp(min=self.eps)
        ratio = ratio.clamp(-clip, clip).masked_fill(gradient == 0, 0.0)  # 0/0 where eps is 0
        weights.sub_(moving_average(state, "exp_avg", self.beta1, ratio), alpha=lr)
        moving_average(state, "exp_avg_sq", self.beta2, gradient * gradient)
