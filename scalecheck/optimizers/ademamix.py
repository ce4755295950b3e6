"""AdEMAMix: AdamW whose numerator also holds a much slower average of gradients."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scalecheck.optimizers import _bitsandbytes
from scalecheck.optimizers._per_tensor import PerTensor, decayed, moving_average
from scalecheck.optimizers.contract import (
    THREE_BETAS,
    UNIT,
    Beta,
    Entry,
    FloatArray,
    Gradient,
    LastUpdate,
    NoFormula,
    NotNegative,
    PositiveOrNone,
    SavedState,
    Weights,
    Writer,
    entry,
)
from scalecheck.theory.averages import mixed_averages
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.update_rms import require_finite_mean_square, update_moments

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

HALF, NEAR_ZERO = math.log(0.5), 1e-8

PYTORCH_OPTIMIZER = Writer(
    settings=(
        *("betas", "eps", "weight_decay", "weight_decouple", "fixed_decay", "step"),
        *("alpha", "t_alpha_beta3"),
    ),
    entries=("exp_avg", "exp_avg_sq", "exp_avg_slow"),
    optional_settings=("cautious", "stable_adamw"),
    values={"fixed_decay": False, "cautious": False, "stable_adamw": False},
    names={
        "decoupled_weight_decay": "weight_decouple",
        "alpha_warmup": "t_alpha_beta3",
        "beta3_warmup": "t_alpha_beta3",
    },
)


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """w ← (1 − lr·weight_decay)·w − lr·(m̂ + α·s)/(√v̂ + eps), s a slow average of g.

    m̂ and v̂ are Adam's; s = β3·s + (1−β3)·g is not corrected for its zero start. α grows from 0 to
    alpha over alpha_warmup steps, and the half-life of β3 from that of beta1 to that of beta3 over
    beta3_warmup steps. Without decoupled_weight_decay g includes weight_decay·w.
    Source: Pagliardini et al. 2024, algorithm 1.
    """

    state: ClassVar[SavedState] = SavedState(
        entries={
            "step": Entry.STEP,
            "exp_avg_fast": Entry.FIRST_MOMENT,
            "exp_avg_slow": Entry.SLOW_FIRST_MOMENT,
            "exp_avg_sq": Entry.SECOND_MOMENT,
        },
        pairs=THREE_BETAS,
        optional_settings=("decoupled_weight_decay",),
        second_moment_factor="beta2",
        writers=(PYTORCH_OPTIMIZER, _bitsandbytes.ADEMAMIX),
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    beta3: Beta = 0.9999
    alpha: NotNegative = 2.0
    alpha_warmup: PositiveOrNone = None
    beta3_warmup: PositiveOrNone = None
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0
    decoupled_weight_decay: bool = True

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """Of the mixed average over √v, exact: 0.2306 for noise and 3 for a constant gradient in
        the limit of the defaults. Raises NoFormula while β3 changes."""
        require_step(step)
        if step is not None and self.beta3_warmup is not None:
            raise NoFormula("solved for a constant beta3 only, or for the limit of many steps")
        over_eps = gradient.over(self.eps)
        if not over_eps > 0:
            raise NoFormula(f"rms(g)/eps {over_eps} is not positive")
        if over_eps == math.inf:
            slowest = max(self.beta1, self.beta3)
            require_finite_mean_square(slowest, self.beta2, step, gradient.noise)
        averages = mixed_averages(
            self.beta1,
            self.beta2,
            self.beta3,
            self.alpha if step is None else self._alpha(step),
            step,
            every_lag=gradient.noise.needs_every_lag,
        )
        square, _ = update_moments(averages, gradient.noise, gradient.snr, 1 / over_eps)
        return math.sqrt(square)

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """(m̂ + α·s)/(√v̂ + eps), α that of the step."""
        mean = entry(state, "exp_avg_fast", "exp_avg") / (1 - self.beta1**step)
        square = state["exp_avg_sq"] / (1 - self.beta2**step)
        mixed = mean + self._alpha(step) * state["exp_avg_slow"]
        return LastUpdate(mixed / (np.sqrt(square) + self.eps), mean, square)

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k, weight_decay' = weight_decay/k if decoupled, else /k²."""
        decay = -1 if self.decoupled_weight_decay else -2
        return Reparameterization(1, {"eps": -1, "weight_decay": decay})

    def _alpha(self, step: int) -> float:
        warmup = self.alpha_warmup
        return self.alpha if warmup is None else min(step / warmup, 1.0) * self.alpha

    def _beta3(self, step: int) -> float:
        """beta3 of this step: its half-life grows linearly."""
        if self.beta3_warmup is None or step >= self.beta3_warmup:
            return self.beta3
        first, last = (HALF / math.log(beta + NEAR_ZERO) - 1 for beta in (self.beta1, self.beta3))
        share = step / self.beta3_warmup
        return float(0.5 ** (1 / ((1 - share) * first + share * last + 1)))

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        beside = lr if self.decoupled_weight_decay else None
        gradient = decayed(weights, gradient, self.weight_decay, beside)
        step = state["step"]
        m = moving_average(state, "exp_avg_fast", self.beta1, gradient) / (1 - self.beta1**step)
        s = moving_average(state, "exp_avg_slow", self._beta3(step), gradient)
        v = moving_average(state, "exp_avg_sq", self.beta2, gradient * gradient)
        mixed = m + self._alpha(step) * s
        update = mixed / ((v / (1 - self.beta2**step)).sqrt() + self.eps)
        weights.sub_(update.masked_fill(mixed == 0, 0.0), alpha=lr)  # 0/0 where eps is 0
