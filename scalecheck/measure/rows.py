"""Dead, constant and repeated rows of a tensor, and dead columns, exactly. A healthy tensor is told
by the beginnings of its rows; others are read whole."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.boxes import boxes, places, read_box, steps_of
from scalecheck.checkpoint.pieces import stacked
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import BLOCK_NBYTES, Tensor
from scalecheck.measure.decoded_rows import COUNT, beginnings, has_rows, may_have_zero_columns

MAX_ROWS = 1 << 23  # of a tensor that is looked into: each takes some 20 bytes
MAX_LENGTH = 1 << 22  # elements of such a row, which is held as float64
SHOWN = 5

_PREFIX_NBYTES = 64  # of a row, a line of the cache
_LONG_NBYTES = 4096  # rows from here on are sought one by one: a page is what a read costs anyway
_FEW_COLUMNS = 64  # below so many numpy is slow along rows, and quick along columns
_AT_ONCE = 1 << 16  # rows that are looked through for the first of a kind
_PARTS = 16  # in which digests are sorted, by their first 4 bits: a copy of all would be large
_COMPARED, _ZERO, _CONSTANT, _NOT_A_NUMBER = np.arange(4, dtype=np.uint8)  # kinds of rows
_MIX = np.array(
    [0x9E3779B97F4A7C15 * (2 * i + 1) % 2**64 | 1 for i in range(_PREFIX_NBYTES)], np.uint64
)


@dataclass(frozen=True)
class Occurrences:
    """How many rows or columns are of a kind, and the indices of the first few."""

    count: int = 0
    first: tuple[int, ...] = ()

    def __str__(self) -> str:
        return ", ".join(map(str, self.first)) + (", …" if self.count > len(self.first) else "")

    @classmethod
    def of(cls, is_one: NDArray[np.bool_]) -> "Occurrences":
        """Those of an array that says it of each row or column."""
        first: list[int] = []
        for start in range(0, len(is_one), _AT_ONCE):
            first += (start + np.flatnonzero(is_one[start : start + _AT_ONCE])).tolist()
            if len(first) >= SHOWN:
                break
        return cls(int(np.count_nonzero(is_one)), (*first[:SHOWN],))


@dataclass(frozen=True)
class Rows:
    """The rows of a tensor that are not as rows should be.

    columns: None where columns have no meaning. zero: all elements ±0; constant: all the same
    number, not 0; repeated: equal bit for bit to an earlier row that is neither. A row with a NaN
    is none of them. unread: why the tensor was not looked into, empty where it was.
    """

    rows: int
    columns: int | None
    zero_rows: Occurrences = Occurrences()
    zero_columns: Occurrences = Occurrences()
    constant_rows: Occurrences = Occurrences()
    repeated_rows: Occurrences = Occurrences()
    unread: str = ""


def row_figures(tensor: Tensor, zeros: int, role: str) -> Rows | None:
    """The rows of a tensor of which so many elements are 0; None where it has not two of two
    elements at least, or cannot be read as numbers.

    A row is a vector of the last dimension, and of a convolution a filter: all of one index of the
    first. Only tensors of two dimensions have columns. Raises CheckpointError as `Tensor.blocks`.
    """
    if len(tensor.shape) < 2 or tensor.unmeasured is not None or not tensor.dtype.is_float:
        return None
    row_axes = 1 if role == "conv" else len(tensor.shape) - 1
    length = math.prod(tensor.shape[row_axes:])
    if length < 2 or tensor.numel < 2 * length:
        return None
    rows = tensor.numel // length
    columns = length if len(tensor.shape) == 2 and role != "conv" else None
    if rows > MAX_ROWS or length > MAX_LENGTH:
        unread = f"{rows:,} rows of {length:,} elements; at most {MAX_ROWS:,} of {MAX_LENGTH:,}"
        return Rows(rows, columns, unread=unread)
    has_dead = zeros >= length or (columns is not None and zeros >= rows)
    if has_rows(tensor, length):
        may_have = columns is not None and zeros >= rows and may_have_zero_columns(tensor)
        is_plain = not may_have
    else:
        is_plain = tensor.strides is None and not has_dead
    if is_plain and _begin_differently(tensor, rows, length):
        return Rows(rows, columns)
    return _read_whole(tensor, row_axes, columns)


def _begin_differently(tensor: Tensor, rows: int, length: int) -> bool:
    """Whether no row begins as another does, or with the same number again and again."""
    size = tensor.dtype.itemsize
    if has_rows(tensor, length):
        count = min(length, COUNT)
        stretches: Iterator[tuple[int, NDArray[np.generic]]] = beginnings(tensor, length)
    else:
        count = min(length, _PREFIX_NBYTES // size)
        stretches = _beginnings(tensor, length, count)
    keys = np.empty(rows, np.uint64)
    for first, words in stretches:
        numbers = tensor.dtype.decode(words)
        if (numbers == numbers[:, :1]).all(axis=1).any():
            return False
        unsigned = np.ascontiguousarray(words).view(f"<u{size}").astype(np.uint64)
        mixed = unsigned * _MIX[:count]
        keys[first : first + len(words)] = (mixed ^ (mixed >> np.uint64(29))).sum(axis=1)
    keys.sort()
    return not (keys[1:] == keys[:-1]).any()


def _beginnings(
    tensor: Tensor, length: int, count: int
) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """The first `count` words of every row, some rows at a time: the first row's index, and an
    array of shape (n, count)."""
    done = 0
    for part in stacked(tensor):
        own = part.numel // length
        for first, words in _beginnings_of(part, own, length, count):
            yield done + first, words
        done += own


def _beginnings_of(
    tensor: Tensor, rows: int, length: int, count: int
) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """The same of what lies in one source."""
    size, words_type = tensor.dtype.itemsize, np.dtype(tensor.dtype.words)
    with Readers() as readers:
        reader = readers[tensor.source]
        if length * size < _LONG_NBYTES:
            at_once = max(1, BLOCK_NBYTES // (length * size))
            buffer = np.empty(at_once * length * size, np.uint8)
            for first in range(0, rows, at_once):
                n = min(at_once, rows - first)
                part = buffer[: n * length * size]
                reader.fill(tensor.offset + first * length * size, part.data)
                yield first, part.view(words_type).reshape(n, length)[:, :count]
            return
        at_once = BLOCK_NBYTES // (count * size)
        buffer = np.empty((at_once, count * size), np.uint8)
        for first in range(0, rows, at_once):
            n = min(at_once, rows - first)
            for place in range(n):
                reader.fill(tensor.offset + (first + place) * length * size, buffer[place].data)
            yield first, buffer[:n].view(words_type)


def _read_whole(tensor: Tensor, row_axes: int, columns: int | None) -> Rows:
    """The figures from every element; row_axes: the first dimensions, whose indices tell rows."""
    rows = math.prod(tensor.shape[:row_axes])
    kinds = np.empty(rows, np.uint8)
    digests = np.empty(rows, np.uint64)
    is_dead = np.ones(columns or 0, bool)
    with Readers() as readers:
        every = boxes(tensor.shape, [steps_of(tensor)], BLOCK_NBYTES // 8)
        for start, parts in groupby(every, key=lambda box: box.start[:row_axes]):
            band = None
            for box in parts:
                index, sizes = box.start[row_axes:], box.sizes[row_axes:]
                at = places(index, sizes, tensor.shape[row_axes:])
                band = band or _Band(box.sizes[:row_axes])
                values = band.add(tensor, read_box(tensor, box, readers), at)
                if columns is not None:
                    is_dead[at] &= (values == 0).all(axis=0)
            if band is not None:
                at = places(start, band.sizes, tensor.shape[:row_axes])
                kinds[at], digests[at] = band.kinds(), band.digests
    zero, constant = Occurrences.of(kinds == _ZERO), Occurrences.of(kinds == _CONSTANT)
    is_compared = np.equal(kinds, _COMPARED, out=kinds.view(np.bool_))  # in its place
    repeated = _repeated(digests, is_compared)
    return Rows(rows, columns, zero, Occurrences.of(is_dead), constant, repeated)


class _Band:
    """Some rows, of which some columns after others are looked at."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = sizes
        count = math.prod(sizes)
        self.low, self.high = np.full(count, np.inf), np.full(count, -np.inf)
        self.digests = np.zeros(count, np.uint64)

    def add(
        self, tensor: Tensor, box: NDArray[np.generic], columns: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Takes in the words of some columns, and gives their values, shape (rows, columns)."""
        words = box.reshape(len(self.low), len(columns))
        if len(columns) < _FEW_COLUMNS:
            words = np.asfortranarray(words)
        values = tensor.dtype.decode(words)
        np.minimum(self.low, values.min(axis=1), out=self.low)  # NaN where there is one
        np.maximum(self.high, values.max(axis=1), out=self.high)
        self.digests += _mixed(words, columns).sum(axis=1)
        return values

    def kinds(self) -> NDArray[np.uint8]:
        """What each of its rows is."""
        kinds = np.where(self.low < self.high, _COMPARED, _NOT_A_NUMBER)
        kinds[self.low == self.high] = _CONSTANT
        kinds[(self.low == 0) & (self.high == 0)] = _ZERO
        return kinds


def _mixed(words: NDArray[np.generic], columns: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Of each word and its column a number that looks random (SplitMix64, Steele 2014): their sum
    over a row tells it from others as a digest does."""
    mixed: NDArray[np.uint64] = words.view(f"<u{words.itemsize}").astype(np.uint64)
    mixed += (columns.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _repeated(digests: NDArray[np.uint64], is_compared: NDArray[np.bool_]) -> Occurrences:
    """The rows that are compared and of which one before has the same digest."""
    count, several = 0, []
    first_bits = digests.astype("<u8", copy=False).view(np.uint8)[7::8] >> 4
    for part in range(_PARTS):
        rising = digests[is_compared & (first_bits == part)]
        rising.sort()
        is_again = rising[1:] == rising[:-1]
        count += int(np.count_nonzero(is_again))
        is_again[1:] &= ~is_again[:-1].copy()
        several.append(rising[1:][is_again])
    return Occurrences(count, _first_repeated(digests, is_compared, np.concatenate(several)))


def _first_repeated(
    digests: NDArray[np.uint64], is_compared: NDArray[np.bool_], several: NDArray[np.uint64]
) -> tuple[int, ...]:
    """The first rows that repeat one before; several: the digests of several rows, rising."""
    found: list[int] = []
    is_seen = np.zeros(len(several), bool)
    for start in range(0, len(digests) if len(several) else 0, _AT_ONCE):
        part = digests[start : start + _AT_ONCE]
        at = np.searchsorted(several, part)
        at[at == len(several)] = 0
        rows = np.flatnonzero((several[at] == part) & is_compared[start : start + _AT_ONCE])
        at = at[rows]
        is_first = np.zeros(len(rows), bool)
        is_first[np.unique(at, return_index=True)[1]] = True
        is_first &= ~is_seen[at]
        is_seen[at] = True
        found += (start + rows[~is_first]).tolist()
        if len(found) >= SHOWN:
            break
    return (*found[:SHOWN],)
