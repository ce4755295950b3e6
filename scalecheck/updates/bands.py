"""How large a relative update of a matrix is by rule of thumb: advice, and no theorem."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from scalecheck.errors import OptionError
from scalecheck.report.formatting import setting

LIMITS = (1e-5, 1e-4, 3e-3, 1e-2)
NAMES = ("frozen", "low", "typical", "high", "very high")


@dataclass(frozen=True)
class Bands:
    """Rising limits between NAMES. Raises UsageError for others."""

    limits: Sequence[float] = LIMITS

    def __post_init__(self) -> None:
        steps = pairwise((0.0, *self.limits, math.inf))
        is_rising = all(lower < upper for lower, upper in steps)
        if len(self.limits) != len(LIMITS) or not is_rising:
            words = ",".join(setting(limit) for limit in self.limits)
            raise OptionError(
                "bands", "must be four rising numbers, such as 1e-5,1e-4,3e-3,1e-2", words
            )

    def of(self, relative_update: float) -> str:
        """The band's name."""
        return NAMES[sum(relative_update >= limit for limit in self.limits)]

    @property
    def typical(self) -> tuple[float, float]:
        return self.limits[1], self.limits[2]

    def __str__(self) -> str:
        steps = (
            f"{setting(limit)} {name}" for limit, name in zip(self.limits, NAMES[1:], strict=True)
        )
        return f"{NAMES[0]}, from {', from '.join(steps)}"
