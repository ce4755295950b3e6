"""Hugging Face's Adafactor: Adafactor with its own lr, or one given, and momentum if wanted."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from scalecheck.optimizers._factored import factored_root, rms, vector_update_rms
from scalecheck.optimizers._per_tensor import PerTensor, moving_average
from scalecheck.optimizers.contract import (
    UNIT,
    Entry,
    Finite,
    FloatArray,
    Gradient,
    LastUpdate,
    NoFormula,
    NotNegative,
    Positive,
    SavedState,
    Totals,
    Weights,
    Writer,
)
from scalecheck.theory.domain import require_beta, require_step
from scalecheck.theory.reparameterization import Reparameterization

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

LARGEST_OWN_LR = 1e-2
WARMUP = 1e-6  # by which its own lr grows a step with warmup_init

WITH_BETAS = Writer(
    settings=(
        *("clip_threshold", "decay_rate", "beta1", "weight_decay"),
        *("scale_parameter", "relative_step", "warmup_init"),
    ),
    entries=("step", "RMS"),
    optional_settings=("eps", "betas"),
    optional_entries=("exp_avg_sq_row", "exp_avg_sq_col", "exp_avg_sq", "exp_avg"),
)
"""transformers', in a group that has the betas of another optimizer beside."""


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """w ← (1 − η·weight_decay)·w − η·u/max(1, rms(u)/clip_threshold), u = g/√v̂.

    η = lr, or with relative_step min(1e-2, 1/√t), with warmup_init min(1e-6·t, 1/√t); times
    max(eps2, rms(w)) with scale_parameter. v averages g² + eps1 with beta2_t = 1 − t^decay_rate; of
    a matrix the means over its rows and columns are kept, v̂ = row·col/mean(row). beta1: the clipped
    updates, η included, are averaged with it. Source: transformers, after Shazeer & Stern 2018.
    """

    spellings: ClassVar[Collection[str]] = (
        "transformers.Adafactor",
        "transformers.optimization.Adafactor",
    )
    state: ClassVar[SavedState] = SavedState(
        entries={"step": Entry.STEP, "RMS": Entry.WEIGHTS_RMS},
        optional_entries={
            "exp_avg_sq_row": Entry.SECOND_MOMENT_ROWS,
            "exp_avg_sq_col": Entry.SECOND_MOMENT_COLUMNS,
            "exp_avg_sq": Entry.SECOND_MOMENT,
            "exp_avg": Entry.MOMENTUM,
        },
        pairs={"eps": ("eps1", "eps2")},
        keeps_dimensions=False,
        writers=(WITH_BETAS,),
    )

    eps1: NotNegative = 1e-30
    eps2: NotNegative = 1e-3
    clip_threshold: Positive = 1.0
    decay_rate: Finite = -0.8
    beta1: Annotated[float | None, require_beta] = None
    weight_decay: NotNegative = 0.0
    scale_parameter: bool = True
    relative_step: bool = False
    warmup_init: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay_rate > 0:
            raise ValueError(f"decay_rate {self.decay_rate} is above 0")

    @property
    def relative_lr(self) -> bool:  # type: ignore[override] # it depends on a setting
        """scale_parameter."""
        return self.scale_parameter

    @property
    def needs_lr(self) -> bool:  # type: ignore[override] # it depends on a setting
        """Not with relative_step."""
        return not self.relative_step

    @property
    def update_needs_weights(self) -> bool:  # type: ignore[override] # it depends on a setting
        """With scale_parameter."""
        return self.scale_parameter

    def effective_lr(self, lr: float, step: int | None = None) -> float:
        """lr; with relative_step its own, the largest where the step is not known."""
        require_step(step)
        if not self.relative_step:
            return lr
        if step is None:
            return LARGEST_OWN_LR
        return min(WARMUP * step if self.warmup_init else LARGEST_OWN_LR, 1 / math.sqrt(step))

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """min(rms(u), clip_threshold), times max(eps2/rms(w), 1) with scale_parameter; of an η that
        keeps its size, where beta1 averages it.

        rms(u) is 1 for a matrix of many elements, and for a vector below it by 5% at most. eps1
        counts only below rms(g) = √eps1. Raises NoFormula for weights that are all zero where they
        scale it.
        """
        require_step(step)
        size = 1.0
        if len(weights.shape) < 2:
            size = vector_update_rms(self.decay_rate, gradient, step)
        if self.eps1:
            size *= 1 / math.hypot(1, math.sqrt(self.eps1) / gradient.known_rms)
        size = min(size, self.clip_threshold) * self._averaged(gradient, step)
        if not self.scale_parameter:
            return size
        weights.require_nonzero()
        return size * max(self.eps2 / weights.rms, 1.0)

    def formula_error(self, step: int | None = None) -> float:
        """Row and column means of a finite matrix; a vector's updates that beta1 averages."""
        return 0.01 if self.beta1 is None else 0.05

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """The average of updates where there is one; the squares of a vector's gradients, and of a
        matrix's their means over its rows."""
        square = state["exp_avg_sq"] if "exp_avg_sq" in state else state["exp_avg_sq_row"]
        if self.beta1 is not None:
            return LastUpdate(state["exp_avg"], square=square)
        why = "Adafactor's last update is of a gradient that its state does not hold"
        return LastUpdate(square=square, reason=why)

    def last_update_rms(
        self, totals: Totals, numbers: Mapping[str, object], lr: float, step: int
    ) -> float:
        """The average's, over η."""
        moved = math.sqrt(totals.update_square / totals.numel) / self.effective_lr(lr, step)
        if not self.scale_parameter:
            return moved
        if not totals.weights_square:
            raise NoFormula("the weights that its update is relative to are not known, or all zero")
        return moved / math.sqrt(totals.weights_square / totals.numel)

    def reparameterization(self) -> Reparameterization:
        """eps1' = eps1·k⁻², weight_decay' = weight_decay/k; with scale_parameter lr' = lr and
        eps2' = k·eps2, else lr' = k·lr. Raises NoFormula for the lr of relative_step alone."""
        if self.scale_parameter:
            return Reparameterization(0, {"eps1": -2, "eps2": 1, "weight_decay": -1})
        if self.relative_step:
            raise NoFormula("relative_step sets its lr, which no setting can follow")
        return Reparameterization(1, {"eps1": -2, "weight_decay": -1})

    def _averaged(self, gradient: Gradient, step: int | None) -> float:
        """The RMS of an average of updates over theirs, for independent noise around a mean."""
        if self.beta1 is None:
            return 1.0
        gradient.require_independent()
        left = 0.0 if step is None else self.beta1**step
        drift = gradient.snr * (1 - left)
        noise = (1 - self.beta1) / (1 + self.beta1) * (1 - left**2)
        return math.sqrt(drift**2 + noise) / math.hypot(1, gradient.snr)

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        step = state["step"]
        state["RMS"] = rms(weights)
        eta = self.effective_lr(lr, step)
        eta *= max(self.eps2, state["RMS"]) if self.scale_parameter else 1.0
        update = gradient / self._root(gradient * gradient + self.eps1, state)
        update = update.masked_fill(gradient == 0, 0.0)  # 0/0 where eps1 is 0
        update *= eta / max(1.0, rms(update) / self.clip_threshold)
        if self.beta1 is not None:
            average = state.setdefault("exp_avg", weights.new_zeros(weights.shape))
            update = average.mul_(self.beta1).add_(update, alpha=1 - self.beta1)
        weights.mul_(1 - eta * self.weight_decay)
        weights.sub_(update)

    def _root(self, square: "torch.Tensor", state: "State") -> "torch.Tensor":
        """√v̂, with its state moved on."""
        beta2 = 1 - state["step"] ** self.decay_rate
        if square.ndim < 2:
            return moving_average(state, "exp_avg_sq", beta2, square).sqrt()
        return factored_root(state, ("exp_avg_sq_row", "exp_avg_sq_col"), beta2, square)
