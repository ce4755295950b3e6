"""Portions of tensors worked on by threads, in stretches: one huge tensor uses all cores, and ten
thousand small ones cost little more than their bytes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from threading import Event
from typing import TypeVar

from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.errors import UsageError

MAX_JOBS = 256  # threads; each holds a block and its tables, some 6 MB
STRETCH_NBYTES = 32 << 20  # what a worker takes at a time: long beside its end, short to wait for
STRETCH_PORTIONS = 1024  # at most, as each leaves a result

Progress = Callable[[int, int], None]
"""Told of the bytes read so far and of those there are to read, a few times a second or more."""


@dataclass(frozen=True)
class Portion:
    """Elements `start` to `stop` of tensors of one shape, in the order of storage."""

    tensors: tuple[Tensor, ...]
    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        """Bytes of its elements in storage."""
        share = self.stop - self.start
        numel = self.tensors[0].numel or 1
        return sum(tensor.nbytes * share // numel for tensor in self.tensors)

    @property
    def is_last(self) -> bool:
        return self.stop == self.tensors[0].numel


R = TypeVar("R")

Worker = Callable[[Portion, Readers], R]
"""Works on a portion, with readers that stay open for the next. It is used by one thread at a time,
and keeps its buffers from portion to portion."""


def worked(
    units: Iterable[tuple[Tensor, ...]],
    new_worker: Callable[[Event], Worker[R]],
    jobs: int | None,
    progress: Progress,
) -> Iterator[list[R]]:
    """The worker's results on the portions of each unit, which is a few tensors of one shape, in
    order; at most a few stretches are worked on ahead.

    `new_worker` is called for each of the `jobs` threads, as many as cores where None, with an
    event that says when to stop. `progress` is called from this thread. Raises UsageError for a
    number of jobs that is none, and what a worker raises.
    """
    if jobs is not None and not 1 <= jobs <= MAX_JOBS:
        raise UsageError(f"--jobs {jobs}: must be 1 to {MAX_JOBS} threads")
    units = list(units)
    total = sum(tensor.nbytes for unit in units for tensor in unit)
    done = 0
    parts = []
    for stretch, results in _in_threads(_stretches(units), new_worker, jobs or cores()):
        done += sum(portion.nbytes for portion in stretch)
        progress(done, total)
        for portion, result in zip(stretch, results, strict=True):
            parts.append(result)
            if portion.is_last:
                yield parts
                parts = []


def cores() -> int:
    """The processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _portions(units: Iterable[tuple[Tensor, ...]]) -> Iterator[Portion]:
    """The units in order, those that can be read in part cut into stretches."""
    for tensors in units:
        numel = tensors[0].numel
        is_one_order = len({tensor.strides for tensor in tensors}) == 1
        can_be_cut = is_one_order and all(tensor.is_dense for tensor in tensors)
        nbytes = sum(tensor.nbytes for tensor in tensors)
        step = max(1, STRETCH_NBYTES * numel // nbytes if nbytes and can_be_cut else numel)
        for start in range(0, max(1, numel), step):
            yield Portion(tensors, start, min(start + step, numel))


def _stretches(units: Iterable[tuple[Tensor, ...]]) -> Iterator[list[Portion]]:
    """The portions gathered into stretches of about STRETCH_NBYTES, of STRETCH_PORTIONS at most."""
    stretch: list[Portion] = []
    nbytes = 0
    for portion in _portions(units):
        stretch.append(portion)
        nbytes += portion.nbytes
        if nbytes >= STRETCH_NBYTES or len(stretch) == STRETCH_PORTIONS:
            yield stretch
            stretch, nbytes = [], 0
    if stretch:
        yield stretch


def _in_threads(
    stretches: Iterator[list[Portion]], new_worker: Callable[[Event], Worker[R]], jobs: int
) -> Iterator[tuple[list[Portion], list[R]]]:
    """Each stretch with its results, in order; without threads where there is but one."""
    first = [stretch for _, stretch in zip(range(2), stretches, strict=False)]
    stretches = chain(first, stretches)
    stop = Event()
    if jobs == 1 or len(first) < 2:
        worker = new_worker(stop)
        with Readers() as readers:
            for stretch in stretches:
                yield stretch, _results(stretch, worker, readers)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    idle = deque((new_worker(stop), Readers(jobs)) for _ in range(jobs))

    def task(stretch: list[Portion]) -> list[R]:
        worker, readers = idle.popleft()
        try:
            return _results(stretch, worker, readers)
        finally:
            idle.append((worker, readers))

    pool = ThreadPoolExecutor(jobs, thread_name_prefix="scalecheck")
    try:
        ahead: deque[tuple[list[Portion], Future[list[R]]]] = deque()
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
        for _, readers in idle:
            readers.close()


def _results(stretch: list[Portion], worker: Worker[R], readers: Readers) -> list[R]:
    """The worker's result of each portion, by readers that it is lent for all."""
    try:
        return [worker(portion, readers) for portion in stretch]
    finally:
        readers.renew()
