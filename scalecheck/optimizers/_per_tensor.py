"""Optimizers that torch lacks, each given as the move of one tensor. A subclass of
torch.optim.Optimizer at a module's top would import torch."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scalecheck.optimizers.contract import Hyperparameters

if TYPE_CHECKING:
    import torch

    State = dict[str, Any]
    Move = Callable[[torch.Tensor, torch.Tensor, State, float], None]


@dataclass(frozen=True)
class PerTensor(Hyperparameters):
    """An optimizer that moves each tensor by itself."""

    def torch_optimizer(
        self, params: "Iterable[torch.Tensor]", lr: float
    ) -> "torch.optim.Optimizer":
        return _running(params, {"lr": lr, **self.torch_settings()}, self._move)

    @abstractmethod
    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        """Changes weights and state in place; state["step"] counts from 1."""


def _running(
    params: "Iterable[torch.Tensor]", settings: dict[str, Any], move: "Move"
) -> "torch.optim.Optimizer":
    import torch

    class Running(torch.optim.Optimizer):
        @torch.no_grad()
        def step(self, closure: Any = None) -> Any:
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
            for group in self.param_groups:
                for weights in group["params"]:
                    if weights.grad is not None:
                        state = self.state[weights]
                        state["step"] = state.get("step", 0) + 1
                        move(weights, weights.grad, state, group["lr"])
            return loss

    return Running(params, settings)


def moving_average(
    state: "State", name: str, beta: float, newest: "torch.Tensor"
) -> "torch.Tensor":
    """state[name] = beta·state[name] + (1−beta)·newest, from zero, in place."""
    average: torch.Tensor = state.setdefault(name, newest.new_zeros(newest.shape))
    return average.mul_(beta).add_(newest, alpha=1 - beta)


def decayed(
    weights: "torch.Tensor", gradient: "torch.Tensor", weight_decay: float, lr: float | None
) -> "torch.Tensor":
    """The gradient: with weight_decay·w for lr None, as it is where w shrinks by lr·weight_decay,
    in place."""
    if lr is None:
        return gradient + weight_decay * weights
    weights.mul_(1 - lr * weight_decay)
    return gradient


def bias_correction(beta1: float, beta2: float, step: int) -> float:
    """√(1−beta2^step)/(1−beta1^step): what m/√v is multiplied by in place of both corrections, so
    that eps stands beside the uncorrected √v (Kingma & Ba 2015, end of section 2)."""
    return math.sqrt(1 - beta2**step) / (1 - beta1**step)


def bias_corrected_averages(
    state: "State", gradient: "torch.Tensor", beta1: float, beta2: float
) -> "tuple[torch.Tensor, torch.Tensor]":
    """m̂ and v̂ of Adam (Kingma & Ba 2015, algorithm 1), with their state moved on."""
    step = state["step"]
    first = moving_average(state, "exp_avg", beta1, gradient) / (1 - beta1**step)
    second = moving_average(state, "exp_avg_sq", beta2, gradient * gradient) / (1 - beta2**step)
    return first, second
