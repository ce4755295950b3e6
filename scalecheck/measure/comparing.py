"""The change between the elements of two tensors, by threads over stretches of both files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Event

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.aligned import aligned_words
from scalecheck.checkpoint.tensor import BLOCK_NBYTES, Source, Tensor
from scalecheck.dtypes import DType
from scalecheck.measure.change import Change
from scalecheck.measure.pipeline import STRETCH_NBYTES, Progress, Readers, in_stretches

_BLOCK = BLOCK_NBYTES // 8  # elements: two blocks of any type, and their float32, stay in the cache


@dataclass(frozen=True)
class _Piece:
    """Elements `start` to `stop` of a pair, in the order of storage."""

    before: Tensor
    after: Tensor
    start: int
    stop: int
    nbytes: int

    @property
    def sources(self) -> tuple[Source, ...]:
        return (self.before.source, self.after.source)


def compare(
    pairs: Sequence[tuple[Tensor, Tensor]],
    jobs: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Iterator[Change]:
    """The change of each pair of tensors of one shape, in the order given.

    `jobs` threads, as many as cores where None; the result does not depend on it. `progress` is
    called with the bytes read so far and in all. Raises CheckpointError where a tensor cannot be
    read, UsageError for a number of jobs that is none.
    """
    total = sum(before.nbytes + after.nbytes for before, after in pairs)
    whole = Change()
    for piece, change in in_stretches(_pieces(pairs), _Comparing, total, jobs, progress):
        whole += change
        if piece.stop == piece.before.numel:
            yield whole
            whole = Change()


def _pieces(pairs: Sequence[tuple[Tensor, Tensor]]) -> Iterator[_Piece]:
    """The pairs in order, those that can be read in part cut into stretches."""
    for before, after in pairs:
        itemsize = before.dtype.itemsize + after.dtype.itemsize
        step = STRETCH_NBYTES // itemsize if _are_alike(before, after) else before.numel
        for start in range(0, max(1, before.numel), max(1, step)):
            stop = min(start + step, before.numel)
            yield _Piece(before, after, start, stop, (stop - start) * itemsize)


def _are_alike(before: Tensor, after: Tensor) -> bool:
    """Whether their elements lie one after another in the same order."""
    return before.is_dense and after.is_dense and before.strides == after.strides


class _Comparing:
    """Compares pieces until it is told to stop."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop

    def __call__(self, piece: _Piece, readers: Readers) -> Change:
        before, after = piece.before, piece.after
        whole = Change()
        if not piece.nbytes:
            return whole
        if _are_alike(before, after):
            streams: list[Iterator[NDArray[np.generic]]] = [
                tensor.blocks(
                    piece.start,
                    piece.stop,
                    reader=readers[tensor.source],
                    buffer=np.empty(_BLOCK * tensor.dtype.itemsize, np.uint8),
                )
                for tensor in (before, after)
            ]
            blocks: Iterator[tuple[NDArray[np.generic], ...]] = zip(*streams, strict=True)
        else:
            blocks = aligned_words([before, after])
        for was, now in blocks:
            if self._stop.is_set():
                break
            whole += _between(was, before.dtype, now, after.dtype)
        return whole


def _between(
    was: NDArray[np.generic], before: DType, now: NDArray[np.generic], after: DType
) -> Change:
    """The change from words to others; where one side is no float, counted and not summed."""
    if before.is_float and after.is_float:
        kind = _kind(before, after)
        return Change.of(_numbers(was, before, kind), _numbers(now, after, kind), kind)
    if before != after:  # words of 16 bits and less are those of an unsigned type
        was, now = (
            dtype.decode(words) if dtype.is_narrow else words
            for words, dtype in ((was, before), (now, after))
        )
    return Change(len(was), int(np.count_nonzero(was != now)))


def _kind(before: DType, after: DType) -> str:
    """In which numbers two types of floats are compared: as they are stored, or the least that hold
    both."""
    if before.name == after.name == "BF16":
        return "b2"
    fit = all(dtype.is_narrow or dtype.name == "F32" for dtype in (before, after))
    return "f4" if fit else "f8"


def _numbers(words: NDArray[np.generic], dtype: DType, kind: str) -> NDArray[np.generic]:
    """The words of floats as numbers of a kind that holds them."""
    if kind == "b2" or (kind == "f4" and dtype.name == "F32"):
        return words
    if kind == "f4" and dtype.name == "BF16":
        shifted: NDArray[np.uint32] = words.view("<u2").astype(np.uint32) << np.uint32(16)
        return shifted.view(np.float32)
    decoded = dtype.decode(words)
    return decoded.astype(np.float32) if kind == "f4" else decoded
