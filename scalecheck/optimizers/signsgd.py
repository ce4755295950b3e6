"""signSGD: the sign of the gradient, or of its momentum (Signum)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scalecheck.optimizers._per_tensor import PerTensor, decayed, moving_average
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
from scalecheck.theory.displacement import sign_displacement
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.schedule import Schedule

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State


SIGNSGD = Writer(
    settings=("momentum", "weight_decay", "weight_decouple", "step"),
    optional_entries=("momentum_buffer",),
    names={"decoupled_weight_decay": "weight_decouple"},
)
TIGER = Writer(
    settings=("beta", "weight_decay", "weight_decouple", "fixed_decay", "step"),
    entries=("exp_avg",),
    values={"fixed_decay": False},
    names={"momentum": "beta", "decoupled_weight_decay": "weight_decouple"},
)
"""pytorch_optimizer's SignSGD and Tiger."""


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """m = momentum·m + (1−momentum)·g, w ← (1 − lr·weight_decay)·w − lr·sign(m).

    Without decoupled_weight_decay g includes weight_decay·w. Tiger (Su 2023) is the same with
    momentum 0.965. Source: Bernstein et al. 2018.
    """

    state: ClassVar[SavedState] = SavedState(
        entries={"momentum_buffer": Entry.FIRST_MOMENT},
        optional_entries={"step": Entry.STEP},
        is_distinct=False,
        writers=(SIGNSGD, TIGER),
    )
    equal_updates: ClassVar[bool] = True
    state_without_step: ClassVar[bool] = True

    momentum: Beta = 0.0
    weight_decay: NotNegative = 0.0
    decoupled_weight_decay: bool = True

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """1: every element whose m is not zero moves by lr; √(1−(1−density)^step) of sparse
        gradients, √density where none is remembered."""
        require_step(step)
        return math.sqrt(gradient.reached(step if self.momentum else 1))

    def displacement(self, plan: Schedule, gradient: Gradient) -> float:
        """√((s·Σlr)² + (1−s²)·Σlr²), s = erf(snr/√2) the mean sign; with momentum by the arcsine
        law of signs. Gaussian gradients; raises NoFormula for momentum and a mean."""
        gradient.require_gaussian()
        if self.momentum:
            if gradient.snr:
                raise NoFormula(f"snr {gradient.snr} with momentum: solved without a mean only")
            return sign_displacement(plan, self.momentum, self.momentum)
        mean, sums = math.erf(gradient.snr / math.sqrt(2)), plan.sums()
        return math.hypot(mean * sums.first, math.sqrt((1 - mean * mean) * sums.second))

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """sign(m)."""
        return LastUpdate(np.sign(entry(state, "momentum_buffer", "exp_avg")))

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, weight_decay' = weight_decay/k if decoupled, else /k²."""
        return Reparameterization(1, {"weight_decay": -1 if self.decoupled_weight_decay else -2})

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        beside = lr if self.decoupled_weight_decay else None
        gradient = decayed(weights, gradient, self.weight_decay, beside)
        update = moving_average(state, "momentum_buffer", self.momentum, gradient).sign()
        weights.sub_(update, alpha=lr)
