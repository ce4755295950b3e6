"""Tensors whose elements do not lie in their files in row-major order, read in boxes. A box is
chosen so that what is read of it lies in long stretches: each byte is read about once, however the
tensor is permuted."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import Tensor

PAGE_NBYTES = 4096  # what reading a byte costs anyway


@dataclass(frozen=True)
class Box:
    """The indices from `start` on, `sizes` of them along each dimension."""

    start: tuple[int, ...]
    sizes: tuple[int, ...]


def steps_of(tensor: Tensor) -> tuple[int, ...]:
    """Its strides; equal for tensors that lie in one order."""
    return row_major_steps(tensor.shape) if tensor.strides is None else tensor.strides


def row_major_steps(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a tensor whose elements lie in row-major order."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def boxes(shape: Sequence[int], strides: Sequence[Sequence[int]], most: int) -> Iterator[Box]:
    """All of a shape in boxes of at most so many elements, the last dimension first. strides: those
    of each tensor of it that is read, which share in the length of a box."""
    sizes = _sizes(shape, strides, most)
    for start in product(*(range(0, n, size) for n, size in zip(shape, sizes, strict=True))):
        ends = (min(size, n - at) for size, n, at in zip(sizes, shape, start, strict=True))
        yield Box(start, (*ends,))


def _sizes(shape: Sequence[int], strides: Sequence[Sequence[int]], most: int) -> list[int]:
    """Of a box: along each tensor's order a stretch of as many elements as all can have, and what
    room is left along the order of the first."""
    sizes = [1] * len(shape)
    length = int(most ** (1 / len(strides)))
    for steps in strides:
        stretch = 1
        for axis in sorted(range(len(shape)), key=steps.__getitem__):
            sizes[axis] = max(sizes[axis], min(shape[axis], length // stretch))
            stretch *= max(1, sizes[axis])
            if sizes[axis] < shape[axis] or stretch >= length:
                break
    for axis in sorted(range(len(shape)), key=strides[0].__getitem__):
        room = most // max(1, math.prod(sizes))
        sizes[axis] = max(1, min(shape[axis], sizes[axis] * max(1, room)))
    return sizes


def read_box(tensor: Tensor, box: Box, readers: Readers) -> NDArray[np.generic]:
    """The words of a box, in its shape. Raises CheckpointError as `Tensor.blocks` does."""
    words_type = tensor.words_type
    steps, itemsize = steps_of(tensor), tensor.dtype.itemsize
    outer, inner, span = _split(box.sizes, steps, itemsize)
    stretch = np.empty(span, words_type)
    elements = np.lib.stride_tricks.as_strided(
        stretch,
        [box.sizes[axis] for axis in inner],
        [steps[axis] * itemsize for axis in inner],
        writeable=False,
    )
    places = np.full(1, _at(box.start, steps))
    for axis in outer:
        places = (places[:, None] + np.arange(box.sizes[axis]) * steps[axis]).ravel()
    found = np.empty((len(places), *elements.shape), stretch.dtype)
    reader = readers[tensor.source]
    for number, place in enumerate(places.tolist()):
        reader.fill(tensor.offset + place * itemsize, stretch.view(np.uint8).data)
        found[number] = elements
    axes = [*outer, *inner]
    in_order = found.reshape([box.sizes[axis] for axis in axes])
    permuted = in_order.transpose(np.argsort(axes))
    return np.ascontiguousarray(permuted).reshape(box.sizes)  # which are none for one number


def _split(
    sizes: Sequence[int], steps: Sequence[int], itemsize: int
) -> tuple[list[int], list[int], int]:
    """The dimensions of a box along which it is read place by place, those that are read at once,
    and over how many elements these step: at most twice what is wanted, in a page 8 times."""
    outer = sorted(range(len(sizes)), key=steps.__getitem__, reverse=True)
    inner: list[int] = []
    span = wanted = 1
    while outer:
        axis = outer[-1]
        wanted *= sizes[axis]
        longer = span + (sizes[axis] - 1) * steps[axis]
        is_in_a_page = longer * itemsize <= PAGE_NBYTES
        if longer > wanted * (8 if is_in_a_page else 2):
            break
        span = longer
        inner.insert(0, outer.pop())
    return outer, inner, span


def places(start: Sequence[int], sizes: Sequence[int], shape: Sequence[int]) -> NDArray[np.intp]:
    """The places, in row-major order, of the elements of a box in its shape; shape (n,)."""
    found = np.full(1, _at(start, row_major_steps(shape)))
    for size, step in zip(sizes, row_major_steps(shape), strict=True):
        found = (found[:, None] + np.arange(size) * step).ravel()
    return found


def _at(index: Sequence[int], steps: Sequence[int]) -> int:
    return sum(i * step for i, step in zip(index, steps, strict=True))
