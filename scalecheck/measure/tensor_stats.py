"""The scale of every tensor of a checkpoint, measured by threads over stretches of the files: one
huge tensor uses all cores, and ten thousand small ones cost little more than their bytes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from threading import Event

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.naming import family, layer
from scalecheck.checkpoint.tensor import BLOCK_NBYTES, Reader, Source, Tensor
from scalecheck.errors import UsageError
from scalecheck.measure.counting import MAX_WORDS, Counter
from scalecheck.measure.sketch import Sketch

MAX_JOBS = 256  # threads; each holds a block and its tables, some 6 MB
STRETCH_NBYTES = 32 << 20  # what a worker takes at a time: long beside its end, short to wait for


Progress = Callable[[int, int], None]
"""Told of the bytes read so far and of those there are to read, a few times a second or more."""


@dataclass(frozen=True)
class TensorStats:
    """What a report says of one tensor; None where there is no finite element."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    role: str
    layer: str
    family: str
    numel: int
    rms: float | None
    std: float | None
    mean: float | None
    absmax: float | None
    min: float | None
    max: float | None
    zeros: int
    nan: int
    inf: int
    tied_to: str | None = None

    @classmethod
    def of(cls, tensor: Tensor, sketch: Sketch) -> "TensorStats":
        """The scale of a tensor from the sketch of its elements."""
        return cls(
            tensor.name,
            tensor.dtype.name,
            tensor.shape,
            tensor.role,
            layer(tensor.name),
            family(tensor.name),
            tensor.numel,
            sketch.rms,
            sketch.std,
            sketch.mean,
            sketch.absmax,
            sketch.min,
            sketch.max,
            sketch.zeros,
            sketch.nan,
            sketch.inf,
            tensor.tied_to,
        )


@dataclass(frozen=True)
class _Piece:
    """Elements `start` to `stop` of a tensor; none are read where it is `tied` to one before."""

    tensor: Tensor
    start: int
    stop: int
    tied: bool

    @property
    def is_last(self) -> bool:
        return self.stop == self.tensor.numel

    @property
    def nbytes(self) -> int:
        return 0 if self.tied else (self.stop - self.start) * self.tensor.dtype.itemsize


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
    if jobs is not None and not 1 <= jobs <= MAX_JOBS:
        raise UsageError(f"--jobs {jobs}: 1 to {MAX_JOBS} threads")
    total = sum(tensor.nbytes for tensor, tied in _with_ties(tensors) if not tied)
    done = 0
    firsts = {tensor.tied_to for tensor in tensors}
    kept: dict[str | None, Sketch] = {}
    parts: list[Sketch] = []
    for work, sketches in _measured(_stretches(tensors), jobs or cores()):
        for piece, sketch in zip(work, sketches, strict=True):
            parts.append(sketch)
            if not piece.is_last:
                continue
            whole = kept[piece.tensor.tied_to] if piece.tied else Sketch.merge(parts)
            parts = []
            if piece.tensor.name in firsts:
                kept[piece.tensor.name] = whole
            yield piece.tensor, whole
        done += sum(piece.nbytes for piece in work)
        progress(done, total)


def cores() -> int:
    """The processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _with_ties(tensors: Iterable[Tensor]) -> Iterator[tuple[Tensor, bool]]:
    """Each tensor, and whether the one it is tied to came before."""
    seen: set[str | None] = set()
    for tensor in tensors:
        yield tensor, tensor.tied_to in seen
        seen.add(tensor.name)


def _stretches(tensors: tuple[Tensor, ...]) -> Iterator[list[_Piece]]:
    """The tensors cut and gathered into stretches of about STRETCH_NBYTES."""
    work: list[_Piece] = []
    nbytes = 0
    for tensor, tied in _with_ties(tensors):
        whole = tied or not tensor.is_dense
        step = tensor.numel if whole else STRETCH_NBYTES // tensor.dtype.itemsize
        for start in range(0, max(1, tensor.numel), max(1, step)):
            piece = _Piece(tensor, start, min(start + step, tensor.numel), tied)
            work.append(piece)
            nbytes += piece.nbytes
            if nbytes >= STRETCH_NBYTES:
                yield work
                work, nbytes = [], 0
    if work:
        yield work


def _measured(
    stretches: Iterator[list[_Piece]], workers: int
) -> Iterator[tuple[list[_Piece], list[Sketch]]]:
    """Each stretch with its sketches, in order, a few stretches ahead of the caller."""
    first = next(stretches, None)
    second = next(stretches, None)
    if first is None:
        return
    if workers == 1 or second is None:
        worker = _Worker(Event())
        for work in chain((first, *([second] if second else ())), stretches):
            yield work, worker.measure(work)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    stop = Event()
    idle = deque(_Worker(stop) for _ in range(workers))

    def task(work: list[_Piece]) -> list[Sketch]:
        worker = idle.popleft()
        try:
            return worker.measure(work)
        finally:
            idle.append(worker)

    pool = ThreadPoolExecutor(workers, thread_name_prefix="scalecheck")
    try:
        ahead: deque[tuple[list[_Piece], Future[list[Sketch]]]] = deque()
        for work in chain((first, second), stretches):
            ahead.append((work, pool.submit(task, work)))
            if len(ahead) > 2 * workers:
                work, future = ahead.popleft()
                yield work, future.result()
        for work, future in ahead:
            yield work, future.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


class _Worker:
    """A buffer, the tables and the open file of one thread."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._buffer: NDArray[np.uint8] = np.empty(BLOCK_NBYTES, np.uint8)
        self._counters: dict[str, Counter] = {}

    def measure(self, work: list[_Piece]) -> list[Sketch]:
        """The sketch of each piece; nothing is read for a tie."""
        sketches = []
        source: Source | None = None
        reader: Reader | None = None
        try:
            for piece in work:
                tensor = piece.tensor
                if piece.tied or not tensor.numel:
                    sketches.append(Sketch())
                    continue
                if reader is None or tensor.source is not source:
                    if reader is not None:
                        reader.close()
                    source, reader = tensor.source, tensor.source.open()
                sketches.append(self._sketch(piece, reader))
        finally:
            if reader is not None:
                reader.close()
        return sketches

    def _sketch(self, piece: _Piece, reader: Reader) -> Sketch:
        dtype = piece.tensor.dtype
        counter = self._counters.get(dtype.name)
        if counter is None:
            counter = self._counters[dtype.name] = Counter(dtype)
        parts, room = [], MAX_WORDS
        for block in piece.tensor.blocks(
            piece.start, piece.stop, reader=reader, buffer=self._buffer
        ):
            if self._stop.is_set():
                break
            if len(block) > room:
                parts.append(counter.take())
                room = MAX_WORDS
            counter.add(block)
            room -= len(block)
        return Sketch.merge([*parts, counter.take()])
