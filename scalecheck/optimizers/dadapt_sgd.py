"""D-Adaptation's SGD: dual averaging whose lr is multiplied by an estimate of the way left."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

from scalecheck.optimizers._d_adaptation import DAdapted, averaged
from scalecheck.optimizers._per_tensor import decayed
from scalecheck.optimizers.contract import (
    UNIT,
    Beta,
    Entry,
    FloatArray,
    Gradient,
    LastUpdate,
    NoFormula,
    NotNegative,
    PositiveOrNone,
    SavedState,
    Weights,
    Writer,
)
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

_ESTIMATE = ("momentum", "weight_decay", "d", "g0_norm", "numerator_weighted", "growth_rate")

DADAPTATION = Writer(
    settings=(*_ESTIMATE, "k", "log_every"),
    entries=("z", "s", "x0"),
    optional_settings=("fsdp_in_use",),
    count="k",
)
PYTORCH_OPTIMIZER = Writer(
    settings=(*_ESTIMATE, "weight_decouple", "fixed_decay", "step"),
    entries=("z", "s", "x0"),
    values={"fixed_decay": False},
    names={"decoupled_weight_decay": "weight_decouple"},
)


@dataclass(frozen=True)
class Optimizer(DAdapted):
    """s = s + lr·d·g/g0_norm, z = x0 − s, w ← momentum·w + (1−momentum)·z.

    x0 are the weights before the first step, g0_norm is the norm of its whole gradient, of this
    tensor's where it is not given. With decoupled_weight_decay w shrinks by
    lr·d/g0_norm·weight_decay before, else g includes weight_decay·w. d is the estimate, which grows
    from 1e-6 on; a replay keeps it. lr is 1 as a rule. Source: Defazio & Mishchenko 2023.
    """

    state: ClassVar[SavedState] = SavedState(
        entries={
            "step": Entry.STEP,
            "z": Entry.ITERATE,
            "sk": Entry.MOMENTUM,
            "x0": Entry.START,
            "g0_norm": Entry.FIRST_NORM,
        },
        is_distinct=False,
        writers=(DADAPTATION, PYTORCH_OPTIMIZER),
    )
    state_without_step: ClassVar[bool] = True
    update_needs_weights: ClassVar[bool] = True

    momentum: Beta = 0.9
    weight_decay: NotNegative = 0.0
    decoupled_weight_decay: bool = False
    g0_norm: PositiveOrNone = None

    @property
    def decay_scale(self) -> float:
        """d/g0_norm."""
        return self.d / (self.g0_norm or 1.0)

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> NoReturn:
        """Not solved."""
        require_step(step)
        raise NoFormula("the expected update of D-Adaptation's SGD is not solved")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """(1−momentum)/momentum·(w − z)."""
        return averaged(state, state["z"], self.momentum)

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr at this d, weight_decay' = weight_decay/k²; its estimate makes d k times
        larger by itself, at the same lr. Raises NoFormula for a given g0_norm."""
        if self.g0_norm is not None:
            raise NoFormula("the first gradient's norm is not a setting: it changes by itself")
        return Reparameterization(1, {"weight_decay": -2})

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        x0 = state.setdefault("x0", weights.clone())
        norm = state.setdefault("g0_norm", self.g0_norm or float(gradient.norm()))
        step_size = lr * self.d / norm if norm else 0.0
        beside = step_size if self.decoupled_weight_decay else None
        gradient = decayed(weights, gradient, self.weight_decay, beside)
        sk = state.setdefault("sk", gradient.new_zeros(gradient.shape))
        state["z"] = x0 - sk.add_(gradient, alpha=step_size)
        weights.lerp_(state["z"], 1 - self.momentum)
