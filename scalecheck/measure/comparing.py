"""The change between the elements of two tensors, by threads over stretches of both files."""

from collections.abc import Iterator, Sequence
from functools import partial
from threading import Event

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.aligned import aligned_words
from scalecheck.checkpoint.tensor import BLOCK_NBYTES, Tensor
from scalecheck.dtypes import DType
from scalecheck.measure.change import Change
from scalecheck.measure.pipeline import Piece, Progress, Readers, lie_alike, worked

_BLOCK = BLOCK_NBYTES // 8  # elements: two blocks of any type, and their float32, stay in the cache


def compare(
    pairs: Sequence[tuple[Tensor, Tensor]], jobs: int | None, progress: Progress
) -> Iterator[Change]:
    """The change of each pair of tensors of one shape, in the order given.

    `jobs` threads, as many as cores where None; the result does not depend on it. Raises
    CheckpointError where a tensor cannot be read, UsageError for a number of jobs that is none.
    """
    for changes in worked(pairs, lambda stop: partial(_compared, stop), jobs, progress):
        yield sum(changes, Change())


def _compared(stop: Event, piece: Piece, readers: Readers) -> Change:
    before, after = piece.tensors
    whole = Change()
    if not piece.nbytes:
        return whole
    blocks: Iterator[tuple[NDArray[np.generic], ...]] = aligned_words(piece.tensors)
    if lie_alike(piece.tensors):
        streams = (
            tensor.blocks(
                piece.start,
                piece.stop,
                reader=readers[tensor.source],
                buffer=np.empty(_BLOCK * tensor.dtype.itemsize, np.uint8),
            )
            for tensor in piece.tensors
        )
        blocks = zip(*streams, strict=True)
    for was, now in blocks:
        if stop.is_set():
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
