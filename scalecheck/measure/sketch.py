"""A mergeable summary of numbers: counts by value, exact where the storage type has at most 65,536
values, and by leading bits where it has more. Every statistic is read off it."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Moments:
    """Count, mean and Σ(x − mean)² of x·2^−exponent; the exponent keeps squares in range."""

    count: int = 0
    exponent: int = 0
    mean: float = 0.0
    m2: float = 0.0

    def __add__(self, other: Self) -> Self:
        """The moments of both sets of numbers (Chan, Golub & LeVeque 1979)."""
        if not self.count or not other.count:
            return self if self.count else other
        if self.exponent != other.exponent:
            exponent = max(self.exponent, other.exponent)
            return self._at(exponent) + other._at(exponent)
        count = self.count + other.count
        delta = other.mean - self.mean
        return type(self)(
            count,
            self.exponent,
            self.mean + delta * (other.count / count),
            self.m2 + other.m2 + delta * delta * (self.count * (other.count / count)),
        )

    def _at(self, exponent: int) -> Self:
        shift = self.exponent - exponent
        return type(self)(
            self.count, exponent, math.ldexp(self.mean, shift), math.ldexp(self.m2, 2 * shift)
        )


Tally = tuple[NDArray[np.float64], NDArray[np.int64]]
"""Distinct values in rising order, and how often each occurs; both of shape (n,)."""


def _nothing() -> Tally:
    return np.empty(0), np.empty(0, np.int64)


@dataclass(frozen=True)
class Sketch:
    """Numbers summed up so that `a + b` is the sketch of both, and `Sketch()` is of none.

    `tallied` gives the finite values and is called when they are first asked for. Where `exact` is
    false a value is the middle of a bin of at most 2⁻⁷ of its width, and `wide`, `low`, `high` and
    `zeros` hold what the bins cannot say. Merging gives the same counts bit for bit in any order;
    so does every statistic of an exact sketch.
    """

    tallied: Callable[[], Tally] = _nothing
    nan: int = 0
    inf: int = 0
    exact: bool = True
    wide: Moments = Moments()
    low: float = math.inf
    high: float = -math.inf
    zeros: int = 0

    def __add__(self, other: Self) -> Self:
        return self.merge((self, other))

    @classmethod
    def merge(cls, sketches: Iterable[Self]) -> Self:
        """The sketch of all the numbers together."""
        parts = list(sketches)
        if len(parts) == 1:
            return parts[0]
        exact = all(part.exact for part in parts)
        merged = tally(
            np.concatenate([np.empty(0), *(part.values for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.counts for part in parts)]),
        )
        return cls(
            lambda: merged,
            sum(part.nan for part in parts),
            sum(part.inf for part in parts),
            exact,
            Moments() if exact else sum((part.moments for part in parts), Moments()),
            min((part.low for part in parts), default=math.inf),
            max((part.high for part in parts), default=-math.inf),
            sum(part.zeros for part in parts),
        )

    @cached_property
    def _tally(self) -> Tally:
        return self.tallied()

    @property
    def values(self) -> NDArray[np.float64]:
        """The distinct finite values in rising order, shape (n,)."""
        return self._tally[0]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often each value occurs, shape (n,)."""
        return self._tally[1]

    @cached_property
    def moments(self) -> Moments:
        if not self.exact or not len(self.values):
            return self.wide
        count = int(self.counts.sum())
        # Products and pairwise sums, not np.dot: BLAS rounds by the processor it runs on.
        mean = float((self.values * self.counts).sum()) / count
        deviation = self.values - mean
        return Moments(count, 0, mean, float((deviation * deviation * self.counts).sum()))

    @property
    def numel(self) -> int:
        return self.finite + self.nan + self.inf

    @property
    def finite(self) -> int:
        return self.moments.count

    @property
    def mean(self) -> float | None:
        return self._unscaled(self.moments.mean) if self.finite else None

    @property
    def std(self) -> float | None:
        """Population standard deviation √(Σ(x − mean)²/n) of the finite values."""
        m = self.moments
        return self._unscaled(math.sqrt(m.m2 / m.count)) if m.count else None

    @property
    def rms(self) -> float | None:
        """√(Σx²/n) of the finite values."""
        m = self.moments
        if not m.count:
            return None
        return self._unscaled(math.hypot(m.mean, math.sqrt(m.m2 / m.count)))

    def _unscaled(self, size: float) -> float:
        """A mean times 2^exponent; rounding does not take it past absmax, nor out of range."""
        exponent = self.moments.exponent
        top = math.ldexp(max(abs(self.low), abs(self.high)), -exponent)
        return math.ldexp(max(-top, min(size, top)), exponent) + 0.0  # no −0

    @property
    def min(self) -> float | None:
        return self.low if self.finite else None

    @property
    def max(self) -> float | None:
        return self.high if self.finite else None

    @property
    def absmax(self) -> float | None:
        return max(abs(self.low), abs(self.high)) if self.finite else None

    def quantile(self, q: float) -> float | None:
        """The smallest value that at least a share q of the finite values does not exceed.

        Where the sketch is not exact it is within 2⁻⁸ of the value, and where that is subnormal
        within 2⁻¹³³ in float32 and 2⁻¹⁰³⁰ in float64. Raises ValueError outside [0, 1].
        """
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile lies in 0..1, not at {q}")
        if not self.finite:
            return None
        rank = max(1, math.ceil(q * self.finite))
        index = int(np.searchsorted(self._cumulative, rank))
        return min(max(float(self.values[index]), self.low), self.high)

    @cached_property
    def _cumulative(self) -> NDArray[np.int64]:
        return np.cumsum(self.counts)


def tally(values: NDArray[np.float64], counts: NDArray[np.int64]) -> Tally:
    """Distinct values in rising order with their summed counts; −0 is 0."""
    order = np.argsort(values, kind="stable")
    values = values[order] + 0.0
    first = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1]))[: len(values)])
    return values[first], np.add.reduceat(counts[order], first) if len(first) else counts[:0]
