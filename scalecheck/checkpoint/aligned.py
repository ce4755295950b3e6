"""The elements of several tensors side by side, as an update is computed from averages and weights.
Tensors of one shape may lie in different orders, as a transposed weight and its state do."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.boxes import (
    Box,
    boxes,
    places,
    read_box,
    row_major_steps,
    steps_of,
)
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import BLOCK_NBYTES, Tensor
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import excerpt

ALIGNED = BLOCK_NBYTES // 8  # elements of each tensor in a block of several, as float64
PART = 8 * ALIGNED  # elements of each tensor in a box of those that lie in different orders


def aligned(tensors: Sequence[Tensor]) -> Iterator[tuple[NDArray[np.float64], ...]]:
    """The elements of tensors of one shape side by side: of each the same ones, decoded, a block at
    a time, shape (n,).

    Tensors that lie in their files in one order are read in it, others in boxes; either way each
    byte is read about once. Raises CheckpointError as `Tensor.blocks` does, and where the shapes
    differ.
    """
    with Readers() as readers:
        for blocks in aligned_words(tensors, readers):
            yield tuple(
                tensor.dtype.decode(block) for tensor, block in zip(tensors, blocks, strict=True)
            )


def aligned_words(
    tensors: Sequence[Tensor], readers: Readers, start: int = 0, stop: int | None = None
) -> Iterator[tuple[NDArray[np.generic], ...]]:
    """As `aligned`, the words as they are stored. A block may be overwritten by the next one. Only
    dense tensors that lie in one order can be read in part, from `start` to `stop`."""
    _require_one_shape(tensors)
    strides = [*map(steps_of, tensors)]
    if strides.count(strides[0]) == len(strides):
        streams = [
            tensor.blocks(
                start,
                stop,
                readers=readers,
                buffer=np.empty(ALIGNED * tensor.dtype.itemsize, np.uint8),
            )
            for tensor in tensors
        ]
        yield from zip(*streams, strict=True)
    else:
        for _, blocks in _boxed(tensors, readers):
            yield blocks


def placed(
    tensors: Sequence[Tensor],
) -> Iterator[tuple[NDArray[np.intp], tuple[NDArray[np.float64], ...]]]:
    """As `aligned`, with the places of the elements in row-major order, shape (n,)."""
    if all(tensor.strides is None for tensor in tensors):
        start = 0
        for elements in aligned(tensors):
            yield np.arange(start, start + len(elements[0])), elements
            start += len(elements[0])
        return
    _require_one_shape(tensors)
    with Readers() as readers:
        for box, blocks in _boxed(tensors, readers):
            yield (
                places(box.start, box.sizes, tensors[0].shape),
                tuple(tensor.dtype.decode(b) for tensor, b in zip(tensors, blocks, strict=True)),
            )


def _require_one_shape(tensors: Sequence[Tensor]) -> None:
    first, *others = tensors
    for other in others:
        if other.shape != first.shape:
            raise CheckpointError(
                other.source.path,
                f"{excerpt(other.name)} has shape {list(other.shape)},"
                f" {excerpt(first.name)} {list(first.shape)}",
            )


def _boxed(
    tensors: Sequence[Tensor], readers: Readers
) -> Iterator[tuple[Box, tuple[NDArray[np.generic], ...]]]:
    """Each box of tensors of one shape, with the words of each in row-major order, shape (n,)."""
    for box in boxes(tensors[0].shape, [*map(steps_of, tensors)], PART):
        yield box, tuple(read_box(tensor, box, readers).ravel() for tensor in tensors)


def row_major(tensor: Tensor) -> Iterator[NDArray[np.float64]]:
    """All elements of a tensor in row-major order, decoded, some at a time, shape (n,). Raises
    CheckpointError as `Tensor.blocks` does."""
    if tensor.strides is None:
        buffer = np.empty(ALIGNED * tensor.dtype.itemsize, np.uint8)
        yield from map(tensor.dtype.decode, tensor.blocks(buffer=buffer))
    else:
        with Readers() as readers:
            for box in boxes(tensor.shape, [row_major_steps(tensor.shape)], PART):
                yield tensor.dtype.decode(read_box(tensor, box, readers).ravel())
