"""What saved states tell of Adam's relatives that have no formula here: Adam-mini, one v for each
block of a parameter, StableAdamW as pytorch_optimizer keeps it, and the AdamW inside Moonlight's
Muon."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from scalecheck.optimizers.contract import FloatArray, LastUpdate
from scalecheck.updates.without_formula import WithoutFormula


@dataclass(frozen=True)
class AdamMini(WithoutFormula):
    """w ← (1 − lr·weight_decay)·w − lr·m̂/(√v̂ + eps), v averages the mean of g² over a block: a
    row, a head, the tensor. Biases have a v of each element. Source: Zhang et al. 2024."""

    state_without_step: ClassVar[bool] = False
    update_needs_tensor: ClassVar[bool] = True
    decoupled_weight_decay: ClassVar[bool] = True

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    @classmethod
    def of(cls, name: str, why: str, weight_decay: float, settings: Mapping[str, Any]) -> Self:
        """That of a group of these settings."""
        numbers = {word: settings[word] for word in ("beta1", "beta2", "eps") if word in settings}
        return cls(name, why, weight_decay, **numbers)

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """None: an element's v is that of its block."""
        return LastUpdate(reason="its tensors are too large to be read as a whole")

    def last_update_from_tensors(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """m̂/(√v̂ + eps), v̂ spread over its block."""
        m, v = state["m"], state["v"] if "v" in state else state["vmean"]
        try:
            square = np.broadcast_to(v, m.shape) / (1 - self.beta2**step)
        except ValueError:
            return LastUpdate(reason="its v is of blocks that its m does not have")
        mean = m / (1 - self.beta1**step)
        update = mean / (np.sqrt(square) + self.eps)
        return LastUpdate(update.ravel(), mean.ravel(), square.ravel())


@dataclass(frozen=True)
class StableAdamW(WithoutFormula):
    """Its averages are stored as they are corrected."""

    state_without_step: ClassVar[bool] = False
    decoupled_weight_decay: ClassVar[bool] = True

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """The gradients' averages."""
        return LastUpdate(mean=state["exp_avg"], square=state["exp_avg_sq"], reason=self.why)


@dataclass(frozen=True)
class MoonlightMuon(WithoutFormula):
    """Muon for matrices, and for the rest w ← (1 − lr·wd)·w − lr·c·m/(√v + eps),
    c = √(1−beta2^t)/(1−beta1^t), in one group. Source: Liu et al. 2025."""

    decoupled_weight_decay: ClassVar[bool] = True

    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8

    @classmethod
    def of(cls, name: str, why: str, weight_decay: float, settings: Mapping[str, Any]) -> Self:
        """That of a group of these settings."""
        return cls(
            *(name, why, settings["wd"]),
            betas=settings["adamw_betas"],
            eps=settings["adamw_eps"],
        )

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """AdamW's where it is AdamW's state."""
        if "moment1" not in state:
            return LastUpdate(reason=self.why)
        beta1, beta2 = self.betas
        mean, square = state["moment1"], state["moment2"]
        scale = np.sqrt(1 - beta2**step) / (1 - beta1**step)
        update = scale * mean / (np.sqrt(square) + self.eps)
        return LastUpdate(update, mean / (1 - beta1**step), square / (1 - beta2**step))
