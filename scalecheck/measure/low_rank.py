"""Norms of products of two low-rank factors, exact through their Gram matrices: ‖B·A‖² is
Σ (BᵀB)∘(AAᵀ). Nothing of the product's size is formed, and of a factor no more than a block."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.boxes import Box, read_box
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import Tensor

FloatArray = NDArray[np.float64]

_ELEMENTS = 1 << 20  # of a tensor that are read at once: short stretches cost a read each

Rows = Callable[[Sequence[FloatArray]], Sequence[FloatArray]]
"""Makes rows of a part of some tensors, each of shape (rank, n) or of another rank."""


def as_they_are(parts: Sequence[FloatArray]) -> Sequence[FloatArray]:
    return parts


def gram(tensors: Sequence[Tensor], rows: Rows = as_they_are) -> FloatArray:
    """X·Xᵀ of the rows that are made of tensors of shapes (rank, …), whose sizes behind the rank
    are equal, element beside element. Raises CheckpointError as `Tensor.blocks` does."""
    total: FloatArray | None = None
    ranks = [tensor.shape[0] for tensor in tensors]
    with Readers() as readers, np.errstate(all="ignore"):
        for box in _parts(tensors[0].shape[1:], max(ranks)):
            read = [
                tensor.dtype.decode(
                    read_box(tensor, Box((0, *box.start), (rank, *box.sizes)), readers)
                ).reshape(rank, -1)
                for tensor, rank in zip(tensors, ranks, strict=True)
            ]
            stacked = np.concatenate(rows(read))
            own = stacked @ stacked.T
            total = own if total is None else total + own
    return np.zeros((0, 0)) if total is None else total


def _parts(shape: Sequence[int], rank: int) -> Iterator[Box]:
    """A shape in boxes that hold a block of numbers each where so many rows are read of it."""
    room = max(1, _ELEMENTS // rank)
    sizes = [1] * len(shape)
    for axis in reversed(range(len(shape))):
        sizes[axis] = max(1, min(shape[axis], room))
        room = max(1, room // sizes[axis])
    for start in product(*(range(0, n, size) for n, size in zip(shape, sizes, strict=True))):
        ends = (min(size, n - at) for size, n, at in zip(sizes, shape, start, strict=True))
        yield Box(start, (*ends,))


def product_norm(up: FloatArray, down: FloatArray, mixed: FloatArray | None = None) -> float:
    """‖X·M·Y‖ of factors with the Gram matrices XᵀX and YYᵀ, M the identity unless it is given.
    NaN where the factors have NaN or inf, or the norm leaves float64."""
    with np.errstate(all="ignore"):
        if mixed is not None:
            up = mixed.T @ up @ mixed
        square = float(np.sum(up * down))
    return math.sqrt(max(0.0, square)) if math.isfinite(square) else math.nan


def step_norm(up: FloatArray, down: FloatArray) -> float:
    """‖ΔB·A + B·ΔA − ΔB·ΔA‖, by which a step moved B·A that is now: of the Gram matrices of
    [B, ΔB] and of [A; ΔA]."""
    rank = len(up) // 2
    one, none = np.eye(rank), np.zeros((rank, rank))
    return product_norm(up, down, np.block([[none, one], [one, -one]]))
