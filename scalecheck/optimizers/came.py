"""CAME: Adafactor with momentum that is divided by how far updates stray from it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scalecheck.optimizers._factored import factored_root, rms
from scalecheck.optimizers._per_tensor import PerTensor, moving_average
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
    Positive,
    SavedState,
    Weights,
    Writer,
)
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

FACTORED = {
    "exp_avg_sq_row": Entry.SECOND_MOMENT_ROWS,
    "exp_avg_sq_col": Entry.SECOND_MOMENT_COLUMNS,
    "exp_avg_res_row": Entry.INSTABILITY_ROWS,
    "exp_avg_res_col": Entry.INSTABILITY_COLUMNS,
}
PYTORCH_OPTIMIZER = Writer(
    settings=(
        *("betas", "weight_decay", "weight_decouple", "fixed_decay", "ams_bound", "step"),
        *("eps1", "eps2"),
    ),
    entries=("exp_avg", "RMS"),
    optional_entries=("exp_avg_sq", *FACTORED),
    values={"weight_decouple": True, "fixed_decay": False, "ams_bound": False},
)


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """w ← (1 − lr·weight_decay)·w − lr·m/√s, m an average of u/max(1, rms(u)/clip_threshold).

    u = g/√v, v averages g² + eps1 and s (u − m)² + eps2, of a matrix as row·col/mean(row) of their
    means over rows and columns; the update of a vector is m. No average is corrected for its zero
    start. Source: Luo et al. 2023, algorithm 2.
    """

    state: ClassVar[SavedState] = SavedState(
        entries={"step": Entry.STEP, "exp_avg": Entry.FIRST_MOMENT, "RMS": Entry.WEIGHTS_RMS},
        optional_entries={**FACTORED, "exp_avg_sq": Entry.SECOND_MOMENT},
        pairs={**THREE_BETAS, "eps": ("eps1", "eps2")},
        second_moment_factor="beta2",
        keeps_dimensions=False,
        writers=(PYTORCH_OPTIMIZER,),
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    beta3: Beta = 0.9999
    eps1: NotNegative = 1e-30
    eps2: NotNegative = 1e-16
    clip_threshold: Positive = 1.0
    weight_decay: NotNegative = 0.0

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """√(E[m²]/E[s]) of a matrix, √E[m²] of a vector, for updates u of RMS 1 whose noise is
        independent: 11 at step 1, 0.25 in the limit of noise. Raises NoFormula for eps1 and eps2
        that count and a clip_threshold above 1, with which early updates are larger."""
        require_step(step)
        gradient.require_independent()
        if self.eps1 and math.sqrt(self.eps1) > 1e-6 * gradient.known_rms:
            raise NoFormula(f"eps1 {self.eps1}: solved where gradients are much larger")
        if self.clip_threshold > 1 or self.eps2 > 1e-12:
            raise NoFormula("solved for a clip_threshold of 1 at most and a small eps2")
        drift = gradient.snr**2 / (1 + gradient.snr**2)
        left = 0.0 if step is None else self.beta1**step
        averaging = (1 - self.beta1) / (1 + self.beta1)
        average = drift * (1 - left) ** 2 + (1 - drift) * averaging * (1 - left**2)
        if len(weights.shape) < 2:
            return self.clip_threshold * math.sqrt(average)
        instability = self._instability(drift, averaging, step)
        if instability <= 0:
            raise NoFormula("updates that never stray from their average leave eps2 alone")
        return math.sqrt(average / instability)

    def formula_error(self, step: int | None = None) -> float:
        """Row and column means of a finite matrix."""
        return 0.02

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """The average over the instability of its row and column."""
        average = state["exp_avg"]
        if "exp_avg_sq" in state:
            return LastUpdate(average, square=state["exp_avg_sq"] / (1 - self.beta2**step))
        update = average / np.sqrt(state["exp_avg_res_row"] * state["exp_avg_res_col"])
        square = state["exp_avg_sq_row"] * state["exp_avg_sq_col"] / (1 - self.beta2**step)
        return LastUpdate(update, square=square)

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps1' = eps1/k², weight_decay' = weight_decay/k; eps2 is of updates."""
        return Reparameterization(1, {"eps1": -2, "weight_decay": -1})

    def _instability(self, drift: float, averaging: float, step: int | None) -> float:
        """E[s]: of u − m, whose noise is beta1² times 1 + the share that m keeps, and whose mean is
        what m still lacks."""
        b1, b3, noise = self.beta1, self.beta3, 1 - drift
        if step is None:
            return noise * b1**2 * (1 + averaging)
        whole = 1 - b3**step
        vanishing = _geometric(b1**2, b3, step) * (1 - b3)  # of beta1^(2j) over the steps j
        return noise * (b1**2 * (1 + averaging) * whole - averaging * vanishing) + drift * vanishing

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        state["RMS"] = rms(weights)
        square = gradient * gradient + self.eps1
        if gradient.ndim < 2:
            root = moving_average(state, "exp_avg_sq", self.beta2, square).sqrt()
        else:
            root = factored_root(state, ("exp_avg_sq_row", "exp_avg_sq_col"), self.beta2, square)
        update = (gradient / root).masked_fill(gradient == 0, 0.0)  # 0/0 where eps1 is 0
        update = update / max(1.0, rms(update) / self.clip_threshold)
        average = moving_average(state, "exp_avg", self.beta1, update)
        if gradient.ndim >= 2:
            strayed = (update - average).square() + self.eps2
            names = ("exp_avg_res_row", "exp_avg_res_col")
            root = factored_root(state, names, self.beta3, strayed)
            update = (average / root).masked_fill(average == 0, 0.0)
        else:
            update = average
        weights.mul_(1 - lr * self.weight_decay)
        weights.sub_(update, alpha=lr)


def _geometric(ratio: float, beta: float, step: int) -> float:
    """Σ beta^(step−j)·ratio^j over j from 1 to step."""
    if ratio == beta:
        return step * ratio**step
    return ratio * (beta**step - ratio**step) / (beta - ratio)
