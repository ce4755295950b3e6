"""The sketch of every tensor of a checkpoint, counted by threads over stretches of the files."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from threading import Event

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.tensor import BLOCK_NBYTES, Source, Tensor
from scalecheck.measure.counting import MAX_WORDS, Counter
from scalecheck.measure.pipeline import STRETCH_NBYTES, Progress, Readers, in_stretches
from scalecheck.measure.sketch import Sketch


@dataclass(frozen=True)
class _Piece:
    """Elements `start` to `stop` of a tensor; none are read where it is `tied` to one before."""

    tensor: Tensor
    start: int
    stop: int
    tied: bool
    nbytes: int

    @property
    def sources(self) -> tuple[Source, ...]:
        return (self.tensor.source,)


def measure(
    tensors: tuple[Tensor, ...],
    jobs: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Iterator[tuple[Tensor, Sketch]]:
    """Every tensor with the sketch of its elements, in the order given; a tie shares its sketch.

    `jobs` threads, as many as cores where None; the result does not depend on it. `progress` is
    called from this thread with the bytes read so far and in all. Raises CheckpointError where a
    tensor cannot be read, UsageError for a number of jobs that is none.
    """
    total = sum(tensor.nbytes for tensor, tied in _with_ties(tensors) if not tied)
    firsts = {tensor.tied_to for tensor in tensors}
    kept: dict[str | None, Sketch] = {}
    parts: list[Sketch] = []
    for piece, sketch in in_stretches(_pieces(tensors), _Counting, total, jobs, progress):
        parts.append(sketch)
        if piece.stop != piece.tensor.numel:
            continue
        whole = kept[piece.tensor.tied_to] if piece.tied else Sketch.merge(parts)
        parts = []
        if piece.tensor.name in firsts:
            kept[piece.tensor.name] = whole
        yield piece.tensor, whole


def _with_ties(tensors: Iterable[Tensor]) -> Iterator[tuple[Tensor, bool]]:
    """Each tensor, and whether the one it is tied to came before."""
    seen: set[str | None] = set()
    for tensor in tensors:
        yield tensor, tensor.tied_to in seen
        seen.add(tensor.name)


def _pieces(tensors: tuple[Tensor, ...]) -> Iterator[_Piece]:
    """The tensors in order, those that can be read in part cut into stretches."""
    for tensor, tied in _with_ties(tensors):
        itemsize = 0 if tied else tensor.dtype.itemsize
        step = STRETCH_NBYTES // itemsize if itemsize and tensor.is_dense else tensor.numel
        for start in range(0, max(1, tensor.numel), max(1, step)):
            stop = min(start + step, tensor.numel)
            yield _Piece(tensor, start, stop, tied, (stop - start) * itemsize)


class _Counting:
    """The buffer and the tables of one thread."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._buffer: NDArray[np.uint8] = np.empty(BLOCK_NBYTES, np.uint8)
        self._counters: dict[str, Counter] = {}

    def __call__(self, piece: _Piece, readers: Readers) -> Sketch:
        """The sketch of a piece; nothing is read for a tie."""
        tensor = piece.tensor
        if not piece.nbytes:
            return Sketch()
        counter = self._counters.get(tensor.dtype.name)
        if counter is None:
            counter = self._counters[tensor.dtype.name] = Counter(tensor.dtype)
        parts, room = [], MAX_WORDS
        for block in tensor.blocks(
            piece.start, piece.stop, reader=readers[tensor.source], buffer=self._buffer
        ):
            if self._stop.is_set():
                break
            if len(block) > room:
                parts.append(counter.take())
                room = MAX_WORDS
            counter.add(block)
            room -= len(block)
        return Sketch.merge([*parts, counter.take()])
