"""What the saved state of SOAP tells: Adam's averages in a basis that turns with the gradients."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from scalecheck.optimizers.contract import FloatArray, LastUpdate
from scalecheck.updates.without_formula import WithoutFormula

CHANGED = "SOAP turned its basis after the last update, and does not keep the one before"
MERGED = "SOAP's basis is of merged dimensions, which its state does not hold"
VERSIONS = "SOAP's versions keep exp_avg in different bases, and its state does not say in which"
SET_UP = "SOAP's first step sets up its basis and updates nothing"


@dataclass(frozen=True)
class Soap(WithoutFormula):
    """w ← w − lr·c·Qᵀ(Q·m/(√v + eps)), then w ← (1 − lr·weight_decay)·w; Q rotates each dimension.

    c = √(1−beta2^t)/(1−beta1^t) with correct_bias, else 1. v is in the basis Q, which turns every
    precondition_frequency steps, after the update; m is in that of the weights for is_plain, else
    its author's versions differ. normalizes: the rotated quotient is divided by its RMS.
    Source: Vyas et al. 2024.
    """

    state_without_step: ClassVar[bool] = False
    update_needs_tensor: ClassVar[bool] = True
    decoupled_weight_decay: ClassVar[bool] = True
    is_plain: ClassVar[bool] = False

    beta1: float = 0.95
    beta2: float = 0.95
    eps: float = 1e-8
    precondition_frequency: int = 10
    correct_bias: bool = True
    merge_dims: bool = False
    normalizes: bool = False

    @classmethod
    def of(cls, name: str, why: str, weight_decay: float, settings: Mapping[str, Any]) -> Self:
        """That of a group of these settings."""
        words = ("beta1", "beta2", "eps", "precondition_frequency")
        numbers = {word: settings[word] for word in words if word in settings}
        normalizes = settings.get("normalize_grads") or settings.get("normalize_gradient")
        return cls(
            name,
            why,
            weight_decay,
            **numbers,
            correct_bias=bool(settings.get("correct_bias")),
            merge_dims=bool(settings.get("merge_dims")),
            normalizes=bool(normalizes),
        )

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """The squares of its gradients, whose basis does not matter to their mean."""
        updates = self._updates(step)
        if updates < 1:
            return LastUpdate(reason=SET_UP)
        square = state["exp_avg_sq"] / (1 - self.beta2**updates)
        return LastUpdate(square=square, reason="its tensors are too large to rotate them")

    def last_update_from_tensors(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """The quotient in the basis Q: rotating it back leaves its RMS."""
        updates = self._updates(step)
        if updates < 1:
            return LastUpdate(reason=SET_UP)
        m, v = state["exp_avg"], state["exp_avg_sq"]
        square = v / (1 - self.beta2**updates)
        rotations = [state.get(f"Q[{axis}]") for axis in range(m.ndim)]
        is_merged = any(
            q.shape != (n, n) for q, n in zip(rotations, m.shape, strict=True) if q is not None
        )
        is_rotated = any(q is not None for q in rotations)
        if why := self._open(is_rotated, is_merged or self.merge_dims, updates):
            return LastUpdate(square=square.ravel(), reason=why)
        factor = 1.0
        if self.correct_bias:
            factor = math.sqrt(1 - self.beta2**updates) / (1 - self.beta1**updates)
        if self.normalizes:
            return LastUpdate(np.full(m.size, factor), square=square.ravel())
        for axis, q in enumerate(rotations):
            if q is not None:
                m = np.moveaxis(np.tensordot(m, q, ([axis], [0])), -1, axis)
        mean = m / (1 - self.beta1**updates)
        update = factor * m / (np.sqrt(v) + self.eps)
        return LastUpdate(update.ravel(), mean.ravel(), square.ravel())

    def _updates(self, step: int) -> int:
        """How many were applied at this step."""
        return step

    def _open(self, is_rotated: bool, is_merged: bool, updates: int) -> str:
        """Why the last update is not certain; empty where it is."""
        if not is_rotated or self.normalizes:
            return ""
        if not self.is_plain:
            return VERSIONS
        if is_merged:
            return MERGED
        return CHANGED if updates % self.precondition_frequency == 0 else ""


@dataclass(frozen=True)
class PlainSoap(Soap):
    """pytorch_optimizer's, which counts the step that sets up the basis."""

    is_plain: ClassVar[bool] = True

    def _updates(self, step: int) -> int:
        return step - 1
