"""The sketch of every tensor of a checkpoint, counted by threads over stretches of the files."""

from collections.abc import Iterator
from threading import Event

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.quantised.decoded import DecodedReader, DecodedSource
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import BLOCK_NBYTES, Tensor
from scalecheck.measure.counting import MAX_WORDS, Counter
from scalecheck.measure.pipeline import Portion, Progress, worked
from scalecheck.measure.sketch import Sketch


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
    parts = worked(_untied(tensors), _Counting, jobs, progress)
    firsts = {tensor.tied_to for tensor in tensors}
    kept: dict[str | None, Sketch] = {}
    for tensor in tensors:
        is_tied = tensor.tied_to in kept
        whole = kept[tensor.tied_to] if is_tied else Sketch.merge(next(parts))
        if tensor.name in firsts:
            kept[tensor.name] = whole
        yield tensor, whole


def _untied(tensors: tuple[Tensor, ...]) -> Iterator[tuple[Tensor]]:
    """Those that are not tied to one before them."""
    seen: set[str | None] = set()
    for tensor in tensors:
        if tensor.tied_to not in seen:
            yield (tensor,)
        seen.add(tensor.name)


class _Counting:
    """The buffer and the tables of one thread."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._buffer: NDArray[np.uint8] = np.empty(BLOCK_NBYTES, np.uint8)
        self._counters: dict[str, Counter] = {}

    def __call__(self, portion: Portion, readers: Readers) -> Sketch:
        (tensor,) = portion.tensors
        if not portion.nbytes:
            return Sketch()
        words = tensor.dtype.name if tensor.dtype.is_narrow else tensor.dtype.words or ""
        counter = self._counters.get(words)
        if counter is None:
            counter = self._counters[words] = Counter(tensor.dtype)
        source = tensor.source
        if isinstance(source, DecodedSource) and source.is_tiled:
            reader = DecodedReader(source, readers)
            first = tensor.offset // tensor.dtype.itemsize
            for tiles in reader.tiles(first + portion.start, first + portion.stop):
                if self._stop.is_set():
                    break
                counter.add_tiles(tiles)
            return counter.take()
        parts, room = [], MAX_WORDS
        for block in tensor.blocks(
            portion.start, portion.stop, readers=readers, buffer=self._buffer
        ):
            if self._stop.is_set():
                break
            if len(block) > room:
                parts.append(counter.take())
                room = MAX_WORDS
            counter.add(block)
            room -= len(block)
        return Sketch.merge([*parts, counter.take()])
