"""The elements of a parameter's state side by side, block by block, as an update follows from them:
entries of the parameter's shape, and averages over its rows and columns."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.aligned import ALIGNED, aligned, row_major
from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.optimizers.contract import Entry
from scalecheck.updates.recognition import entries_of

FloatArray = NDArray[np.float64]
Block = tuple[Mapping[str, FloatArray], FloatArray | None]


def blocks(state: ParamState, weights: Tensor | None = None) -> Iterator[Block]:
    """The elements of a state by the names of its entries, as last_update_from_state takes them,
    and of the weights where they are given and of the parameter's shape; of shape (n,). Raises
    CheckpointError as `Tensor.blocks` does."""
    own = {name: tensor for name, tensor in state.tensors.items() if tensor.shape == state.shape}
    rows, columns = (
        {name: state.tensors[name] for name in entries_of(kind) if name in state.tensors}
        for kind in (Entry.SECOND_MOMENT_ROWS, Entry.SECOND_MOMENT_COLUMNS)
    )
    if not own:
        yield from _side_by_side(rows or dict(list(state.tensors.items())[:1]), None)
    elif rows and columns and state.shape is not None:
        yield from _factored(own, rows, columns, state.shape, _fitting(weights, state))
    else:
        yield from _side_by_side(own, _fitting(weights, state))


def _fitting(weights: Tensor | None, state: ParamState) -> Tensor | None:
    return weights if weights is not None and weights.shape == state.shape else None


def _side_by_side(tensors: Mapping[str, Tensor], weights: Tensor | None) -> Iterator[Block]:
    every = [*tensors.values()] if weights is None else [*tensors.values(), weights]
    for elements in aligned(every):
        yield (
            dict(zip(tensors, elements, strict=False)),
            None if weights is None else elements[-1],
        )


def _factored(
    own: Mapping[str, Tensor],
    rows: Mapping[str, Tensor],
    columns: Mapping[str, Tensor],
    shape: tuple[int, ...],
    weights: Tensor | None,
) -> Iterator[Block]:
    """Each element beside the averages over its row and its column, in row-major order."""
    height, width = shape[-2:]
    row = {name: _whole(tensor).reshape(-1, height) for name, tensor in rows.items()}
    with np.errstate(all="ignore"):
        row = {name: (each / each.mean(1, keepdims=True)).ravel() for name, each in row.items()}
    column = {name: _whole(tensor) for name, tensor in columns.items()}
    every = [*own.values()] if weights is None else [*own.values(), weights]
    streams = [_evenly(row_major(tensor)) for tensor in every]
    start = 0
    for elements in zip(*streams, strict=True):
        place = np.arange(start, start + elements[0].size)
        start = int(place[-1]) + 1
        block = dict(zip(own, elements, strict=False))
        block |= {name: each[place // width] for name, each in row.items()}
        at = place // (height * width) * width + place % width
        block |= {name: each[at] for name, each in column.items()}
        yield block, None if weights is None else elements[-1]


def _whole(tensor: Tensor) -> FloatArray:
    return np.concatenate([block.copy() for block in row_major(tensor)])


def _evenly(parts: Iterator[FloatArray]) -> Iterator[FloatArray]:
    """The same elements, `ALIGNED` at a time."""
    left = np.empty(0)
    for part in parts:
        left = np.concatenate((left, part))
        while left.size >= ALIGNED:
            yield left[:ALIGNED]
            left = left[ALIGNED:]
    if left.size:
        yield left
