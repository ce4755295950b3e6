"""D-Adaptation's Adam: AdamW whose lr is multiplied by an estimate of the way that is left."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scalecheck.optimizers._d_adaptation import DAdapted
from scalecheck.optimizers._per_tensor import bias_correction, decayed, moving_average
from scalecheck.optimizers.contract import (
    ADAM_ENTRIES,
    BETAS,
    UNIT,
    Beta,
    FloatArray,
    Gradient,
    LastUpdate,
    NoFormula,
    NotNegative,
    SavedState,
    Weights,
    Writer,
)
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.update_rms import expected_update

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

DADAPTATION = Writer(
    settings=(
        *("betas", "eps", "weight_decay", "d", "k", "numerator_weighted", "log_every"),
        *("growth_rate", "use_bias_correction", "decouple"),
    ),
    entries=(*ADAM_ENTRIES, "s"),
    optional_settings=("layer_scale", "fsdp_in_use"),
    names={"bias_correction": "use_bias_correction", "decoupled_weight_decay": "decouple"},
)
PYTORCH_OPTIMIZER = Writer(
    settings=(
        *("betas", "eps", "weight_decay", "weight_decouple", "fixed_decay", "step"),
        *("d", "growth_rate", "bias_correction", "numerator_weighted"),
    ),
    entries=("exp_avg", "exp_avg_sq", "s"),
    values={"fixed_decay": False},
    names={"decoupled_weight_decay": "weight_decouple"},
)


@dataclass(frozen=True)
class Optimizer(DAdapted):
    """w ← (1 − lr·d·weight_decay)·w − m/(√v + eps), m the average of lr·d·c·g, v that of g².

    c = √(1−beta2^t)/(1−beta1^t) with bias_correction, else 1. d is the estimate, which grows from
    1e-6 on; a replay keeps it. Without decoupled_weight_decay g includes weight_decay·w. lr is 1 as
    a rule. Source: Defazio & Mishchenko 2023, algorithm 5.
    """

    state: ClassVar[SavedState] = SavedState(
        entries=ADAM_ENTRIES,
        pairs=BETAS,
        second_moment_factor="beta2",
        is_distinct=False,
        writers=(DADAPTATION, PYTORCH_OPTIMIZER),
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0
    bias_correction: bool = False
    decoupled_weight_decay: bool = False

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """d times Adam's without bias correction; of bias_correction in the limit alone, as each
        gradient has the correction of its own step."""
        require_step(step)
        if self.bias_correction and step is not None:
            raise NoFormula("solved without bias correction only, or for the limit of many steps")
        update = expected_update(
            self.beta1,
            self.beta2,
            gradient.snr,
            step,
            gradient.over(self.eps),
            gradient.noise,
            bias_correction=False,
        )
        return self.d * update.rms

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """m/(√v + eps): lr and d are in m."""
        m, v = state["exp_avg"], state["exp_avg_sq"]
        return LastUpdate(m / (np.sqrt(v) + self.eps), square=v / (1 - self.beta2**step))

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr at this d, eps' = eps/k, weight_decay' = weight_decay/k if decoupled, else
        /k²; its estimate makes d k times larger by itself, at the same lr."""
        decay = -1 if self.decoupled_weight_decay else -2
        return Reparameterization(1, {"eps": -1, "weight_decay": decay})

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        step_size = lr * self.d
        if self.bias_correction:
            step_size *= bias_correction(self.beta1, self.beta2, state["step"])
        beside = step_size if self.decoupled_weight_decay else None
        gradient = decayed(weights, gradient, self.weight_decay, beside)
        m = moving_average(state, "exp_avg", self.beta1, step_size * gradient)
        v = moving_average(state, "exp_avg_sq", self.beta2, gradient * gradient)
        weights.sub_((m / (v.sqrt() + self.eps)).masked_fill(m == 0, 0.0))  # 0/0 where eps is 0
