"""An array that is cut into a regular grid of chunks, put together; and chunks that were never
written, which are full of one number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from scalecheck.checkpoint.boxes import Box, read_box
from scalecheck.checkpoint.pieces import flat_boxes
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import Tensor


@dataclass(frozen=True, eq=False)
class GridSource:
    """The elements of an array in row-major order. chunks: all of the grid, in row-major order,
    each as large as it reaches into the array."""

    path: Path
    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...]
    chunks: Sequence[Tensor]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.chunks[0].dtype.itemsize

    def open(self, readers: Readers) -> "GridReader":
        return GridReader(self, readers)


class GridReader:
    """Reads a stretch of the array from the chunks that it lies in."""

    has_file = False

    def __init__(self, source: GridSource, readers: Readers) -> None:
        self._source = source
        self._readers = readers
        sizes = zip(source.shape, source.chunk_shape, strict=True)
        self._grid = [-(-size // chunk) for size, chunk in sizes]

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset. Raises CheckpointError where a chunk cannot be
        read."""
        source = self._source
        first = source.chunks[0]
        words = np.frombuffer(buffer, first.words_type)
        start, count = offset // first.dtype.itemsize, len(words)
        for box in flat_boxes(source.shape, start, start + count):
            numel = math.prod(box.sizes)
            part = words[:numel].reshape(box.sizes)
            for index in product(*map(range, *self._reached(box))):
                self._copy(index, box, part)
            words = words[numel:]

    def _reached(self, box: Box) -> tuple[list[int], list[int]]:
        """Along each dimension the first chunk that a box reaches, and the one behind the last."""
        chunk = self._source.chunk_shape
        firsts = [at // size for at, size in zip(box.start, chunk, strict=True)]
        ends = [
            -(-(at + n) // size) for at, n, size in zip(box.start, box.sizes, chunk, strict=True)
        ]
        return firsts, ends

    def _copy(
        self,
        index: Sequence[int],
        box: Box,
        part: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]",
    ) -> None:
        """What a box has of a chunk."""
        source = self._source
        number = 0
        for place, count in zip(index, self._grid, strict=True):
            number = number * count + place
        chunk = source.chunks[number]
        start = [n * size for n, size in zip(index, source.chunk_shape, strict=True)]
        low = [max(a, b) for a, b in zip(box.start, start, strict=True)]
        ends = zip(box.start, box.sizes, start, chunk.shape, strict=True)
        high = [min(a + m, b + n) for a, m, b, n in ends]
        sizes = tuple(b - a for a, b in zip(low, high, strict=True))
        own = tuple(a - b for a, b in zip(low, start, strict=True))
        place_in = tuple(
            slice(a - b, a - b + n) for a, b, n in zip(low, box.start, sizes, strict=True)
        )
        part[place_in] = read_box(chunk, Box(own, sizes), self._readers)

    def close(self) -> None:
        """Its readers are closed by whom they belong to."""


@dataclass(frozen=True, eq=False)
class FillSource:
    """So many bytes of one word, again and again."""

    path: Path
    nbytes: int
    word: bytes
    has_file = False

    def open(self, _: Readers) -> "FillSource":
        return self

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from the start of a word on."""
        words = np.frombuffer(buffer, f"V{len(self.word)}")
        words[:] = np.frombuffer(self.word, words.dtype)

    def close(self) -> None:
        """Nothing is open."""
