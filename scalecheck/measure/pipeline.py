"""Pieces of files worked on by threads, in stretches: one huge tensor uses all cores, and ten
thousand small ones cost little more than their bytes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from threading import Event
from typing import Protocol, TypeVar

from scalecheck.checkpoint.tensor import Reader, Source
from scalecheck.errors import UsageError

MAX_JOBS = 256  # threads; each holds a block and its tables, some 6 MB
STRETCH_NBYTES = 32 << 20  # what a worker takes at a time: long beside its end, short to wait for

Progress = Callable[[int, int], None]
"""Told of the bytes read so far and of those there are to read, a few times a second or more."""

Readers = Mapping[Source, Reader]


class Piece(Protocol):
    """Work that is done at once: how many bytes it reads, and of which files."""

    @property
    def nbytes(self) -> int: ...

    @property
    def sources(self) -> tuple[Source, ...]: ...


P = TypeVar("P", bound=Piece)
R = TypeVar("R")

Worker = Callable[[P, Readers], R]
"""Works on a piece with its files open. It is used by one thread at a time, and keeps its buffers
from piece to piece."""


def in_stretches(
    pieces: Iterable[P],
    new_worker: Callable[[Event], Worker[P, R]],
    total: int,
    jobs: int | None,
    progress: Progress,
) -> Iterator[tuple[P, R]]:
    """Each piece with the worker's result, in order; at most a few stretches are worked on ahead.

    `new_worker` is called for each of the `jobs` threads, as many as cores where None, with an
    event that says when to stop. `progress` is called from this thread; total: bytes of all pieces.
    Raises UsageError for a number of jobs that is none, and what a worker raises.
    """
    if jobs is not None and not 1 <= jobs <= MAX_JOBS:
        raise UsageError(f"--jobs {jobs}: 1 to {MAX_JOBS} threads")
    done = 0
    for stretch, results in _worked(_stretches(pieces), new_worker, jobs or cores()):
        done += sum(piece.nbytes for piece in stretch)
        progress(done, total)
        yield from zip(stretch, results, strict=True)


def cores() -> int:
    """The processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _stretches(pieces: Iterable[P]) -> Iterator[list[P]]:
    """The pieces gathered into stretches of about STRETCH_NBYTES."""
    stretch: list[P] = []
    nbytes = 0
    for piece in pieces:
        stretch.append(piece)
        nbytes += piece.nbytes
        if nbytes >= STRETCH_NBYTES:
            yield stretch
            stretch, nbytes = [], 0
    if stretch:
        yield stretch


def _worked(
    stretches: Iterator[list[P]], new_worker: Callable[[Event], Worker[P, R]], jobs: int
) -> Iterator[tuple[list[P], list[R]]]:
    """Each stretch with its results, in order; without threads where there is but one."""
    first = [stretch for _, stretch in zip(range(2), stretches, strict=False)]
    stretches = chain(first, stretches)
    stop = Event()
    if jobs == 1 or len(first) < 2:
        worker = new_worker(stop)
        for stretch in stretches:
            yield stretch, _results(stretch, worker)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    idle = deque(new_worker(stop) for _ in range(jobs))

    def task(stretch: list[P]) -> list[R]:
        worker = idle.popleft()
        try:
            return _results(stretch, worker)
        finally:
            idle.append(worker)

    pool = ThreadPoolExecutor(jobs, thread_name_prefix="scalecheck")
    try:
        ahead: deque[tuple[list[P], Future[list[R]]]] = deque()
        for stretch in stretches:
            ahead.append((stretch, pool.submit(task, stretch)))
            if len(ahead) > 2 * jobs:
                stretch, future = ahead.popleft()
                yield stretch, future.result()
        for stretch, future in ahead:
            yield stretch, future.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _results(stretch: list[P], worker: Worker[P, R]) -> list[R]:
    """The worker's result of each piece; the files of one stay open for the next."""
    readers: dict[Source, Reader] = {}
    results = []
    held: tuple[Source, ...] = ()
    try:
        for piece in stretch:
            if piece.nbytes and (sources := piece.sources) != held:
                held = sources
                for source in readers.keys() - {*held}:
                    readers.pop(source).close()
                for source in held:
                    if source not in readers:
                        readers[source] = source.open()
            results.append(worker(piece, readers))
        return results
    finally:
        for reader in readers.values():
            reader.close()
