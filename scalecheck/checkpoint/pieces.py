"""A tensor that lies in pieces, in one file or in many: the shards of a distributed checkpoint, the
partitions of an optimizer, the slices of tensor-parallel ranks. Put together it is read like any
other."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.boxes import Box, read_box
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import Tensor

MAX_CELLS = 16  # times the pieces; where these cut each other into more parts, no writer made them


@dataclass(frozen=True, slots=True)
class Piece:
    """A box of a larger tensor: the index of its first element, and the tensor that holds it."""

    start: tuple[int, ...]
    tensor: Tensor


def joined(name: str, shape: tuple[int, ...], pieces: Sequence[Piece], path: Path) -> Tensor:
    """The tensor of some pieces, in any order, each in any order of its own. A tensor that is
    flat in its pieces, as an optimizer's partition, is joined flat and given its shape after.

    `path` is what an error names. Where pieces lack, `unmeasured` says how many elements. Raises
    Malformed where pieces differ in type, reach out of the shape or overlap.
    """
    held = [piece for piece in pieces if piece.tensor.numel]
    if not held:
        numel = math.prod(shape)
        if not pieces:
            raise Malformed(f"{name}: has no piece")
        lacks = f"{numel} of {numel} elements are in no file" if numel else None
        return replace(pieces[0].tensor, name=name, shape=shape, strides=None, unmeasured=lacks)
    first = held[0].tensor
    for piece in held:
        if piece.tensor.dtype is not first.dtype and piece.tensor.dtype != first.dtype:
            types = f"{first.dtype.name} and {piece.tensor.dtype.name}"
            raise Malformed(f"{name}: has pieces of {types}")
        check_inside(name, piece.start, piece.tensor.shape, shape)
    held.sort(key=lambda piece: piece.start)
    if not _follow(held):
        check_apart(name, [Box(piece.start, piece.tensor.shape) for piece in held])
    unmeasured = next((p.tensor.unmeasured for p in held if p.tensor.unmeasured), None)
    numel = math.prod(shape)
    if lacking := numel - sum(piece.tensor.numel for piece in held):
        unmeasured = f"{lacking} of {numel} elements are in no file"
    if len(held) == 1 and first.shape == shape:
        return replace(first, name=name, unmeasured=unmeasured)
    source = JoinedSource(path, shape, (*held,))
    return Tensor(name, first.dtype, shape, source, 0, unmeasured=unmeasured)


def check_inside(
    name: str, start: Sequence[int], sizes: Sequence[int], shape: Sequence[int]
) -> None:
    """Raises Malformed where a box reaches out of a shape."""
    is_inside = len(start) == len(sizes) == len(shape)
    for at, n, size in zip(start, sizes, shape, strict=False):
        is_inside = is_inside and 0 <= at <= size - n
    if not is_inside:
        place = f"a piece of {list(sizes)} at {list(start)}"
        raise Malformed(f"{name}: {place} does not lie in {list(shape)}")


def _follow(pieces: Sequence[Piece]) -> bool:
    """Whether each of some sorted pieces starts behind the one before along the first dimension."""
    return bool(pieces[0].start) and all(
        before.start[0] + before.tensor.shape[0] <= piece.start[0]
        for before, piece in pairwise(pieces)
    )


def check_apart(name: str, boxes: Sequence[Box]) -> None:
    """Raises Malformed where two boxes of one shape overlap; linear in their number."""
    waiting = [(list(boxes), 0)]
    room = MAX_CELLS * len(boxes)
    while waiting:
        group, axis = waiting.pop()
        if len(group) < 2:
            continue
        if axis == len(group[0].start):
            at = list(group[0].start)
            raise Malformed(f"{name}: {len(group)} pieces overlap, one of them at {at}")
        cuts = sorted({cut for box in group for cut in (box.start[axis], _end(box, axis))})
        cells: dict[int, list[Box]] = {}
        for box in group:
            first = bisect_right(cuts, box.start[axis]) - 1
            last = bisect_right(cuts, _end(box, axis)) - 1
            room -= last - first - 1
            if room < 0:
                raise Malformed(f"{name}: {len(boxes)} pieces cut each other into too many parts")
            for cell in range(first, last):
                cells.setdefault(cell, []).append(box)
        waiting += [(cell, axis + 1) for cell in cells.values()]


def _end(box: Box, axis: int) -> int:
    return box.start[axis] + box.sizes[axis]


@dataclass(frozen=True, eq=False)
class JoinedSource:
    """The elements of a tensor in row-major order, which lie in pieces that do not overlap, sorted
    by where they start."""

    path: Path
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.pieces[0].tensor.dtype.itemsize

    def open(self, readers: Readers) -> "JoinedReader":
        return JoinedReader(self, readers)


class JoinedReader:
    """Reads a stretch of the whole from the pieces that it lies in."""

    has_file = False

    def __init__(self, source: JoinedSource, readers: Readers) -> None:
        self._source = source
        self._readers = readers
        self._tensor = source.pieces[0].tensor
        self._firsts = _firsts(source)

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset. Raises CheckpointError where a piece cannot be
        read."""
        itemsize = self._tensor.dtype.itemsize
        words = np.frombuffer(buffer, self._tensor.words_type)
        start, stop = offset // itemsize, (offset + len(buffer)) // itemsize
        if self._firsts is not None:
            self._fill_rows(words, start, stop)
            return
        for box in flat_boxes(self._source.shape, start, stop):
            count = math.prod(box.sizes)
            self._fill_box(words[:count].reshape(box.sizes), box)
            words = words[count:]

    def _fill_rows(self, words: NDArray[np.generic], start: int, stop: int) -> None:
        """The same where each piece is a stretch of the whole."""
        assert self._firsts is not None
        index = bisect_right(self._firsts, start) - 1
        while start < stop:
            tensor, first = self._source.pieces[index].tensor, self._firsts[index]
            end = min(stop, self._firsts[index + 1])
            part = words[: end - start].view(np.uint8)
            at = tensor.offset + (start - first) * tensor.dtype.itemsize
            self._readers[tensor.source].fill(at, part.data)
            words, start, index = words[end - start :], end, index + 1

    def _fill_box(self, words: NDArray[np.generic], box: Box) -> None:
        """The words of a box of the whole, in its shape."""
        for piece in self._source.pieces:
            low = [max(a, b) for a, b in zip(box.start, piece.start, strict=True)]
            high = [
                min(a + m, b + n)
                for a, m, b, n in zip(
                    box.start, box.sizes, piece.start, piece.tensor.shape, strict=True
                )
            ]
            if any(a >= b for a, b in zip(low, high, strict=True)):
                continue
            sizes = tuple(b - a for a, b in zip(low, high, strict=True))
            own = tuple(a - b for a, b in zip(low, piece.start, strict=True))
            place = tuple(
                slice(a - b, a - b + n) for a, b, n in zip(low, box.start, sizes, strict=True)
            )
            words[place] = read_box(piece.tensor, Box(own, sizes), self._readers)

    def close(self) -> None:
        """Its readers are closed by whom they belong to."""


