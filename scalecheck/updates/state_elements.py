"""The elements of a parameter's state side by side, block by block, as an update follows from them:
entries of the parameter's shape, as numbers or as codes, and averages over its rows and columns."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.aligned import ALIGNED, aligned, placed, row_major
from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.optimizers.contract import SECOND_MOMENTS, Entry
from scalecheck.updates.coded_entries import Coded, Numbers, coded_entries, numbered
from scalecheck.updates.recognition import entries_of

FloatArray = NDArray[np.float64]
Elements = Mapping[str, FloatArray]

LARGEST_WHOLE = 2**20  # elements; a square matrix of so many takes Muon's iteration a second
ROWS = (Entry.SECOND_MOMENT_ROWS, Entry.INSTABILITY_ROWS)
COLUMNS = (Entry.SECOND_MOMENT_COLUMNS, Entry.INSTABILITY_COLUMNS)


class Block(NamedTuple):
    """Some elements of a state by the names of its entries, as last_update_from_state takes them,
    and of the weights where they are given and of the parameter's shape; of shape (n,). smallest,
    largest: of a state of codes, those that are rounded to them and of the smallest and the largest
    update; None of a state of numbers. is_whole: the entries are whole tensors in their shapes."""

    entries: Elements
    weights: FloatArray | None = None
    smallest: Elements | None = None
    largest: Elements | None = None
    is_whole: bool = False


def is_small(state: ParamState) -> bool:
    """Whether its tensors can be taken as a whole."""
    return all(tensor.numel <= LARGEST_WHOLE for tensor in state.tensors.values())


def blocks(
    state: ParamState,
    kinds: Mapping[str, Entry],
    weights: Tensor | None = None,
    is_whole: bool = False,
) -> Iterator[Block]:
    """The elements of a state, or all its tensors as they are; kinds: the optimizer's entries.
    Raises CheckpointError as `Tensor.blocks` does."""
    if weights is not None and weights.shape != state.shape:
        weights = None
    if is_whole:
        floats = {name: one for name, one in state.tensors.items() if one.dtype.is_float}
        whole = {name: tensor.array() for name, tensor in floats.items()}
        numbers = {name: x for name, x in state.numbers.items() if isinstance(x, float)}
        entries = whole | {name: np.array(x) for name, x in numbers.items()}
        yield Block(entries, None if weights is None else weights.array().ravel(), is_whole=True)
        return
    names = [name for name, kind in kinds.items() if kind is not Entry.STEP]
    coded = coded_entries(state, names)
    renamed = {name: tensor for name, (tensor, *_) in numbered(state, names).items()}
    own = renamed or {n: one for n, one in state.tensors.items() if one.shape == state.shape}
    own = {name: tensor for name, tensor in own.items() if tensor.dtype.is_float}
    if coded:
        plain = {name: own[name] for name in own.keys() & kinds.keys() if name not in coded}
        yield from _decoded(coded, plain, weights)
        return
    rows, columns = (
        {name: state.tensors[name] for name in entries_of(*wanted) if name in state.tensors}
        for wanted in (ROWS, COLUMNS)
    )
    if not own:
        yield from _side_by_side(rows or dict(list(state.tensors.items())[:1]), None)
    elif rows and columns and state.shape is not None:
        yield from _factored(own, rows, columns, state.shape, weights)
    else:
        yield from _side_by_side(own, weights)


def _side_by_side(tensors: Mapping[str, Tensor], weights: Tensor | None) -> Iterator[Block]:
    every = [*tensors.values()] if weights is None else [*tensors.values(), weights]
    for elements in aligned(every):
        yield Block(
            dict(zip(tensors, elements, strict=False)),
            None if weights is None else elements[-1],
        )


def _decoded(
    coded: Mapping[str, Coded], plain: Mapping[str, Tensor], weights: Tensor | None
) -> Iterator[Block]:
    """Codes as numbers, in row-major order."""
    numbers = [_evenly(map(np.stack, each.numbers())) for each in coded.values()]
    own = [*plain.values()] if weights is None else [*plain.values(), weights]
    others = [_evenly(row_major(tensor)) for tensor in own]
    inverse = frozenset(entries_of(*SECOND_MOMENTS))
    for parts in zip(*numbers, *others, strict=True):
        found = {name: Numbers(*part) for name, part in zip(coded, parts, strict=False)}
        rest = dict(zip(plain, parts[len(coded) :], strict=False))
        small = {n: x.farthest if n in inverse else x.nearest for n, x in found.items()}
        large = {n: x.nearest if n in inverse else x.farthest for n, x in found.items()}
        yield Block(
            rest | {name: each.decoded for name, each in found.items()},
            None if weights is None else parts[-1],
            rest | small,
            rest | large,
        )


def _factored(
    own: Mapping[str, Tensor],
    rows: Mapping[str, Tensor],
    columns: Mapping[str, Tensor],
    shape: tuple[int, ...],
    weights: Tensor | None,
) -> Iterator[Block]:
    """Each element beside the averages over its row and its column."""
    height, width = shape[-2:]
    row = {name: _whole(tensor).reshape(-1, height) for name, tensor in rows.items()}
    with np.errstate(all="ignore"):
        row = {name: (each / each.mean(1, keepdims=True)).ravel() for name, each in row.items()}
    column = {name: _whole(tensor) for name, tensor in columns.items()}
    every = [*own.values()] if weights is None else [*own.values(), weights]
    for place, elements in placed(every):
        block = dict(zip(own, elements, strict=False))
        block |= {name: each[place // width] for name, each in row.items()}
        at = place // (height * width) * width + place % width
        block |= {name: each[at] for name, each in column.items()}
        yield Block(block, None if weights is None else elements[-1])


def _whole(tensor: Tensor) -> FloatArray:
    return np.concatenate([block.copy() for block in row_major(tensor)])


def _evenly(parts: Iterator[FloatArray]) -> Iterator[FloatArray]:
    """The same elements, along the last axis `ALIGNED` at a time."""
    left: FloatArray | None = None
    for part in parts:
        left = part if left is None else np.concatenate((left, part), axis=-1)
        while left.shape[-1] >= ALIGNED:
            yield left[..., :ALIGNED]
            left = left[..., ALIGNED:]
    if left is not None and left.shape[-1]:
        yield left
