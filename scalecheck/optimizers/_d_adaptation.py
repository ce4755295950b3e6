"""What the optimizers of D-Adaptation share: lr is multiplied by d, an estimate of how far the
weights have to go, and both are in what the state holds. Source: Defazio & Mishchenko 2023."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from scalecheck.optimizers._per_tensor import PerTensor
from scalecheck.optimizers.contract import (
    WEIGHTS,
    FloatArray,
    LastUpdate,
    Positive,
    Totals,
)


@dataclass(frozen=True)
class DAdapted(PerTensor):
    """Its last_update_from_state gives −Δw. d grows from 1e-6 on; a replay keeps it."""

    estimates_lr: ClassVar[bool] = True

    d: Positive = 1e-6

    @property
    def decay_scale(self) -> float:
        """d."""
        return self.d

    def last_update_rms(
        self, totals: Totals, numbers: Mapping[str, object], lr: float, step: int
    ) -> float:
        """RMS of −Δw, over lr."""
        return math.sqrt(totals.update_square / totals.numel) / lr


def averaged(state: Mapping[str, FloatArray], z: FloatArray, momentum: float) -> LastUpdate:
    """−Δw of w ← momentum·w + (1−momentum)·z, from the z and w after it; without momentum w is z,
    and the z before it is not kept."""
    if not momentum:
        return LastUpdate(reason="without momentum its state does not tell the weights before")
    if WEIGHTS not in state:
        return LastUpdate(reason="its last update follows from the weights after it, not known")
    return LastUpdate((1 - momentum) / momentum * (state[WEIGHTS] - z))
