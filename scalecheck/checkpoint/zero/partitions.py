"""Tensors that lie in the flat vectors of ranks: each rank holds the same number of elements of a
tensor, or of several that are laid end to end."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import NamedTuple, Self

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.dtypes import DType
from scalecheck.errors import CheckpointError


class Stretch(NamedTuple):
    """`numel` elements of a vector from element `start` on."""

    tensor: Tensor
    start: int
    numel: int


class Vector:
    """The vectors of one rank, end to end."""

    def __init__(self, parts: tuple[Tensor, ...]) -> None:
        self.parts = parts
        self._firsts = [0, *accumulate(part.numel for part in parts)]

    @property
    def numel(self) -> int:
        return self._firsts[-1]

    def stretches(self, start: int, stop: int) -> Iterator[Stretch]:
        """Where the elements `start` to `stop` lie."""
        index = bisect_right(self._firsts, start) - 1
        while start < stop:
            first, end = self._firsts[index], min(stop, self._firsts[index + 1])
            if start < end:
                yield Stretch(self.parts[index], start - first, end - start)
            start, index = max(start, end), index + 1


@dataclass(frozen=True, eq=False)
class Partitions:
    """`each` elements of every rank, from element `offset` of its vector on, one rank after the
    other; a rank whose file is missing is not among them."""

    ranks: Mapping[int, Vector]
    offset: int
    each: int

    def stretches(self, start: int, stop: int) -> Iterator[Stretch]:
        """Where the elements `start` to `stop` lie. Raises Malformed where a rank is missing."""
        while start < stop:
            rank, first = divmod(start, self.each)
            numel = min(stop - start, self.each - first)
            if rank not in self.ranks:
                raise Malformed(f"rank {rank} is missing")
            at = self.offset + first
            yield from self.ranks[rank].stretches(at, at + numel)
            start += numel

    def lacking(self, start: int, stop: int) -> int:
        """How many of the elements `start` to `stop` lie in the vectors of missing ranks."""
        if start >= stop:
            return 0
        first, last = start // self.each, (stop - 1) // self.each
        few = range(first, last + 1) if last - first < len(self.ranks) else self.ranks
        held = (
            min(stop, (rank + 1) * self.each) - max(start, rank * self.each)
            for rank in few
            if rank in self.ranks and first <= rank <= last
        )
        return stop - start - sum(held)


@dataclass(frozen=True, eq=False)
class PartitionSource:
    """The elements of partitions in their order. `path` is what an error names."""

    path: Path
    nbytes: int
    itemsize: int
    partitions: Partitions

    def open(self, readers: Readers) -> "PartitionReader":
        return PartitionReader(self, readers)


class PartitionReader:
    """Reads a stretch of the whole from the vectors that it lies in."""

    has_file = False

    def __init__(self, source: PartitionSource, readers: Readers) -> None:
        self._source = source
        self._readers = readers

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset. Raises CheckpointError where a vector cannot be
        read."""
        size = self._source.itemsize
        start, stop = offset // size, (offset + len(buffer)) // size
        try:
            for tensor, at, numel in self._source.partitions.stretches(start, stop):
                place = tensor.offset + at * size
                self._readers[tensor.source].fill(place, buffer[: numel * size])
                buffer = buffer[numel * size :]
        except Malformed as error:
            raise CheckpointError(self._source.path, str(error)) from error

    def close(self) -> None:
        """Its readers are closed by whom they belong to."""


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: `each` elements of every rank from `offset` on, and of these numbers
    together those from `start` on."""

    offset: int
    each: int
    start: int = 0


@dataclass(frozen=True, eq=False)
class RankVectors:
    """The vectors of some of `world` ranks, all of one type. `path` is what an error names."""

    path: Path
    ranks: Mapping[int, Vector]
    world: int
    dtype: DType
    unmeasured: str | None

    @classmethod
    def of(cls, path: Path, ranks: Mapping[int, Vector], world: int) -> Self:
        """Raises Malformed where their types differ."""
        parts = [part for vector in ranks.values() for part in vector.parts]
        if not parts:
            raise Malformed("has no flat vector")
        first = parts[0]
        for part in parts:
            if part.dtype != first.dtype:
                types = f"{first.dtype.name} and {part.dtype.name}"
                raise Malformed(f"{part.name}: the vectors of ranks are {types}")
        unmeasured = next((part.unmeasured for part in parts if part.unmeasured), None)
        return cls(path, ranks, world, first.dtype, unmeasured)

    def tensor(self, name: str, shape: tuple[int, ...], place: Place) -> Tensor:
        """The tensor of a place."""
        size, partitions = self.dtype.itemsize, Partitions(self.ranks, place.offset, place.each)
        stop = place.start + prod(shape)
        source = PartitionSource(self.path, stop * size, size, partitions)
        at = place.start * size
        tensor = Tensor(name, self.dtype, shape, source, at, unmeasured=self.unmeasured)
        if len(self.ranks) >= self.world or not tensor.numel:
            return tensor
        lacking = partitions.lacking(place.start, stop)
        lacks = f"{lacking} of {tensor.numel} elements are in no file"
        return replace(tensor, unmeasured=lacks) if lacking else tensor
