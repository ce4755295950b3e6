"""RMSprop: the gradient over the root of its square's moving average, without bias correction."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from scalecheck.optimizers import _bitsandbytes
from scalecheck.optimizers._centered import CenteredGaussian
from scalecheck.optimizers.contract import (
    TORCH_FLAGS,
    UNIT,
    Beta,
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
from scalecheck.theory.averages import adam_averages
from scalecheck.theory.displacement import LONG, discounted, momentum_sums, sums_of
from scalecheck.theory.domain import require_step
from scalecheck.theory.drift import displacement_rms
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.schedule import Schedule, Sums
from scalecheck.theory.update_rms import LEAST, Update, expected_update, update_moments

NEGLIGIBLE = 1e-6  # weight of a step so old that it no longer counts in a moving average
LONGEST = 10_000  # updates that are added up one by one


@dataclass(frozen=True)
class Optimizer(Hyperparameters):
    """torch.optim.RMSprop: v = alpha·v + (1−alpha)·g², w ← w − lr·g/(√v + eps).

    momentum: buffer = momentum·buffer + g/(√v + eps), w ← w − lr·buffer. centered: v less the
    square of g's moving average. g includes weight_decay·w. eps is outside the root; TensorFlow
    has it inside.
    Source: Tieleman & Hinton 2012; centered: Graves 2013.
    """

    torch_class: ClassVar[str] = "RMSprop"
    state: ClassVar[SavedState] = SavedState(
        entries={"step": Entry.STEP, "square_avg": Entry.SECOND_MOMENT},
        optional_entries={
            "momentum_buffer": Entry.MOMENTUM,
            "grad_avg": Entry.FIRST_MOMENT,
        },
        optional_settings=TORCH_FLAGS,
        second_moment_factor="alpha",
        writers=(_bitsandbytes.RMSPROP,),
    )

    alpha: Beta = 0.99
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0
    momentum: Beta = 0.0
    centered: bool = False

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """Adam's with beta1 = 0 and no bias correction: 1/√(1−alpha) = 10 at step 1, 0.995 late.

        centered: of Gaussian gradients, √(1+snr²) times as much and more late, as only their
        variance divides them. momentum adds updates up as if only their means were correlated:
        exact for noise and for a constant gradient, at most 2.5% high between. In the limit it
        makes them 1/√(1−momentum²) and 1/(1−momentum) times as large. Raises NoFormula for momentum
        on correlated gradients, and for centered on other than Gaussian ones and with alpha 0,
        where nothing but eps divides.
        """
        require_step(step)
        if not self.momentum:
            return self._scaled_gradient(gradient, step).rms
        gradient.require_independent()
        if step is None:
            late = self._scaled_gradient(gradient, None)
            variance = (late.rms**2 - late.mean**2) / (1 - self.momentum**2)
            return math.hypot(late.mean / (1 - self.momentum), math.sqrt(max(variance, 0.0)))
        count = math.ceil(math.log(NEGLIGIBLE) / math.log(self.momentum))
        steps = range(step, max(step - count, 0), -1)
        if len(steps) > LONGEST:
            raise NoFormula(
                f"momentum {self.momentum}: adds up {len(steps)} updates, solved for {LONGEST}"
            )
        mean = variance = 0.0
        for age, earlier in enumerate(steps):
            update = self._scaled_gradient(gradient, earlier)
            mean += self.momentum**age * update.mean
            variance += self.momentum ** (2 * age) * (update.rms**2 - update.mean**2)
        return math.hypot(mean, math.sqrt(max(variance, 0.0)))

    def formula_error(self, step: int | None = None) -> float:
        """Momentum of correlated updates."""
        return 0.025

    def displacement(self, plan: Schedule, gradient: Gradient) -> float:
        """√((d·ΣS)² + (1−d²)·ΣS²), d the share of drift, S what a gradient moves in all: through
        momentum, over √v that is as large as √(1−alpha^t) in its step. Where eps counts, times what
        it leaves of an update. Raises NoFormula for centered."""
        gradient.require_independent()
        if self.centered:
            why = "centered RMSprop: no formula is known for the sum of its updates over many steps"
            raise NoFormula(why)
        sums = _sums(plan, self.alpha, self.momentum)
        return gradient.kept(self.eps) * displacement_rms(*sums, gradient.snr)

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """The buffer where there is momentum."""
        square = state["square_avg"] / (1 - self.alpha**step)
        if not self.momentum:
            why = "RMSprop's last update is of a gradient that its state does not hold"
            return LastUpdate(square=square, reason=why)
        return LastUpdate(state["momentum_buffer"], square=square)

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k, weight_decay' = weight_decay/k²."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -2})

    def _scaled_gradient(self, gradient: Gradient, step: int | None) -> Update:
        if step is not None and self.alpha**step < NEGLIGIBLE and not self.centered:
            step = None  # one late step is like another, and found in the cache
        over_eps = gradient.over(self.eps)
        if not self.centered:
            return expected_update(
                *(0.0, self.alpha, gradient.snr, step, over_eps, gradient.noise),
                bias_correction=False,
            )
        gradient.require_gaussian()
        if not self.alpha:
            raise NoFormula("centered RMSprop with alpha 0 divides by eps alone")
        if over_eps < LEAST:
            raise NoFormula(f"rms(g)/eps {over_eps} is below {LEAST}")
        return _centered_update(self.alpha, gradient.snr, step, over_eps)


@lru_cache(maxsize=1024)
def _centered_update(alpha: float, snr: float, step: int | None, over_eps: float) -> Update:
    """RMS and mean of g/(√(v − ḡ²) + eps)."""
    averages = adam_averages(0.0, alpha, step, bias_correction=False)
    law = CenteredGaussian(0.0 if step is None else alpha**step)
    square, mean = update_moments(averages, law, snr, 1 / over_eps)
    return Update(math.sqrt(square), mean)


@lru_cache(maxsize=256)
def _sums(plan: Schedule, alpha: float, momentum: float) -> Sums:
    """Of what each gradient moves in all at a peak lr of 1."""
    if plan.steps > LONG:
        return momentum_sums(plan, momentum)
    moved = discounted(plan.multiples(), momentum)
    held = math.ceil(math.log(NEGLIGIBLE) / math.log(momentum)) if momentum else 0
    age = np.arange(min(plan.done, held, LONG), 0, -1)  # of gradients from before the schedule
    moved = np.concatenate([moved[0] * momentum**age, moved])
    if alpha:
        step = plan.done - len(age) + np.arange(1, len(moved) + 1)
        moved /= np.sqrt(-np.expm1(step * math.log(alpha)))
    return sums_of(moved)
