"""Blocks of raw words into a sketch: counted by value where the type is narrow, counted by leading
bits and summed where it is wide."""

import math
from contextlib import suppress
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.quantised.decoded import Tiles
from scalecheck.dtypes import DType
from scalecheck.measure import numpy_kernel
from scalecheck.measure.numpy_kernel import keys_of
from scalecheck.measure.sketch import Moments, Sketch, Tally, tally

kernel: ModuleType = numpy_kernel
with suppress(ImportError):  # where no compiler was at hand
    kernel = import_module("scalecheck.measure._kernel")

NATIVE = kernel is not numpy_kernel

MAX_WORDS = 1 << 31  # that one sketch counts: its tables are of 32 bits
_FEW = 4096  # below so many words sorting their keys is quicker than scanning a table


class Counter:
    """Counts words of one storage type, block by block; `take` gives the sketch and starts anew.

    The tables are kept from sketch to sketch: one counter serves a worker. A sketch counts at
    most MAX_WORDS words.
    """

    def __init__(self, dtype: DType) -> None:
        if dtype.words is None:
            raise ValueError(f"{dtype.name} has no words to count")
        self.dtype = dtype
        self._table = np.zeros(_table_shape(dtype), np.uint32)
        self._clear()

    def _clear(self) -> None:
        self._touched: list[NDArray[np.unsignedinteger]] = []
        self._scan = False
        self._low, self._high = math.inf, -math.inf
        self._nan = self._inf = self._zeros = 0
        self._moments = Moments()

    def add(self, words: NDArray[np.generic]) -> None:
        """Counts one block of words, shape (n,)."""
        if not self.dtype.is_float and not self.dtype.is_narrow:
            words = words.astype(np.float64)  # as the kernel sums wide integers
        if len(words) < _FEW:
            # A copy: of narrow words the keys are the words, in a buffer that is read into again.
            self._touched.append(keys_of(words, self.dtype.is_narrow).copy())
        else:
            self._scan = True
        if self.dtype.is_narrow:
            kernel.count(words, self.dtype.itemsize, self._table)
            return
        self._add_moments(len(words), kernel.moments(words, words.dtype.str[1:], self._table))

    def add_tiles(self, tiles: Tiles) -> None:
        """Counts the numbers that codes stand for, tile by tile."""
        rows, columns = tiles.codes.shape
        counts = np.zeros((len(tiles.scales), 256), np.uint32)
        kernel.count_tiles(tiles.codes, columns, tiles.heights, tiles.widths, counts)
        values = np.zeros(256)
        values[: len(tiles.values)] = tiles.values
        self._scan = True
        moments = kernel.tile_moments(counts, values, tiles.scales, tiles.shifts, self._table)
        self._add_moments(rows * columns, moments)

    def _add_moments(self, numel: int, moments: tuple[Any, ...]) -> None:
        nan, inf, zeros, low, high, exponent, shift, total, square = moments
        self._nan += nan
        self._inf += inf
        self._zeros += zeros
        self._low, self._high = min(self._low, low), max(self._high, high)
        count = numel - nan - inf
        if low == high:  # a constant is its own mean, whatever rounding the sums met
            self._moments += Moments(count, exponent, math.ldexp(low, -exponent), 0.0)
        elif count:
            m2 = max(square - total * total / count, 0.0)
            self._moments += Moments(count, exponent, shift + total / count, m2)

    def take(self) -> Sketch:
        """The sketch of all words since the last call."""
        if self._scan:
            counts = self._table.sum(axis=0, dtype=np.uint32)  # no cast: the tables are uint32
            keys = np.flatnonzero(counts != 0)
            counts = counts[keys].astype(np.int64)
            self._table[:] = 0
        else:
            keys = np.concatenate([np.empty(0, np.uint32), *self._touched])
            counts = np.ones(len(keys), np.int64)  # equal ones are told together below
            self._table[:, keys] = 0
        if self.dtype.is_narrow:
            sketch = _exact_sketch(self.dtype.values()[keys], counts)
        else:
            sketch = Sketch(
                partial(_bins, keys, counts, self.dtype),
                self._nan,
                self._inf,
                exact=False,
                wide=self._moments,
                low=self._low + 0.0,
                high=self._high + 0.0,
                zeros=self._zeros,
            )
        self._clear()
        return sketch


def _table_shape(dtype: DType) -> tuple[int, int]:
    if dtype.is_narrow:
        return 4, 1 << dtype.bits
    return (2, 1 << 16) if dtype.name == "F32" else (1, 1 << 20)


def _bins(keys: NDArray[np.integer], counts: NDArray[np.int64], dtype: DType) -> Tally:
    middles = _middles(keys, dtype)
    finite = np.isfinite(middles)
    return tally(middles[finite], counts[finite])


def _middles(keys: NDArray[np.integer], dtype: DType) -> NDArray[np.float64]:
    """The middle of each bin of leading bits; infinite or NaN where the bin holds no number."""
    if dtype.name == "F32":
        words = (keys.astype(np.uint32) << 16) | 0x8000
        words[keys & 0x7FFF == 0] = 0
        with np.errstate(invalid="ignore"):  # the bins of NaN
            return words.view(np.float32).astype(np.float64)
    bits = (keys.astype(np.uint64) << np.uint64(44)) | np.uint64(1 << 43)
    bits[keys & 0x7FFFF == 0] = 0
    middles = bits.view(np.float64)
    return middles if dtype.is_float else np.trunc(middles)


def _exact_sketch(values: NDArray[np.float64], counts: NDArray[np.int64]) -> Sketch:
    finite = np.isfinite(values)
    nan = int(counts[np.isnan(values)].sum())
    inf = int(counts[np.isinf(values)].sum())
    told = distinct, tallied = tally(values[finite], counts[finite])
    if not len(distinct):
        return Sketch(nan=nan, inf=inf)
    return Sketch(
        lambda: told,
        nan,
        inf,
        low=float(distinct[0]),
        high=float(distinct[-1]),
        zeros=int(tallied[distinct == 0].sum()),
    )
