"""NAdam: Adam with Nesterov momentum whose factor grows over the steps."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np

from scalecheck.optimizers.contract import (
    ADAM_ENTRIES,
    BETAS,
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
from scalecheck.theory.averages import NEGLIGIBLE, adam_averages
from scalecheck.theory.displacement import LONG, discounted, earlier_sums, sums_of
from scalecheck.theory.domain import require_step
from scalecheck.theory.drift import displacement_rms
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.schedule import Schedule, Sums
from scalecheck.theory.update_rms import GAUSSIAN, require_finite_mean_square, update_moments

LONGEST = 100_000  # factors of Π that are multiplied one by one


@dataclass(frozen=True)
class Optimizer(Hyperparameters):
    """torch.optim.NAdam: w ← w − lr·(μ_(t+1)·m/(1−Π_(t+1)) + (1−μ_t)·g/(1−Π_t)) / (√v̂ + eps).

    μ_t = beta1·(1 − ½·0.96^(t·momentum_decay)), Π_t = μ_1·…·μ_t; g includes weight_decay·w unless
    decoupled_weight_decay, where w first shrinks by lr·weight_decay. optax's nadam keeps μ = beta1.
    Source: Dozat 2016.
    """

    torch_class: ClassVar[str] = "NAdam"
    state: ClassVar[SavedState] = SavedState(
        entries={**ADAM_ENTRIES, "mu_product": Entry.MOMENTUM_PRODUCT},
        pairs=BETAS,
        optional_settings=(*TORCH_FLAGS, "decoupled_weight_decay"),
        second_moment_factor="beta2",
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0
    momentum_decay: NotNegative = 4e-3
    decoupled_weight_decay: bool = False

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """Exact for Gaussian noise: 1.056 at step 1, 0.544 at 1000, 0.266 in the limit that the
        default momentum_decay reaches after tens of thousands of steps. Raises NoFormula for other
        noise."""
        gradient.require_gaussian()
        require_step(step)
        over_eps = gradient.over(self.eps)
        if not over_eps > 0:
            raise NoFormula(f"rms(g)/eps {over_eps} is not positive")
        if over_eps == math.inf:
            require_finite_mean_square(self.beta1, self.beta2, step, GAUSSIAN)
        on_average, on_gradient = self.beta1, 1 - self.beta1
        if step is not None:
            product = self._momentum_product(step)
            following = self._momentum(step + 1)
            on_gradient = (1 - self._momentum(step)) / (1 - product)
            on_average = following / (1 - product * following)
            on_average *= 1 - self.beta1**step  # the averages are bias-corrected; NAdam's m is not
        averages = adam_averages(self.beta1, self.beta2, step)
        a = on_average * averages.a
        a[0] += on_gradient
        moments = update_moments(replace(averages, a=a), GAUSSIAN, gradient.snr, 1 / over_eps)
        return math.sqrt(moments[0])

    def _momentum(self, step: int) -> float:
        """μ of this step."""
        return float(self.beta1 * (1 - 0.5 * 0.96 ** (self.momentum_decay * step)))

    def _momentum_product(self, step: int) -> float:
        """Π of this step. Raises NoFormula for one of too many factors."""
        product = 1.0
        for earlier in range(1, step + 1):
            product *= self._momentum(earlier)
            if product < NEGLIGIBLE:
                break
            if earlier == LONGEST:
                raise NoFormula(f"beta1 {self.beta1}: step {step} is a product of over {LONGEST} μ")
        return product

    def displacement(self, plan: Schedule, gradient: Gradient) -> float:
        """Adam's law with S_i = lr_i·(1−μ_i)/(1−Π_i) + (1−beta1)·Σ_(t≥i) lr_t·beta1^(t−i)·
        μ_(t+1)/(1−Π_(t+1)), what a gradient moves by itself and through m."""
        gradient.require_independent()
        sums = _sums(plan, self.beta1, self.momentum_decay)
        return gradient.kept(self.eps) * displacement_rms(*sums, gradient.snr)

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """The averages; the last update holds the last gradient beside them."""
        return LastUpdate(
            mean=state["exp_avg"] / (1 - self.beta1**step),
            square=state["exp_avg_sq"] / (1 - self.beta2**step),
            reason="NAdam's last update holds a gradient that its state does not",
        )

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k, weight_decay' = weight_decay/k if decoupled, else /k²."""
        decay = -1 if self.decoupled_weight_decay else -2
        return Reparameterization(1, {"eps": -1, "weight_decay": decay})


@lru_cache(maxsize=256)
def _sums(plan: Schedule, beta1: float, momentum_decay: float) -> Sums:
    """Of what each gradient moves in all at a peak lr of 1; in the longest schedules, all of
    whose μ are near beta1 but for a few, lr_i itself."""
    if plan.steps > LONG:
        return plan.sums()
    lrs = plan.multiples()
    momentum = _momentums(plan.done + np.arange(1.0, len(lrs) + 2), beta1, momentum_decay)
    before = _momentums(np.arange(1.0, min(plan.done, LONGEST) + 1), beta1, momentum_decay)
    rest = 1 - np.prod(before) * np.cumprod(momentum)
    by_itself = lrs * (1 - momentum[:-1]) / rest[:-1]
    through_average = (1 - beta1) * discounted(lrs * momentum[1:] / rest[1:], beta1)
    earlier = earlier_sums(float(through_average[0]), beta1, plan.done)
    return sums_of(by_itself + through_average).plus(earlier)


def _momentums(step: FloatArray, beta1: float, momentum_decay: float) -> FloatArray:
    """μ of each step."""
    return np.asarray(beta1 * (1 - 0.5 * 0.96 ** (momentum_decay * step)))
