"""Dead, constant and repeated rows of a tensor, and dead columns, exactly. A healthy tensor is told
by the beginnings of its rows; others are read whole."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.aligned import row_major
from scalecheck.checkpoint.tensor import BLOCK_NBYTES, Tensor

MAX_ROWS = 1 << 23  # of a tensor that is looked into: each takes some 40 bytes
MAX_LENGTH = 1 << 22  # elements of such a row, which is held as float64
SHOWN = 5

_PREFIX_NBYTES = 64  # of a row, a line of the cache
_LONG_NBYTES = 4096  # rows from here on are sought one by one: a page is what a read costs anyway
_DIGEST_NBYTES = 8  # two of MAX_ROWS that differ meet once in half a million such tensors
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

    def __add__(self, places: NDArray[np.intp]) -> "Occurrences":
        """These and the ones at further indices, which are larger."""
        first = places[: SHOWN - len(self.first)].tolist()
        return Occurrences(self.count + len(places), (*self.first, *first))


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
    length = math.prod(tensor.shape[1:]) if role == "conv" else tensor.shape[-1]
    if length < 2 or tensor.numel < 2 * length:
        return None
    rows = tensor.numel // length
    columns = length if len(tensor.shape) == 2 and role != "conv" else None
    if rows > MAX_ROWS or length > MAX_LENGTH:
        unread = f"{rows:,} rows of {length:,} elements; at most {MAX_ROWS:,} of {MAX_LENGTH:,}"
        return Rows(rows, columns, unread=unread)
    has_dead = zeros >= length or (columns is not None and zeros >= rows)
    is_plain = tensor.strides is None and not has_dead
    if is_plain and _begin_differently(tensor, rows, length):
        return Rows(rows, columns)
    return _read_whole(tensor, rows, length, columns)


def _begin_differently(tensor: Tensor, rows: int, length: int) -> bool:
    """Whether no row begins as another does, or with the same number again and again."""
    size = tensor.dtype.itemsize
    count = min(length, _PREFIX_NBYTES // size)
    keys = np.empty(rows, np.uint64)
    for first, words in _beginnings(tensor, rows, length, count):
        numbers = tensor.dtype.decode(words)
        if (numbers == numbers[:, :1]).all(axis=1).any():
            return False
        unsigned = np.ascontiguousarray(words).view(f"<u{size}").astype(np.uint64)
        mixed = unsigned * _MIX[:count]
        keys[first : first + len(words)] = (mixed ^ (mixed >> np.uint64(29))).sum(axis=1)
    keys.sort()
    return not (keys[1:] == keys[:-1]).any()


def _beginnings(
    tensor: Tensor, rows: int, length: int, count: int
) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """The first `count` words of every row, some rows at a time: the first row's index, and an
    array of shape (n, count)."""
    size, words_type = tensor.dtype.itemsize, np.dtype(tensor.dtype.words)
    with tensor.source.open() as reader:
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


def _read_whole(tensor: Tensor, rows: int, length: int, columns: int | None) -> Rows:
    """The figures from every element."""
    zero, constant = Occurrences(), Occurrences()
    alive = None if columns is None else np.zeros(columns, bool)
    digests = np.empty(rows, np.uint64)
    first = 0
    for block in _whole_rows(tensor, length):
        values = block.reshape(-1, length)
        is_zero = ~(values != 0).any(axis=1)
        is_constant = (values == values[:, :1]).all(axis=1) & ~is_zero
        zero += first + np.flatnonzero(is_zero)
        constant += first + np.flatnonzero(is_constant)
        if alive is not None:
            alive |= (values != 0).any(axis=0)
        is_alone = is_zero | is_constant | np.isnan(values).any(axis=1)
        for row, alone in enumerate(is_alone):
            digests[first + row] = _unlike(first + row) if alone else _digest(values[row].tobytes())
        first += len(values)
    dead = Occurrences()
    if alive is not None:
        dead += np.flatnonzero(~alive)
    return Rows(rows, columns, zero, dead, constant, Occurrences() + _again(digests))


def _whole_rows(tensor: Tensor, length: int) -> Iterator[NDArray[np.float64]]:
    """All elements in row-major order, whole rows at a time."""
    pending: list[NDArray[np.float64]] = []
    held = 0
    for part in row_major(tensor):
        pending.append(part.copy())
        held += len(part)
        if held < length:
            continue
        joined = np.concatenate(pending) if len(pending) > 1 else pending[0]
        whole = held - held % length
        yield joined[:whole]
        pending, held = [joined[whole:]], held - whole


def _digest(content: bytes, key: bytes = b"") -> int:
    return int.from_bytes(blake2b(content, digest_size=_DIGEST_NBYTES, key=key).digest())


def _unlike(row: int) -> int:
    """In place of a digest, of a row that is not compared: what no other row has."""
    return _digest(row.to_bytes(8, "little"), b"alone")


def _again(digests: NDArray[np.uint64]) -> NDArray[np.intp]:
    """The indices at which a digest stands that stood before, rising."""
    order = digests.argsort(kind="stable")
    in_order = digests[order]
    again: NDArray[np.intp] = order[1:][in_order[1:] == in_order[:-1]]
    again.sort()
    return again
