"""Where published recipes lie: the range of each quantity by phase and family of optimizers. A
table in Python, as reading the recipes takes longer than a check; tests/test_recipes.py derives
each of its percentiles and counts from them."""

import math
from dataclasses import dataclass
from typing import Literal

from scalecheck.recipes.recipe import PHASES, Phase

Place = Literal["inside", "above", "below"]
NOTED = 2.0  # times outside of a range that is only noted


@dataclass(frozen=True)
class Range:
    """One quantity of published recipes.

    quantity: a field of Quantities. phases: of the recipes. family: of their optimizers, empty for
    all. low, high: what is usual. p5, p50, p95: percentiles, each recipe counted once. recipes,
    sources: how many there are, and how many repositories and papers they come from. error: what no
    published recipe comes near; None where that is not known. is_adapter: of recipes that train
    LoRA's halves. domain: of the recipes, empty for all. is_read: of those only whose start and
    width are in their source.
    """

    quantity: str
    phases: tuple[Phase, ...]
    family: str
    low: float
    high: float
    p5: float
    p50: float
    p95: float
    recipes: int
    sources: int
    error: float | None = None
    is_adapter: bool = False
    domain: str = ""
    is_read: bool = False

    def place(self, value: float) -> Place:
        """Where a value lies."""
        return "above" if value > self.high else "below" if value < self.low else "inside"

    def times_outside(self, value: float) -> float:
        """How many times beyond the nearer end a value lies; 1 for one inside."""
        if value <= 0:
            return math.inf
        return max(value / self.high, self.low / value, 1.0)


_PRETRAIN: tuple[Phase, ...] = ("pretrain",)
_FINETUNE: tuple[Phase, ...] = ("finetune",)
_PREFERENCE_AND_RL: tuple[Phase, ...] = ("preference", "rl")
_TUNING: tuple[Phase, ...] = ("finetune", "preference", "rl")
_HALF = Range(
    "adapter_half", _TUNING, "", 1e-5, 0.03, 0.000119, 0.00359, 0.0144, 31, 12, None, True
)

RANGES = (
    Range("start", _PRETRAIN, "adam", 1e-3, 0.05, 0.00124, 0.00569, 0.0357, 82, 27, 0.1),
    Range("residual_start", _PRETRAIN, "adam", 1e-3, 0.12, 0.0043, 0.0289, 0.0822, 37, 10, 0.2),
    Range("warm", _PRETRAIN, "adam", 1e-3, 0.02, 0.00122, 0.00375, 0.0116, 76, 26, 0.1),
    Range("mid", _PRETRAIN, "adam", 2e-4, 8e-3, 0.000307, 0.00122, 0.00339, 76, 26),
    Range("equilibrium", _PRETRAIN, "adam", 3e-4, 5e-3, 0.000457, 0.00175, 0.00459, 73, 24),
    Range("end", _PRETRAIN, "adam", 1e-7, 2e-3, 1.36e-6, 0.000144, 0.000665, 76, 26),
    Range("first_step", _PRETRAIN, "adam", 0.0, 5e-4, 9.15e-7, 7.81e-6, 0.000291, 79, 26),
    Range("gain", _PRETRAIN, "adam", 0.15, 1.5, 0.203, 0.632, 1.41, 50, 12, is_read=True),
    Range(
        "width_lr", _PRETRAIN, "adam", 7.4e-3, 0.042, 0.0074, 0.0148, 0.0418, 50, 16, domain="lm"
    ),
    Range("start", _PRETRAIN, "muon", 5e-3, 0.1, 0.0153, 0.0433, 0.0802, 9, 3),
    Range("start", _PRETRAIN, "relative", 1e-3, 0.03, 0.00323, 0.0116, 0.0225, 8, 5),
    Range("equilibrium", _PRETRAIN, "sgd", 5e-4, 0.05, 0.000756, 0.00276, 0.0328, 6, 5),
    Range("start", _FINETUNE, "adam", 5e-6, 0.016, 2.28e-5, 0.000126, 0.0097, 50, 17, 0.02),
    Range("start", ("preference",), "adam", 5e-7, 3e-4, 1.67e-6, 5.73e-6, 0.000135, 12, 3, 0.02),
    Range("start", ("rl",), "adam", 5e-7, 3e-4, 2.64e-6, 1.15e-5, 0.000155, 14, 5, 0.02),
    Range("start", _FINETUNE, "", 3e-6, 1e-3, 1.46e-5, 6.88e-5, 0.000572, 23, 11, 0.02, True),
    Range("first", _FINETUNE, "", 1e-5, 4e-3, 6.39e-5, 0.0003, 0.00182, 23, 11, None, True),
    Range(
        "start", _PREFERENCE_AND_RL, "", 2e-7, 3e-4, 8.58e-7, 5.85e-6, 0.000198, 8, 5, 0.02, True
    ),
    Range("lr_equivalent", _FINETUNE, "", 3e-7, 9e-5, 1.28e-6, 6e-6, 3.64e-5, 23, 11, 2e-3, True),
    Range(
        *("lr_equivalent", _PREFERENCE_AND_RL, "", 1.5e-8, 3e-5, 7.49e-8, 5.1e-7, 1.73e-5, 8, 5),
        2e-3,
        True,
    ),
    _HALF,
)
EXTREMES = (
    Range("start", PHASES, "adam", 1e-6, 0.05, 5.73e-6, 0.00136, 0.0277, 159, 38, 0.1),
    Range("residual_start", PHASES, "adam", 1e-6, 0.12, 0.0043, 0.0289, 0.0822, 37, 10, 0.2),
    Range("start", PHASES, "muon", 1e-6, 0.1, 0.0071, 0.0433, 0.0787, 11, 3, 0.2),
    Range("start", PHASES, "relative", 1e-6, 0.03, 0.00327, 0.01, 0.0222, 9, 6, 0.1),
    Range("start", _TUNING, "", 2e-7, 1e-3, 3.02e-6, 4.14e-5, 0.000504, 31, 12, 0.02, True),
    Range("lr_equivalent", _TUNING, "", 1.5e-8, 9e-5, 3.45e-7, 5.1e-6, 3.6e-5, 31, 12, 2e-3, True),
    _HALF,
)
"""The same over all phases, for a checkpoint of which the phase is not known."""
ANY = Range("start", PHASES, "", 0.0, 0.12, 5.73e-6, 0.00272, 0.0426, 183, 44, 0.2)
"""Of all recipes, for optimizers of which too few were found: no step is too small."""


def published(
    quantity: str, phase: Phase | None, family: str | None, is_adapter: bool = False
) -> Range | None:
    """The range of a quantity, over all phases where the phase is not known; None where too few
    recipes were found to have one."""
    for each in EXTREMES if phase is None else RANGES:
        is_same = each.quantity == quantity and each.is_adapter == is_adapter
        is_phase = phase is None or phase in each.phases
        if is_same and is_phase and each.family in ("", family):
            return each
    return None
