"""Which elements of a tensor a step moves to another value of a type: by the RMS of its update, or
counted element by element from the last update that a saved state tells."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scalecheck.dtypes import DTYPES, FLOAT_TYPES
from scalecheck.measure.sketch import Sketch
from scalecheck.theory.precision import Gaps, gap_along, half_ulp_toward_zero, rounded, ulp

FloatArray = NDArray[np.float64]

_BINS_BITS = {"F32": 7}  # of mantissa, by which the elements of a wide type are counted
_WIDE_BITS = 8
_RATIO_BITS = 8  # of mantissa, by which ratios of updates and gaps are counted
_KEPT_BITS = 4  # the same of what is kept of every tensor: some 500 bins
_KEY = np.uint64(52 - _RATIO_BITS)
_PART = 8192  # elements whose temporaries stay in the cache
_OCTAVES = 200  # of the lr, up and down, in which half of the elements begin to move
_HALVINGS = 40
_DIGITS = 8  # of a number that somebody wrote


class Stalling(Protocol):
    """What of a step is kept of a tensor."""

    def stalled(self, factor: float = 1.0) -> float:
        """The share of elements that rounding to the nearest leaves as they are; factor: of the
        lr."""
        ...


class Moves(Stalling, Protocol):
    """What a step does to the elements of a tensor in a type, as shares of them."""

    def cast(self) -> float:
        """Those that change in a copy of this type of weights that are kept exactly."""
        ...

    def stochastic(self) -> float:
        """Those that change under stochastic rounding."""
        ...

    @property
    def kept(self) -> Stalling:
        """What is small enough to be kept of every tensor."""
        ...


def half_moving(moves: Sequence[tuple[int, Stalling]]) -> float | None:
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
    `equal`. cell: of weights that are all one number how far it is from the ends of what is cast to
    the same value."""

    gaps: Gaps
    update: float
    equal: bool
    cell: tuple[float, float] | None = None

    def stalled(self, factor: float = 1.0) -> float:
        return self.gaps.stalled(factor * self.update, self.equal)

    def cast(self) -> float:
        if self.cell is None:
            return self.gaps.cast(self.update, self.equal)
        if self.equal or not self.update:
            return sum(self.update > each for each in self.cell) / 2
        return share_that_leaves(self.cell, self.update)

    def stochastic(self) -> float:
        return self.gaps.stochastic(self.update, self.equal)

    @property
    def kept(self) -> Stalling:
        return self


class MeasuredMoves:
    """By the update of each element and the element itself; filled block by block.

    scale: |Δw| of an update of 1 as it is known beforehand; `settle` corrects it: some optimizers
    scale updates by sums over the whole tensor. is_stored: the weights are values of the type.
    has_ratios: it counts for other scales, at which an element counts as if its update were known
    within 0.4 %, and is_cast, for a cast. At `scale` the count is exact.
    """

    def __init__(
        self, dtype: str, scale: float, is_stored: bool, has_ratios: bool, is_cast: bool
    ) -> None:
        self.dtype = dtype
        self.numel = 0
        self._scale, self._correction = scale, 1.0
        self._stalled, self._square = 0, 0.0
        self._is_stored = is_stored
        self._by_gap = _Ratios() if has_ratios else None
        self._by_ulp = _Ratios() if is_cast else None

    def add(self, update: FloatArray, weights: FloatArray) -> None:
        """Takes in −Δw at scale 1 of elements and the weights after it; finite ones count."""
        for start in range(0, len(update), _PART):
            self._add(update[start : start + _PART], weights[start : start + _PART])

    def _add(self, update: FloatArray, weights: FloatArray) -> None:
        if not math.isfinite(float(update @ update) + float(weights @ weights)):
            is_finite = np.isfinite(update) & np.isfinite(weights)
            update, weights = update[is_finite], weights[is_finite]
        stored = weights if self._is_stored else rounded(weights, self.dtype)
        size = np.abs(update)
        gap = gap_along(stored, -update, self.dtype)
        with np.errstate(over="ignore"):
            self._stalled += int(np.count_nonzero(size * (2 * self._scale) <= gap))
            if self._by_gap is not None:
                self._by_gap.add(size / gap)
            if self._by_ulp is not None:
                gap = np.where(np.isfinite(stored), ulp(weights, self.dtype), np.inf)
                self._by_ulp.add(size / gap)
            self._square += float(update @ update)
        self.numel += update.size

    @property
    def is_exact(self) -> bool:
        """Its scale was known beforehand."""
        return math.isclose(self._correction, 1.0, rel_tol=1e-9)

    @property
    def is_told(self) -> bool:
        """It has counts at the scale that is known now."""
        return self.numel > 0 and (self.is_exact or self._by_gap is not None)

    def settle(self, update: float) -> None:
        """Sets the RMS of Δw of all elements together."""
        known = self._scale * math.sqrt(self._square / self.numel)
        self._correction = update / known if known else 1.0

    def stalled(self, factor: float = 1.0) -> float:
        if factor == 1.0 and self.is_exact:
            return self._stalled / self.numel
        return self._bins.stalled(factor)

    @property
    def kept(self) -> Stalling:
        return self._bins.coarser(_KEPT_BITS)

    @property
    def _bins(self) -> "_Bins":
        assert self._by_gap is not None
        low, count = self._by_gap.bins
        return _Bins(low, count / self.numel, self._scale * self._correction, _RATIO_BITS)

    def cast(self) -> float:
        return self._crossed(self._by_ulp)

    def stochastic(self) -> float:
        return self._crossed(self._by_gap)

    def _crossed(self, ratios: "_Ratios | None") -> float:
        assert ratios is not None
        low, count = ratios.bins
        middle = low * (1 + 2.0 ** -(_RATIO_BITS + 1))
        with np.errstate(over="ignore"):
            share = np.minimum(middle * (self._scale * self._correction), 1.0)
        return float(np.sum(count * share)) / self.numel


