"""Adagrad: the gradient over the root of the sum of all its squares so far."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from scalecheck.optimizers import _bitsandbytes
from scalecheck.optimizers.contract import (
    UNIT,
    Entry,
    FloatArray,
    Gradient,
    Hyperparameters,
    LastUpdate,
    NoFormula,
    NotNegative,
    SavedState,
    Weights,
)
from scalecheck.theory.averages import Averages
from scalecheck.theory.displacement import LONG, sums_of
from scalecheck.theory.domain import require_step
from scalecheck.theory.drift import displacement_rms
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.schedule import Schedule, Sums
from scalecheck.theory.update_rms import update_moments


@dataclass(frozen=True)
class Optimizer(Hyperparameters):
    """torch.optim.Adagrad: w ← w − lr/(1 + (t−1)·lr_decay)·g/(√Σg² + eps).

    The sum starts at initial_accumulator_value, 0 in torch and 0.1 in TensorFlow and optax. eps is
    outside the root; optax has it inside. g includes weight_decay·w.
    Source: Duchi et al. 2011.
    """

    torch_class: ClassVar[str] = "Adagrad"
    state: ClassVar[SavedState] = SavedState(
        entries={"step": Entry.STEP, "sum": Entry.SQUARE_SUM},
        optional_settings=("foreach", "maximize", "differentiable", "fused"),
        writers=(_bitsandbytes.ADAGRAD,),
    )

    lr_decay: NotNegative = 0.0
    weight_decay: NotNegative = 0.0
    initial_accumulator_value: NotNegative = 0.0
    eps: NotNegative = 1e-10

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """1/√step while eps does not count, for any independent gradients: on average the latest is
        1/step of Σg². 0 in the limit. Raises NoFormula for an initial_accumulator_value."""
        if self.initial_accumulator_value:
            raise NoFormula(
                f"initial_accumulator_value {self.initial_accumulator_value}: solved for 0 only"
            )
        gradient.require_independent()
        require_step(step)
        if step is None:
            return 0.0
        unscaled = 1 / math.sqrt(step)
        if self.eps:
            # Σg² is step times an average in which all gradients weigh alike.
            averages = Averages(
                np.array([1.0, step - 1.0]), np.array([1.0, 0.0]), np.full(2, 1 / step)
            )
            eps = 1 / (gradient.over(self.eps) * math.sqrt(step))
            unscaled *= math.sqrt(update_moments(averages, gradient.noise, gradient.snr, eps)[0])
        return unscaled / (1 + (step - 1) * self.lr_decay)

    def displacement(self, plan: Schedule, gradient: Gradient) -> float:
        """√((d·Σa)² + (1−d²)·Σa²), a = lr_t/((1 + (t−1)·lr_decay)·√t), d the share of drift.
        Raises NoFormula for an initial_accumulator_value and for more than LONG steps."""
        if self.initial_accumulator_value:
            raise NoFormula(
                f"initial_accumulator_value {self.initial_accumulator_value}: solved for 0 only"
            )
        if plan.steps > LONG:
            raise NoFormula(f"{plan.steps} steps: solved for {LONG} of its shrinking updates")
        gradient.require_independent()
        sums = _sums(plan, self.lr_decay)
        return gradient.kept(self.eps) * displacement_rms(*sums, gradient.snr)

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """The mean square of all gradients."""
        square = (state["sum"] - self.initial_accumulator_value) / step
        why = "Adagrad's last update is of a gradient that its state does not hold"
        return LastUpdate(square=square, reason=why)

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k, weight_decay and initial_accumulator_value over k²."""
        return Reparameterization(
            1, {"eps": -1, "weight_decay": -2, "initial_accumulator_value": -2}
        )


@lru_cache(maxsize=256)
def _sums(plan: Schedule, lr_decay: float) -> Sums:
    """Of the updates of all steps at a peak lr of 1."""
    step = plan.done + np.arange(1.0, plan.steps + 1)
    return sums_of(plan.multiples() / ((1 + (step - 1) * lr_decay) * np.sqrt(step)))