def _firsts(source: JoinedSource) -> list[int] | None:
    """Where each piece starts among the elements of the whole, and the end; None where pieces are
    no stretches of it."""
    firsts = [0]
    for piece in source.pieces:
        if piece.tensor.strides is not None or piece.tensor.shape[1:] != source.shape[1:]:
            return None
        firsts.append(firsts[-1] + piece.tensor.numel)
    return firsts


def stacked(tensor: Tensor) -> tuple[Tensor, ...]:
    """The tensors that it is stacked of along its first dimension; itself where it is not."""
    source = tensor.source
    if isinstance(source, JoinedSource) and tensor.shape == source.shape and _firsts(source):
        return tuple(piece.tensor for piece in source.pieces)
    return (tensor,)


def flat_boxes(shape: Sequence[int], start: int, stop: int) -> Iterator[Box]:
    """The elements `start` to `stop` in row-major order as few boxes, in that order."""
    if start >= stop:
        return
    if not shape:
        yield Box((), ())
        return
    row = math.prod(shape[1:])
    first, last = -(-start // row), stop // row
    if first > last:  # within one row
        yield from _in_row(shape, first - 1, start, stop, row)
        return
    yield from _in_row(shape, first - 1, start, first * row, row)
    if first < last:
        yield Box((first, *(0 for _ in shape[1:])), (last - first, *shape[1:]))
    yield from _in_row(shape, last, last * row, stop, row)


def _in_row(shape: Sequence[int], index: int, start: int, stop: int, row: int) -> Iterator[Box]:
    for box in flat_boxes(shape[1:], start - index * row, stop - index * row):
        yield Box((index, *box.start), (1, *box.sizes))
