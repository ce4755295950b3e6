"""Numbers of float64's precision whose exponent has no limit: sums of squares of float64 do not
overflow."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ScaledFloat:
    """mantissa·2^exponent; the mantissa need not be normalised."""

    mantissa: float = 0.0
    exponent: int = 0

    def __add__(self, other: "ScaledFloat") -> "ScaledFloat":
        if not self.mantissa or not other.mantissa:
            return self if self.mantissa else other
        exponent = max(self.exponent, other.exponent)
        return ScaledFloat(self._at(exponent) + other._at(exponent), exponent)

    def __mul__(self, other: "ScaledFloat") -> "ScaledFloat":
        (mine, own), (yours, its) = math.frexp(self.mantissa), math.frexp(other.mantissa)
        return ScaledFloat(mine * yours, own + its + self.exponent + other.exponent)

    def root_over(self, other: "ScaledFloat") -> float | None:
        """√(self/other); None over 0, and where a float64 does not hold it."""
        if not other.mantissa:
            return None
        (mine, own), (yours, its) = math.frexp(self.mantissa), math.frexp(other.mantissa)
        exponent = own - its + self.exponent - other.exponent
        root = in_range(math.sqrt(mine / yours * (1 + exponent % 2)), exponent // 2)
        return root if math.isfinite(root) else None

    def _at(self, exponent: int) -> float:
        return math.ldexp(self.mantissa, self.exponent - exponent)


def in_range(mantissa: float, exponent: int) -> float:
    """mantissa·2^exponent, not negative; inf where a float64 does not hold it."""
    try:
        return math.ldexp(mantissa, exponent)
    except OverflowError:
        return math.inf
