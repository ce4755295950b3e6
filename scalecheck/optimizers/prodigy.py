"""Prodigy: AdamW whose lr is multiplied by an estimate of how far the weights have to go."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from scalecheck.optimizers._per_tensor import PerTensor, bias_correction, moving_average
from scalecheck.optimizers.contract import (
    ADAM_ENTRIES,
    BETAS,
    UNIT,
    Beta,
    FloatArray,
    Gradient,
    LastUpdate,
    NotNegative,
    Positive,
    PositiveOrNone,
    SavedState,
    Weights,
    Writer,
)
from scalecheck.theory.domain import require_finite, require_not_negative, require_step
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.update_rms import expected_update

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

_ONE_D = ("d", "d0", "d_max", "d_coef", "growth_rate")
_ESTIMATE = (*_ONE_D, "d_numerator")

_ROUNDING = 1e-6  # of d_hat, which some versions compute in float32

PRODIGYOPT = Writer(
    settings=("betas", "eps", "weight_decay", "use_bias_correction", "k", *_ESTIMATE),
    entries=ADAM_ENTRIES,
    optional_settings=(
        *("beta3", "decouple", "safeguard_warmup", "fsdp_in_use", "slice_p"),
        *("d_denom", "d_hat"),
    ),
    optional_entries=("s", "p0"),
    values={"decouple": True},
    names={"bias_correction": "use_bias_correction", "steps_done": "k"},
    of_one_group=("betas", "use_bias_correction", "decouple", "k", *_ONE_D),
)
"""prodigyopt, whose versions differ in what stands beside the estimate."""

PYTORCH_OPTIMIZER = Writer(
    settings=("betas", "eps", "weight_decay", "bias_correction", "step", "d_hat", *_ESTIMATE),
    entries=("exp_avg", "exp_avg_sq", "s", "p0"),
    optional_settings=("beta3", "weight_decouple", "fixed_decay", "safeguard_warmup", "d_de_nom"),
    values={"weight_decouple": True, "fixed_decay": False, "bias_correction": False},
    of_one_group=("lr", "betas", "bias_correction", *_ONE_D),
)
"""pytorch_optimizer's, which counts one step more than it did: so without bias correction."""


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """w ← (1 − lr·d·weight_decay)·w − lr·d·c·m/(√v + d·eps), m and v averages of d·g and (d·g)².

    c = √(1−beta2^t)/(1−beta1^t) with bias_correction, else 1. d is the estimate, which grows from
    1e-6 on; a replay keeps it. lr is 1 as a rule.

    d0 is the first d, d_hat the newest estimate, d_max the largest. A step multiplies lr by the d
    before it, then d grows to d_max, by no more than growth_rate times; steps_done are the group's,
    which the bias correction goes by. None where a state does not say it, growth_rate None (inf)
    where d grows by any factor. Source: Mishchenko & Defazio 2024, algorithm 4.
    """

    state: ClassVar[SavedState] = SavedState(
        entries=ADAM_ENTRIES,
        pairs=BETAS,
        second_moment_factor="beta2",
        is_distinct=False,
        writers=(PRODIGYOPT, PYTORCH_OPTIMIZER),
    )
    estimates_lr: ClassVar[bool] = True

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0
    bias_correction: bool = False
    d: Positive = 1e-6
    d0: PositiveOrNone = None
    d_max: PositiveOrNone = None
    d_hat: Annotated[float | None, require_finite] = None
    growth_rate: PositiveOrNone = None
    steps_done: Annotated[int | None, require_not_negative] = None

    def __post_init__(self) -> None:
        if self.growth_rate == math.inf:
            object.__setattr__(self, "growth_rate", None)
        super().__post_init__()

    @property
    def decay_scale(self) -> float:
        """d."""
        return self.d

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """d times Adam's, of averages that are or are not corrected; d as it is."""
        require_step(step)
        eps = self.eps
        if self.bias_correction and step is not None:
            eps /= math.sqrt(1 - self.beta2**step)
        update = expected_update(
            self.beta1,
            self.beta2,
            gradient.snr,
            step,
            gradient.over(eps),
            gradient.noise,
            bias_correction=self.bias_correction,
        )
        return self.d * update.rms

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """d'·c·m/(√v + d·eps), where the state tells d', the d before the last step."""
        m, v = state["exp_avg"], state["exp_avg_sq"]
        mean = m / self.d / (1 - self.beta1**step)
        square = v / self.d**2 / (1 - self.beta2**step)
        before = self._d_before
        if before is None:
            why = "Prodigy's d may have grown at the last step, and its state does not tell by what"
            return LastUpdate(None, mean, square, why)
        correction = self._correction(step if self.steps_done is None else int(self.steps_done))
        return LastUpdate(before * correction * m / (np.sqrt(v) + self.d * self.eps), mean, square)

    @property
    def _d_before(self) -> float | None:
        """The d that multiplied the lr of the last step; None where the state does not tell it.

        At that step d0 gives way to a larger d_hat, then d is growth_rate times as large, and d_max
        where that is less. A state without d_hat is taken for one whose d did not grow.
        """
        d, d0, d_max, d_hat, rate = self.d, self.d0, self.d_max, self.d_hat, self.growth_rate
        if d0 is None or d_max is None or (rate is not None and rate < 1):
            return None
        if d < d_max and d_hat is not None and rate is not None:
            before = d / rate
            return None if math.isclose(before, d_hat, rel_tol=_ROUNDING) else before
        can_grow = d != d0 and rate is not None
        grew = d_hat is not None and d_hat >= d
        return None if d != d_max or can_grow or grew else d

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr at this d, eps and weight_decay over k; its estimate makes d k times larger by
        itself, at the same lr."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -1})

    def _correction(self, step: int) -> float:
        return bias_correction(self.beta1, self.beta2, step) if self.bias_correction else 1.0

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        scaled = self.d * gradient
        m = moving_average(state, "exp_avg", self.beta1, scaled)
        v = moving_average(state, "exp_avg_sq", self.beta2, scaled * scaled)
        update = (m / (v.sqrt() + self.d * self.eps)).masked_fill(m == 0, 0.0)  # 0/0 for eps 0
        weights.mul_(1 - lr * self.d * self.weight_decay)
        weights.sub_(update, alpha=lr * self.d * self._correction(state["step"]))
