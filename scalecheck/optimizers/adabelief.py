"""AdaBelief: Adam that divides by how far gradients lie from their average, not by their size."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

import numpy as np

from scalecheck.optimizers._per_tensor import PerTensor, decayed, moving_average
from scalecheck.optimizers.contract import (
    BETAS,
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
)
from scalecheck.theory.domain import require_step

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

ENTRIES = {"exp_avg": Entry.FIRST_MOMENT, "exp_avg_var": Entry.VARIANCE}
MAXIMUM = {"max_exp_avg_var": Entry.SECOND_MOMENT_MAXIMUM}
RECTIFIED = 5  # steps that v averages over, from which on the update is divided by it

ADABELIEF_PYTORCH = Writer(
    settings=("betas", "eps", "weight_decay", "amsgrad", "buffer"),
    entries=("step", *ENTRIES),
    optional_entries=tuple(MAXIMUM),
)
"""Its authors', who write neither rectify, which the buffer shows, nor where weight decay is."""

PYTORCH_OPTIMIZER = Writer(
    settings=(
        *("betas", "eps", "weight_decay", "weight_decouple", "fixed_decay", "step"),
        *("rectify", "ams_bound"),
    ),
    entries=tuple(ENTRIES),
    optional_settings=("adanorm", "adanorm_r", "adam_debias"),
    optional_entries=(*MAXIMUM, "exp_grad_adanorm"),
    values={"fixed_decay": False, "adam_debias": False, "eps": 1e-16},
    names={"amsgrad": "ams_bound", "decoupled_weight_decay": "weight_decouple"},
)
"""At its own eps, which counts in none: its Aida writes the same names and differs in eps alone."""


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """w ← (1 − lr·weight_decay)·w − lr·m̂/(√v̂ + eps), v the average of (g−m)² and of eps.

    With amsgrad v̂ is from the largest v so far. With rectify the update is RAdam's: √v is not
    corrected but the step is, and m̂ alone is taken before v averages over 5 steps; buffer are the
    last ten of their authors' step sizes. Without decoupled_weight_decay g includes weight_decay·w.
    Source: Zhuang et al. 2020.
    """

    state: ClassVar[SavedState] = SavedState(
        entries={"step": Entry.STEP, **ENTRIES},
        optional_entries=MAXIMUM,
        pairs=BETAS,
        writers=(ADABELIEF_PYTORCH, PYTORCH_OPTIMIZER),
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-16
    weight_decay: NotNegative = 0.0
    amsgrad: bool = False
    rectify: bool = False
    decoupled_weight_decay: bool = True
    buffer: tuple[float | None, ...] = ()

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> NoReturn:
        """Not solved."""
        require_step(step)
        raise NoFormula("the expected update of AdaBelief is not solved: a saved state tells it")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """m̂/(√v̂ + eps), or RAdam's with rectify. v is no average of g²."""
        mean = state["exp_avg"] / (1 - self.beta1**step)
        has_buffer = any(number is not None for number in self.buffer)
        if not (self.rectify or has_buffer):
            root = np.sqrt(state["max_exp_avg_var" if self.amsgrad else "exp_avg_var"])
            return LastUpdate(mean / (root / math.sqrt(1 - self.beta2**step) + self.eps), mean)
        factor = self._rectification(step)
        if factor is None:
            return self._before_rectification(mean, step)
        kept = "max_exp_avg_var" if self.amsgrad and not has_buffer else "exp_avg_var"
        return LastUpdate(factor * mean / (np.sqrt(state[kept]) + self.eps), mean)

    def _before_rectification(self, mean: FloatArray, step: int) -> LastUpdate:
        """m̂ or nothing: the buffer of the step tells which."""
        place = 3 * (step % 10)
        if self.buffer[place : place + 1] != (step,):
            return LastUpdate(
                None, mean, reason="how it moves before v can be rectified is not in its state"
            )
        return LastUpdate(mean if (self.buffer[place + 2] or 0) > 0 else 0 * mean, mean)

    def _rectification(self, step: int) -> float | None:
        """RAdam's factor and √(1−beta2^step); None before v averages over enough steps."""
        forgotten = self.beta2**step
        longest = 2 / (1 - self.beta2) - 1
        length = longest - 2 * step * forgotten / (1 - forgotten)
        if length < RECTIFIED:
            return None
        grown = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        return math.sqrt((1 - forgotten) * grown)

    def reparameterization(self) -> NoReturn:
        """NoFormula: eps is beside a square and beside its root."""
        raise NoFormula("no exponent fits eps, which is added to v and to √v")

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        beside = lr if self.decoupled_weight_decay else None
        gradient = decayed(weights, gradient, self.weight_decay, beside)
        step = state["step"]
        m = moving_average(state, "exp_avg", self.beta1, gradient)
        v = moving_average(state, "exp_avg_var", self.beta2, (gradient - m).square())
        v.add_(self.eps)
        if self.amsgrad:
            largest = state.setdefault("max_exp_avg_var", v.clone())
            v = largest.copy_(largest.maximum(v))
        update = m / (1 - self.beta1**step)
        if not self.rectify:
            update = update / ((v / (1 - self.beta2**step)).sqrt() + self.eps)
        elif (factor := self._rectification(step)) is not None:
            update = factor * update / (v.sqrt() + self.eps)
        weights.sub_(update.masked_fill(m == 0, 0.0), alpha=lr)  # 0/0 where eps is 0
