"""Which elements of a tensor a step moves to another value of a type: by the RMS of its update, or
counted element by element from the last update that a saved state tells."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scalecheck.dtypes import DTYPES
from scalecheck.measure.sketch import Sketch
from scalecheck.theory.precision import Gaps, gap_along, rounded, ulp

FloatArray = NDArray[np.float64]

_BINS_BITS = {"F32": 7}  # of mantissa, by which the elements of a wide type are counted
_WIDE_BITS = 8
_KEY = np.uint64(44)  # bits of a float64 below those that a ratio is counted by
_KEYS = 1 << 19  # of ratios, which have no sign
_OCTAVES = 200  # of the lr, up and down, in which half of the elements begin to move
_HALVINGS = 40


class Moves(Protocol):
    """What a step does to the elements of a tensor in a type, as shares of them; factor: of the
    lr."""

    def stalled(self, factor: float = 1.0) -> float:
        """Those that rounding to the nearest leaves as they are."""
        ...

    def cast(self) -> float:
        """Those that change in a copy of this type of weights that are kept exactly."""
        ...

    def stochastic(self) -> float:
        """Those that change under stochastic rounding."""
        ...


def half_moving(moves: Sequence[tuple[int, Moves]]) -> float | None:
    """The factor of the lr from which on half of all elements move under rounding to the nearest;
    moves: of tensors of so many elements. None where no factor does."""
    numel = sum(n for n, _ in moves)

    def moved(factor: float) -> float:
        return sum(n * (1 - each.stalled(factor)) for n, each in moves) / numel

    low, high = -float(_OCTAVES), float(_OCTAVES)
    if not numel or moved(2.0**high) < 0.5:
        return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if moved(2.0**middle) >= 0.5 else (middle, high)
    return float(2.0**high)


@dataclass(frozen=True)
class ExpectedMoves:
    """By the RMS of an update, which is normal and independent of the weights, or of one size where
    `equal`."""

    gaps: Gaps
    update: float
    equal: bool

    def stalled(self, factor: float = 1.0) -> float:
        return self.gaps.stalled(factor * self.update, self.equal)

    def cast(self) -> float:
        return self.gaps.cast(self.update, self.equal)

    def stochastic(self) -> float:
        return self.gaps.stochastic(self.update, self.equal)


class MeasuredMoves:
    """By the update of each element and the element itself; filled block by block.

    scale: |Δw| of an update of 1 as it is known beforehand; `settle` corrects it: some optimizers
    scale updates by sums over the whole tensor. Counts at that scale are exact, at others an
    element counts as if its update were known within 0.4 %.
    """

    def __init__(self, dtype: str, scale: float) -> None:
        self.dtype = dtype
        self.numel = 0
        self._scale, self._correction = scale, 1.0
        self._stalled, self._square = 0, 0.0
        self._by_gap = np.zeros(0, np.int64)
        self._by_ulp = np.zeros(0, np.int64)

    def add(self, update: FloatArray, weights: FloatArray) -> None:
        """Takes in −Δw at scale 1 of elements and the weights after it; finite ones count."""
        is_finite = np.isfinite(update) & np.isfinite(weights)
        if not is_finite.all():
            update, weights = update[is_finite], weights[is_finite]
        stored = rounded(weights, self.dtype)
        gap, size = gap_along(stored, -update, self.dtype), np.abs(update)
        with np.errstate(over="ignore"):
            self._stalled += int(np.count_nonzero(size * self._scale <= gap / 2))
            self._by_gap = _counted(self._by_gap, size / gap)
            gap = np.where(np.isfinite(stored), ulp(weights, self.dtype), np.inf)
            self._by_ulp = _counted(self._by_ulp, size / gap)
        self.numel += update.size
        self._square += float(update @ update)

    def settle(self, update: float) -> None:
        """Sets the RMS of Δw of all elements together."""
        known = self._scale * math.sqrt(self._square / self.numel)
        self._correction = update / known if known else 1.0

    def stalled(self, factor: float = 1.0) -> float:
        if math.isclose(factor * self._correction, 1.0, rel_tol=1e-9):
            return self._stalled / self.numel
        low, count = _bins(self._by_gap)
        scale = factor * self._scale * self._correction
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            reached = np.clip((0.5 / scale - low) / (low / 2**_WIDE_BITS), 0.0, 1.0)
        return float(np.sum(count * np.where(low > 0, reached, 1.0))) / self.numel

    def cast(self) -> float:
        return self._crossed(self._by_ulp)

    def stochastic(self) -> float:
        return self._crossed(self._by_gap)

    def _crossed(self, counts: NDArray[np.int64]) -> float:
        low, count = _bins(counts)
        middle = low * (1 + 2.0 ** -(_WIDE_BITS + 1))
        with np.errstate(over="ignore"):
            share = np.minimum(middle * (self._scale * self._correction), 1.0)
        return float(np.sum(count * share)) / self.numel


def _counted(counts: NDArray[np.int64], ratios: FloatArray) -> NDArray[np.int64]:
    """The counts with those of more ratios, by their leading bits."""
    keys = (np.ascontiguousarray(ratios).view(np.uint64) >> _KEY).astype(np.intp)
    more = np.bincount(keys, minlength=len(counts))
    more[: len(counts)] += counts
    return more


def _bins(counts: NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """The lower end of each bin that is not empty, and its count."""
    (keys,) = np.nonzero(counts)
    low = (keys.astype(np.uint64) << _KEY).view(np.float64)
    return low, counts[keys].astype(np.float64)


def cast_gaps(sketch: Sketch, stored: str, dtype: str) -> Gaps | None:
    """The gaps around the finite elements of a tensor cast to a type; None where there are none.

    Exact where the sketch is; else the elements of a bin of the stored type are halved between its
    ends, or where the type is finer taken to lie in its middle.
    """
    values, counts = cast_values(sketch, stored, dtype)
    return Gaps.of(values, counts, dtype) if len(values) else None


def cast_values(sketch: Sketch, stored: str, dtype: str) -> tuple[FloatArray, FloatArray]:
    """|w| of the finite elements cast to a type, and how many have each."""
    values, counts = sketch.values, sketch.counts.astype(np.float64)
    if not sketch.exact:
        bits = _BINS_BITS.get(stored, _WIDE_BITS)
        layout = DTYPES[dtype].layout
        if layout is not None and layout.mantissa_bits <= bits:
            half = np.ldexp(1.0, np.frexp(values)[1] - 2 - bits) * (values != 0)
            values = np.concatenate((values - half, values + half))
            counts = np.concatenate((counts, counts)) / 2
        values = np.clip(values, sketch.low, sketch.high)
    return np.abs(rounded(values, dtype)), counts
