"""The elements of several tensors side by side, as an update is computed from averages and weights.
Tensors of one shape may lie in different orders, as a transposed weight and its state do."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.tensor import BLOCK_NBYTES, Reader, Source, Tensor
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import excerpt

ALIGNED = BLOCK_NBYTES // 8  # elements of each tensor in a block of several, as float64
PART = 8 * ALIGNED  # elements at once of tensors that lie in different orders: each part is a pass


def aligned(tensors: Sequence[Tensor]) -> Iterator[tuple[NDArray[np.float64], ...]]:
    """The elements of tensors of one shape side by side: of each the same ones, decoded, a block at
    a time, shape (n,).

    Tensors that lie in their files in one order are read in it, once. Others are read in row-major
    order, a transposed one as often as it has parts of `PART` elements. Raises CheckpointError as
    `Tensor.blocks` does, and where the shapes differ.
    """
    for blocks in aligned_words(tensors):
        yield tuple(
            tensor.dtype.decode(block) for tensor, block in zip(tensors, blocks, strict=True)
        )


def aligned_words(
    tensors: Sequence[Tensor],
    start: int = 0,
    stop: int | None = None,
    readers: Mapping[Source, Reader] = MappingProxyType({}),
) -> Iterator[tuple[NDArray[np.generic], ...]]:
    """As `aligned`, the words as they are stored. A block may be overwritten by the next one. Only
    dense tensors that lie in one order can be read in part, from `start` to `stop`."""
    first, *others = tensors
    for other in others:
        if other.shape != first.shape:
            raise CheckpointError(
                other.source.path,
                f"{excerpt(other.name)} has shape {list(other.shape)},"
                f" {excerpt(first.name)} {list(first.shape)}",
            )
    if len({_steps(tensor) for tensor in tensors}) == 1:
        streams = [
            tensor.blocks(
                start,
                stop,
                reader=readers.get(tensor.source),
                buffer=np.empty(ALIGNED * tensor.dtype.itemsize, np.uint8),
            )
            for tensor in tensors
        ]
        yield from zip(*streams, strict=True)
    else:
        for parts in zip(*map(_parts, tensors), strict=True):
            yield tuple(map(_row_major, parts))


def row_major(tensor: Tensor) -> Iterator[NDArray[np.float64]]:
    """All elements of a tensor in row-major order, decoded, some at a time, shape (n,). Raises
    CheckpointError as `Tensor.blocks` does."""
    if tensor.strides is None:
        buffer = np.empty(ALIGNED * tensor.dtype.itemsize, np.uint8)
        yield from map(tensor.dtype.decode, tensor.blocks(buffer=buffer))
    else:
        yield from map(tensor.dtype.decode, map(_row_major, _parts(tensor)))


def _steps(tensor: Tensor) -> tuple[int, ...]:
    """Its strides; equal for tensors that lie in one order."""
    if tensor.strides is not None:
        return tensor.strides
    return tuple(math.prod(tensor.shape[axis + 1 :]) for axis in range(len(tensor.shape)))


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """It in parts of at most `PART` elements, in row-major order."""
    if tensor.numel <= PART:
        yield tensor
        return
    (rows, *inner), (step, *steps) = tensor.shape, _steps(tensor)
    at_once = max(1, PART // math.prod(inner))
    for row in range(0, rows, at_once):
        offset = tensor.offset + row * step * tensor.dtype.itemsize
        if at_once > 1:
            shape, strides = (min(at_once, rows - row), *inner), (step, *steps)
        else:
            shape, strides = (*inner,), (*steps,)
        yield from _parts(replace(tensor, shape=shape, offset=offset, strides=strides))


def _row_major(tensor: Tensor) -> NDArray[np.generic]:
    """All its words in row-major order."""
    steps = _steps(tensor)
    axes = sorted(range(len(steps)), key=steps.__getitem__, reverse=True)
    stored = np.concatenate([block.copy() for block in tensor.blocks()])
    in_order = stored.reshape([tensor.shape[axis] for axis in axes])
    return in_order.transpose(np.argsort(axes)).ravel()
