"""Weights that are stored as codes and factors, as a source of the numbers that these stand for."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.quantised.packed import Axis, Codes
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import Tensor

TILE = 1024  # codes that share a factor, from which on they are counted before they are decoded
_AT_ONCE = 1 << 20  # codes that are read for counting
KEPT = 1 << 15  # factors of a tensor up to which all are kept: a quarter of a mebibyte
_DECODED = 1 << 17  # numbers that are decoded at once: a mebibyte

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Blocks of a table that have a factor each: `matrices` of rows and columns under each other,
    each cut into blocks of `block` rows and columns, the last ones of which may be smaller.

    groups: the tensor that gives the factor's place of each row, or column, along `axis`.
    """

    matrices: int
    rows: int
    columns: int
    block: tuple[int, int]
    groups: Tensor | None = None
    axis: Axis = "rows"
    count: int = 0  # of groups

    @property
    def shape(self) -> tuple[int, int]:
        """How many factors there are along the rows of a matrix, and along its columns."""
        down, across = (-(-n // b) for n, b in zip(self._sizes, self.block, strict=True))
        if self.groups is not None:
            down, across = (self.count, across) if self.axis == "rows" else (down, self.count)
        return down, across

    @property
    def _sizes(self) -> tuple[int, int]:
        return self.rows, self.columns


@dataclass(frozen=True, eq=False)
class Tiles:
    """Codes of some rows and columns, in tiles that have one factor each.

    codes: shape (rows, columns). heights, widths: of the first tile down and across, and of the
    others. scales, shifts: of each tile in row-major order; a number is values[code]·scale + shift.
    """

    codes: NDArray[np.uint8]
    heights: tuple[int, int]
    widths: tuple[int, int]
    scales: FloatArray
    shifts: FloatArray | None
    values: FloatArray


@dataclass(frozen=True, eq=False)
class DecodedSource:
    """The numbers of a table of codes in row-major order, as float64: of a code c the number
    values[c]·scale + bias, or (values[c] − zero)·scale, with the factors of its block.

    values: of every code, or the tensor that holds them. scale, zero, bias: a factor of each block
    of the grid, in row-major order. offset: is added to all numbers. is_divisor: the scale divides.
    is_single: its library computes in float32, and so do we.
    """

    path: Path
    codes: Codes
    values: FloatArray | Tensor
    grid: Grid
    scale: Tensor | None
    zero: Tensor | None = None
    bias: Tensor | None = None
    offset: float = 0.0
    is_divisor: bool = False
    is_single: bool = False

    @property
    def nbytes(self) -> int:
        return 8 * self.codes.rows * self.codes.columns

    def open(self, readers: Readers) -> "DecodedReader":
        return DecodedReader(self, readers)

    @property
    def is_tiled(self) -> bool:
        """So many codes share a factor that it pays to count them."""
        height, width = self.grid.block
        is_large = min(height, self.grid.rows) * min(width, self.grid.columns) >= TILE
        return is_large and self.grid.groups is None and not self.is_single


class DecodedReader:
    """Decodes stretches of a table of codes."""

    has_file = False

    def __init__(self, source: DecodedSource, readers: Readers) -> None:
        self._source = source
        self._readers = readers
        self._columns = source.codes.columns
        self._kept: dict[int, FloatArray] = {}  # by the tensor's id, which its source holds

    @cached_property
    def _buffer(self) -> NDArray[np.uint8]:
        return np.empty(_AT_ONCE, np.uint8)

    @cached_property
    def values(self) -> FloatArray:
        """The number of every code, before factors."""
        values = self._source.values
        if not isinstance(values, Tensor):
            return values
        return _flat(values, self._readers, 0, values.numel)

    @cached_property
    def _groups(self) -> NDArray[np.intp]:
        """The factor's place of every row, or column, of a grid of groups; −1 where there is no
        such group."""
        groups, count = self._source.grid.groups, self._source.grid.count
        assert groups is not None
        places = _flat(groups, self._readers, 0, groups.numel)
        return np.where((places >= 0) & (places < count), places, -1).astype(np.intp)

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset. Raises CheckpointError where codes or factors cannot
        be read."""
        numbers = np.frombuffer(buffer, "<f8")
        start, done = offset // 8, 0
        while done < len(numbers):
            row, column = divmod(start + done, self._columns)
            left = min(len(numbers) - done, _DECODED)
            whole = left // self._columns if column == 0 else 0
            count = whole * self._columns if whole else min(left, self._columns - column)
            columns = (0, self._columns) if whole else (column, column + count)
            box = self.box((row, row + max(1, whole)), columns)
            numbers[done : done + count] = box.reshape(-1)
            done += count

    def box(self, rows: tuple[int, int], columns: tuple[int, int]) -> FloatArray:
        """The numbers of rows and columns from the first to below the second of each pair, in their
        shape."""
        source = self._source
        numbers = self.values[source.codes.read(self._readers, rows, columns)]
        if not numbers.size:
            return numbers
        down, across = self._places("rows", rows), self._places("columns", columns)
        with np.errstate(all="ignore"):
            for tensor, apply in (
                (source.zero, np.subtract),
                (source.scale, np.divide if source.is_divisor else np.multiply),
                (source.bias, np.add),
            ):
                if tensor is not None:
                    _spread(apply, numbers, self._factors(tensor, down, across), across)
                    if source.is_single:
                        numbers = numbers.astype(np.float32).astype(np.float64)
        if source.offset:
            numbers += source.offset
        return numbers

    def tiles(self, start: int, stop: int) -> Iterator[Tiles]:
        """The codes of the numbers `start` to `stop` in tiles of one factor each."""
        width, block = self._columns, self._source.grid.block
        rows = self._source.grid.rows
        while start < stop:
            row, column = divmod(start, width)
            if column or stop - start < width:
                count, columns = 1, (column, min(width, column + stop - start))
            else:
                count, columns = min((stop - start) // width, max(1, _AT_ONCE // width)), (0, width)
                if rows % block[0]:  # a matrix ends within a block
                    count = min(count, rows - row % rows)
            yield self._tiles((row, row + count), columns)
            start += count * (columns[1] - columns[0])

    def _tiles(self, rows: tuple[int, int], columns: tuple[int, int]) -> Tiles:
        grid, source = self._source.grid, self._source
        down = self._place(rows[0]), self._place(rows[1] - 1) + 1
        across = columns[0] // grid.block[1], (columns[1] - 1) // grid.block[1] + 1
        scales = np.ones((down[1] - down[0], across[1] - across[0]))
        shifts = None
        with np.errstate(all="ignore"):
            if source.scale is not None:
                scale = self._table(source.scale, down, across)
                scales = 1 / scale if source.is_divisor else scale
            if source.zero is not None:
                shifts = -self._table(source.zero, down, across) * scales
            elif source.bias is not None:
                shifts = self._table(source.bias, down, across)
            if source.offset:
                shifts = source.offset + (np.zeros_like(scales) if shifts is None else shifts)
        height, width = grid.block
        return Tiles(
            source.codes.read(self._readers, rows, columns, self._buffer),
            (height - rows[0] % grid.rows % height, height),
            (width - columns[0] % width, width),
            scales.reshape(-1),
            None if shifts is None else shifts.reshape(-1),
            self.values,
        )

    def _place(self, row: int) -> int:
        """The row of factors of a row of codes."""
        grid = self._source.grid
        return row // grid.rows * grid.shape[0] + row % grid.rows // grid.block[0]

    def _places(self, axis: Axis, codes: tuple[int, int]) -> NDArray[np.intp]:
        """The factor's place, along rows or columns, of each of these; −1 where it has none."""
        grid = self._source.grid
        if grid.groups is not None and axis == grid.axis:
            return self._groups[slice(*codes)]
        at = np.arange(*codes)
        if axis == "columns":
            return at // grid.block[1]
        matrix, row = np.divmod(at, grid.rows)
        places: NDArray[np.intp] = matrix * grid.shape[0] + row // grid.block[0]
        return places

    def _factors(
        self, tensor: Tensor, down: NDArray[np.intp], across: NDArray[np.intp]
    ) -> FloatArray:
        """The factors at each place down, of all places from the first to the last across; shape
        (down, across). NaN at −1."""
        left, right = max(0, int(across.min())), max(0, int(across.max())) + 1
        top, bottom = max(0, int(down.min())), max(0, int(down.max())) + 1
        places, at = np.unique(np.maximum(down, 0), return_inverse=True)
        if 2 * len(places) > bottom - top:
            found = self._table(tensor, (top, bottom), (left, right))[np.maximum(down - top, 0)]
        else:
            rows = [self._table(tensor, (row, row + 1), (left, right)) for row in places.tolist()]
            found = np.concatenate(rows)[at]
        found[down < 0] = np.nan
        return found

    def _table(self, tensor: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> FloatArray:
        """The factors of some rows and columns of the grid."""
        width = self._source.grid.shape[1]
        if tensor.numel <= KEPT:
            kept = self._kept.get(id(tensor))
            if kept is None:
                kept = _flat(tensor, self._readers, 0, tensor.numel).reshape(-1, width)
                self._kept[id(tensor)] = kept
            return kept[slice(*rows), slice(*columns)]
        if rows[1] - rows[0] == 1:
            first = rows[0] * width
            one = _flat(tensor, self._readers, first + columns[0], first + columns[1])
            return one.reshape(1, -1)
        part = _flat(tensor, self._readers, rows[0] * width, rows[1] * width)
        return part.reshape(-1, width)[:, slice(*columns)]

    def close(self) -> None:
        """Its readers are closed by whom they belong to."""


def _flat(tensor: Tensor, readers: Readers, start: int, stop: int) -> FloatArray:
    """The numbers `start` to `stop` of a tensor whose words lie in row-major order."""
    words = np.empty(stop - start, tensor.words_type)
    at = tensor.offset + start * tensor.dtype.itemsize
    readers[tensor.source].fill(at, words.view(np.uint8).data)
    return tensor.dtype.decode(words)


def _spread(
    apply: np.ufunc, numbers: FloatArray, factors: FloatArray, across: NDArray[np.intp]
) -> None:
    """Applies to each number the factor of its row at its place across."""
    left = max(0, int(across.min()))
    if factors.shape[1] == 1 and across[0] == left:
        apply(numbers, factors, out=numbers)
        return
    count, rest = divmod(len(across), factors.shape[1])
    if (
        not rest
        and (across.reshape(-1, count) == left + np.arange(factors.shape[1])[:, None]).all()
    ):
        blocks = numbers.reshape(len(numbers), -1, count)
        apply(blocks, factors[:, :, None], out=blocks)
        return
    each = factors[:, across - left]
    each[:, across < 0] = np.nan
    apply(numbers, each, out=numbers)