@dataclass(frozen=True)
class _Bins:
    """Shares of elements by the ratio of an update of 1 to the gap, each from `low` to the next
    number of so many bits of mantissa; the rest have no update. scale: |Δw| of one of 1."""

    low: FloatArray
    shares: FloatArray
    scale: float
    bits: int

    def stalled(self, factor: float = 1.0) -> float:
        with np.errstate(over="ignore", divide="ignore"):
            below = np.clip((0.5 / (factor * self.scale) / self.low - 1) * 2**self.bits, 0.0, 1.0)
        return max(0.0, 1 - float(np.sum(self.shares * (1 - below))))

    def coarser(self, bits: int) -> "_Bins":
        words = self.low.view(np.uint64) >> np.uint64(52 - bits)
        keys, place = np.unique(words, return_inverse=True)
        low = (keys << np.uint64(52 - bits)).view(np.float64)
        shares = np.bincount(place, self.shares).astype(np.float64)
        return replace(self, low=low, shares=shares, bits=bits)


class _Ratios:
    """Ratios counted by their exponent and the leading bits of their mantissa."""

    def __init__(self) -> None:
        self._first = 0  # key of the first count
        self._counts = np.zeros(0, np.int64)

    def add(self, ratios: FloatArray) -> None:
        """Takes in ratios that are not negative; those of 0 have no bin."""
        keys = (np.ascontiguousarray(ratios).view(np.uint64) >> _KEY).astype(np.intp)
        keys = keys[keys > 0]
        if not keys.size:
            return
        if not self._counts.size:
            self._first = int(keys.min())
        first = min(self._first, int(keys.min()))
        more = np.bincount(keys - first, minlength=self._first - first + self._counts.size)
        more[self._first - first :][: self._counts.size] += self._counts
        self._first, self._counts = first, more

    @property
    def bins(self) -> tuple[FloatArray, FloatArray]:
        """The lower end of each bin that is not empty, and its count."""
        (place,) = np.nonzero(self._counts)
        low = ((place + self._first).astype(np.uint64) << _KEY).view(np.float64)
        return low, self._counts[place].astype(np.float64)


def counters(
    trained_in: str, cast: str | None, stored: str, scale: float, is_scaled: bool
) -> list[MeasuredMoves]:
    """Empty counts in the type that a tensor is trained in, where its rounding is known, and in
    that of --cast. stored: the type of the weights; is_scaled: `scale` may not be all."""
    types = [trained_in] if trained_in in FLOAT_TYPES else []
    types += [cast] if cast is not None and cast not in types else []
    return [
        MeasuredMoves(each, scale, each == stored, is_scaled or each == cast, each == cast)
        for each in types
    ]


def moves_of(
    counted: Sequence[MeasuredMoves],
    sketch: Sketch,
    stored: str,
    update: float | None,
    equal: bool,
    is_measured: bool,
) -> dict[str, Moves]:
    """What a step does to the finite elements of a tensor of a stored type, in the type of each
    counter: as it counted them where the state tells of each element, else by the RMS of the
    update, which is the size of all updates where `equal`. Nothing where none is known."""
    if update is None or not math.isfinite(update):
        return {}
    found: dict[str, Moves] = {}
    for each in counted:
        if is_measured and each.numel:
            each.settle(update)
        if is_measured and each.is_told and update:
            found[each.dtype] = each
        elif (gaps := cast_gaps(sketch, stored, each.dtype)) is not None:
            cell = _only_cell(sketch, stored, each.dtype)
            found[each.dtype] = ExpectedMoves(gaps, update, equal, cell)
    return found


def _only_cell(sketch: Sketch, stored: str, dtype: str) -> tuple[float, float] | None:
    """The cell of elements that are all one number; None where they differ or are 0."""
    number = abs(float(sketch.low))
    if sketch.low != sketch.high or not number or not np.isfinite(rounded(number, dtype)):
        return None
    return cell_around(meant(number, dtype) if stored == dtype else number, dtype)


def cell_around(number: float, dtype: str) -> tuple[float, float]:
    """How far a positive number is from the upper and the lower end of what is cast to the same
    value of a type, which is half as far below a power of two as above."""
    stored = float(rounded(number, dtype))
    above, below = float(ulp(stored, dtype)) / 2, float(half_ulp_toward_zero(stored, dtype))
    return stored + above - number, number - (stored - below)


def meant(stored: float, dtype: str) -> float:
    """The number of fewest digits that is cast to a value of a type: 0.1 for bf16's 0.1001."""
    tried = (float(f"{stored:.{digits}e}") for digits in range(_DIGITS))
    near = (each for each in tried if math.isfinite(each))  # the largest numbers round up to inf
    return next((each for each in near if float(rounded(each, dtype)) == stored), stored)


def share_that_leaves(cell: tuple[float, float], update: float) -> float:
    """The share of normal changes of this RMS that leave a cell."""
    return sum(math.erfc(each / (math.sqrt(2) * update)) / 2 for each in cell)


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
