"""The optimizers that the networks are trained with: torch's, and a Lion."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, optim
from torch.optim import Optimizer

Named = Sequence[tuple[str, Tensor]]
Build = Callable[[Named], list[Optimizer]]

STRONG = 3e-3
"""lr·weight_decay so large that the weights forget their initialization within the run."""


class Lion(Optimizer):
    """sign(β₁·m + (1−β₁)·g), with decoupled weight decay."""

    def __init__(
        self,
        params: Any,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override] # no closure is given
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for weight in group["params"]:
                state = self.state[weight]
                average = state.setdefault("exp_avg", torch.zeros_like(weight))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                mixed = beta1 * average + (1 - beta1) * weight.grad
                weight.sub_(mixed.sign(), alpha=group["lr"])
                average.lerp_(weight.grad, 1 - beta2)


def _one(kind: Callable[..., Optimizer], decay: float = 0.0, **settings: Any) -> Build:
    """One optimizer for all; weight decay is for matrices alone, as usual."""

    def build(named: Named) -> list[Optimizer]:
        if not decay:
            return [kind(named, **settings)]
        decayed = [(name, weight) for name, weight in named if weight.ndim > 1]
        others = [(name, weight) for name, weight in named if weight.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": decay}, {"params": others, "weight_decay": 0}]
        return [kind(groups, **settings)]

    return build


def _muon(named: Named) -> list[Optimizer]:
    """Muon for the matrices between embedding and head, AdamW for what is left."""
    ends = ("wte.weight", "wpe.weight", "embedding.weight", "head.weight")
    matrices = [(n, weight) for n, weight in named if weight.ndim == 2 and n not in ends]
    chosen = {name for name, _ in matrices}
    others = [(name, weight) for name, weight in named if name not in chosen]
    return [optim.Muon(matrices, lr=0.02), optim.AdamW(others, lr=1e-3, weight_decay=0.1)]


ADAMW = partial(_one, optim.AdamW)
OPTIMIZERS: dict[str, Build] = {
    "adamw": ADAMW(decay=0.1, lr=1e-3),
    "adamw β₂ .95": ADAMW(decay=0.1, lr=1e-3, betas=(0.9, 0.95)),
    "adamw decay 1": ADAMW(decay=STRONG / 3e-3, lr=3e-3, betas=(0.9, 0.99)),
    "adam": _one(optim.Adam, lr=1e-3),
    "nadam": _one(optim.NAdam, lr=1e-3),
    "radam": _one(optim.RAdam, lr=1e-3),
    "rmsprop": _one(optim.RMSprop, lr=3e-4),
    "rmsprop .9": _one(optim.RMSprop, lr=1e-4, momentum=0.9),
    "adagrad": _one(optim.Adagrad, lr=1e-2),
    "adafactor": _one(optim.Adafactor, lr=1e-2),
    "sgd": _one(optim.SGD, lr=0.1),
    "sgd .9": _one(optim.SGD, lr=0.03, momentum=0.9),
    "sgd nesterov": _one(optim.SGD, lr=0.03, momentum=0.9, nesterov=True),
    "lion": _one(Lion, decay=1.0, lr=3e-4),
    "lion decay 10": _one(Lion, decay=STRONG / 3e-4, lr=3e-4),
    "muon and adamw": _muon,
}


def decay_of(optimizers: Iterable[Optimizer]) -> dict[int, float]:
    """lr·weight_decay of each parameter, by its id: all decay here is beside the gradient."""
    return {
        id(weight): group["lr"] * group["weight_decay"]
        for optimizer in optimizers
        for group in optimizer.param_groups
        for weight in group["params"]
    }


def options_of(optimizers: Sequence[Optimizer]) -> dict[str, Any] | None:
    """The options that say to scalecheck what trains, without a state; None for several."""
    first, *others = optimizers
    if others:
        return None
    group = first.param_groups[0]
    words = {word: group[word] for word in ("lr", "momentum") if word in group}
    words |= dict(zip(("beta1", "beta2"), group.get("betas", ()), strict=False))
    return {"optimizer": type(first).__name__.lower(), **words}
