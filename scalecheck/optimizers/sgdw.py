"""SGDW: SGD with weight decay beside the momentum instead of in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from scalecheck.optimizers import sgd
from scalecheck.optimizers._per_tensor import PerTensor
from scalecheck.optimizers.contract import (
    UNIT,
    Beta,
    Entry,
    Finite,
    FloatArray,
    Gradient,
    LastUpdate,
    NotNegative,
    SavedState,
    Weights,
    Writer,
)
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.schedule import Schedule

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

PYTORCH_OPTIMIZER = Writer(
    settings=("momentum", "weight_decay", "weight_decouple", "dampening", "nesterov", "step"),
    optional_entries=("momentum_buffer",),
    values={"weight_decouple": True},
)


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """buf = momentum·buf + (1−dampening)·g, w ← (1 − lr·weight_decay)·w − lr·buf.

    buf starts as the first gradient, and is g without momentum; with nesterov g + momentum·buf is
    taken in its place. Source: Loshchilov & Hutter 2019.
    """

    state: ClassVar[SavedState] = SavedState(
        optional_entries={"step": Entry.STEP, "momentum_buffer": Entry.MOMENTUM},
        is_distinct=False,
        writers=(PYTORCH_OPTIMIZER,),
    )
    state_without_step: ClassVar[bool] = True

    momentum: Beta = 0.0
    dampening: Finite = 0.0
    weight_decay: NotNegative = 0.0
    nesterov: bool = False

    def _sgd(self) -> sgd.Optimizer:
        """The same without weight decay. Raises ValueError for nesterov with dampening."""
        return sgd.Optimizer(self.momentum, self.dampening, 0.0, self.nesterov)

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """SGD's."""
        return self._sgd().update_rms(gradient, step, weights)

    def displacement(self, plan: Schedule, gradient: Gradient) -> float:
        """SGD's."""
        return self._sgd().displacement(plan, gradient)

    def equilibrium_rms(self, lr: float, gradient: Gradient) -> float:
        """None, as SGD."""
        return self._sgd().equilibrium_rms(lr, gradient)

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """SGD's."""
        return sgd.last_update(state["momentum_buffer"], self.momentum, self.nesterov)

    def reparameterization(self) -> Reparameterization:
        """lr' = k²·lr, weight_decay' = weight_decay/k²."""
        return Reparameterization(2, {"weight_decay": -2})

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        weights.mul_(1 - lr * self.weight_decay)
        if self.momentum:
            buffer = state.get("momentum_buffer")
            if buffer is None:
                buffer = gradient.clone()
            else:
                buffer = self.momentum * buffer + (1 - self.dampening) * gradient
            state["momentum_buffer"] = buffer
            gradient = gradient + self.momentum * buffer if self.nesterov else buffer
        weights.sub_(gradient, alpha=lr)
