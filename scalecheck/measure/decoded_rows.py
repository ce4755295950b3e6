"""The beginnings of the rows, and of the columns, of a weight that is stored as codes: a few
numbers of each are decoded, those of many rows at once."""

from collections.abc import Iterator

import numpy as np

from scalecheck.checkpoint.quantised.decoded import DecodedReader, DecodedSource, FloatArray
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import Tensor

COUNT = 64  # numbers of a row: codes of 2 bits tell rows by as many
_AT_ONCE = 1 << 11  # rows


def has_rows(tensor: Tensor, length: int) -> bool:
    """Whether it is decoded from a table of codes whose rows, or columns, are its rows."""
    source = tensor.source
    if not isinstance(source, DecodedSource) or tensor.offset:
        return False
    own = source.codes.columns if tensor.strides is None else source.codes.rows
    return own == length and (tensor.strides is None or _is_transposed(tensor))


def beginnings(tensor: Tensor, length: int) -> Iterator[tuple[int, FloatArray]]:
    """The first numbers of every row, some rows at a time: the first row's index, and an array of
    shape (n, min(COUNT, length))."""
    yield from _stretches(
        tensor, tensor.numel // length, min(COUNT, length), _is_transposed(tensor)
    )


def may_have_zero_columns(tensor: Tensor) -> bool:
    """Whether the first numbers of some column of a matrix are all 0."""
    rows, columns = tensor.shape
    stretches = _stretches(tensor, columns, min(COUNT, rows), not _is_transposed(tensor))
    return any((numbers == 0).all(axis=1).any() for _, numbers in stretches)


def _is_transposed(tensor: Tensor) -> bool:
    return tensor.strides is not None and tensor.strides == (1, tensor.shape[0])


def _stretches(
    tensor: Tensor, lines: int, count: int, are_columns: bool
) -> Iterator[tuple[int, FloatArray]]:
    """The first numbers of each row of the table of codes, or column of it."""
    source = tensor.source
    assert isinstance(source, DecodedSource)
    with Readers() as readers:
        reader = DecodedReader(source, readers)
        for first in range(0, lines, _AT_ONCE):
            some = first, min(first + _AT_ONCE, lines)
            if are_columns:
                yield first, np.ascontiguousarray(reader.box((0, count), some).T)
            else:
                yield first, reader.box(some, (0, count))
