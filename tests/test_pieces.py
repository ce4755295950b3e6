"""Tensors in pieces: read like any other, whatever the cut, the order and the number of files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalecheck.checkpoint.boxes import Box, read_box
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pieces import Piece, check_apart, flat_boxes, joined
from scalecheck.checkpoint.source import FileSource, MemorySource, Readers, Source
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.dtypes import DTYPES
from scalecheck.measure.measuring import measure
from scalecheck.measure.rows import row_figures

HERE = Path("pieces")


def held(numbers: np.ndarray, order: list[int], source: Source | None = None) -> Tensor:
    """A tensor in memory whose elements lie in the order of these axes."""
    stored = np.ascontiguousarray(numbers.transpose(order))
    source = source or MemorySource(HERE, memoryview(stored.tobytes()))
    steps = {axis: stored.strides[place] // 4 for place, axis in enumerate(order)}
    is_plain = order == sorted(order)
    strides = None if is_plain else tuple(steps[axis] for axis in range(numbers.ndim))
    return Tensor("piece", DTYPES["F32"], numbers.shape, source, 0, strides)


@st.composite
def cut(draw: st.DrawFn) -> tuple[np.ndarray, list[Piece]]:
    """Numbers, and a tensor of them that is cut again and again along any dimension."""
    shape = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple))
    count = draw(st.sampled_from([1, 2, 3, 10_000]))  # of different numbers
    numbers = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) % count - 1
    boxes = [((0,) * len(shape), shape)]
    for _ in range(draw(st.integers(0, 6))):
        start, sizes = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        axis = draw(st.integers(0, len(shape) - 1))
        at = draw(st.integers(0, sizes[axis]))
        for first, count in ((0, at), (at, sizes[axis] - at)):
            moved = tuple(s + first * (d == axis) for d, s in enumerate(start))
            boxes.append((moved, tuple(count if d == axis else n for d, n in enumerate(sizes))))
    pieces = []
    for start, sizes in draw(st.permutations(boxes)):
        part = numbers[tuple(slice(s, s + n) for s, n in zip(start, sizes, strict=True))]
        order = draw(st.permutations(range(len(shape)))) if part.size else range(len(shape))
        pieces.append(Piece(start, held(part, list(order))))
    return numbers, pieces


@given(cut())
def test_what_is_put_together_is_what_was_cut(case):
    numbers, pieces = case
    tensor = joined("w", numbers.shape, pieces, HERE)
    assert (tensor.name, tensor.shape, tensor.unmeasured) == ("w", numbers.shape, None)
    assert (tensor.array() == numbers).all()


@given(cut(), st.data())
def test_a_part_of_it_is_read(case, data):
    numbers, pieces = case
    tensor = joined("w", numbers.shape, pieces, HERE)
    start = tuple(data.draw(st.integers(0, n - 1)) for n in numbers.shape)
    sizes = tuple(
        data.draw(st.integers(1, n - s)) for s, n in zip(start, numbers.shape, strict=True)
    )
    with Readers() as readers:
        found = read_box(tensor, Box(start, sizes), readers)
    assert (
        found == numbers[tuple(slice(s, s + n) for s, n in zip(start, sizes, strict=True))]
    ).all()
    first = data.draw(st.integers(0, numbers.size))
    last = data.draw(st.integers(first, numbers.size))
    if tensor.strides is None:
        blocks = [block.copy() for block in tensor.blocks(first, last)]
        flat = np.concatenate([np.empty(0, np.float32), *blocks])
        assert (flat == numbers.ravel()[first:last]).all()


@given(cut())
def test_its_figures_are_those_of_the_whole(case):
    numbers, pieces = case
    whole = held(numbers, list(range(numbers.ndim)))
    (_, one), (_, other) = measure((whole, joined("w", numbers.shape, pieces, HERE)))
    assert one.counts.tolist() == other.counts.tolist()
    assert other.rms == pytest.approx(one.rms, rel=1e-15)


@given(cut(), st.sampled_from(["matrix", "conv"]))
def test_its_rows_are_those_of_the_whole(case, role):
    numbers, pieces = case
    whole = held(numbers, list(range(numbers.ndim)))
    zeros = int((numbers == 0).sum())
    put_together = joined("w", numbers.shape, pieces, HERE)
    assert row_figures(put_together, zeros, role) == row_figures(whole, zeros, role)


@given(st.lists(st.integers(1, 6), max_size=4), st.data())
def test_a_stretch_in_boxes_is_in_order(shape, data):
    places = np.arange(int(np.prod(shape))).reshape(shape)
    start = data.draw(st.integers(0, places.size))
    stop = data.draw(st.integers(start, places.size))
    found = [
        places[tuple(slice(s, s + n) for s, n in zip(box.start, box.sizes, strict=True))].ravel()
        for box in flat_boxes(shape, start, stop)
    ]
    assert np.concatenate([np.empty(0, int), *found]).tolist() == [*range(start, stop)]
    assert len(found) <= max(1, 2 * len(shape) - 1)


@given(cut(), st.data())
def test_what_lacks_is_counted_and_what_is_twice_is_refused(case, data):
    numbers, pieces = case
    full = [piece for piece in pieces if piece.tensor.numel]
    chosen = data.draw(st.integers(0, len(full) - 1))
    rest = [piece for place, piece in enumerate(full) if place != chosen]
    count = full[chosen].tensor.numel
    if rest:
        tensor = joined("w", numbers.shape, rest, HERE)
        assert tensor.unmeasured == f"{count} of {numbers.size} elements are in no file"
    with pytest.raises(Malformed, match="w: 2 pieces overlap, one of them at"):
        joined("w", numbers.shape, [*full, full[chosen]], HERE)


def test_pieces_out_of_the_shape_or_of_two_types_are_refused():
    part = held(np.zeros((2, 3), np.float32), [0, 1])
    with pytest.raises(Malformed, match=r"w: a piece of \[2, 3\] at \[3, 0\] does not lie in"):
        joined("w", (4, 3), [Piece((0, 0), part), Piece((3, 0), part)], HERE)
    with pytest.raises(Malformed, match=r"does not lie in \[6\]"):
        joined("w", (6,), [Piece((0, 0), part)], HERE)
    half = Tensor("piece", DTYPES["F16"], (2, 3), part.source, 0)
    with pytest.raises(Malformed, match="w: has pieces of F32 and F16"):
        joined("w", (4, 3), [Piece((0, 0), part), Piece((2, 0), half)], HERE)


def test_pieces_that_cut_each_other_into_many_parts_are_refused_soon():
    rows = [Box((row, 0), (1, 1000)) for row in range(500)]
    columns = [Box((500, column), (500, 1)) for column in range(1000)]
    check_apart("w", [*rows, *columns])
    steps = [Box((0, row), (1 + row, 1)) for row in range(1000)]
    with pytest.raises(Malformed, match="w: 1000 pieces cut each other into too many parts"):
        check_apart("w", steps)


def test_a_thousand_files_need_few_that_are_open(tmp_path):
    pieces = []
    for row in range(1000):
        file = tmp_path / f"{row}"
        file.write_bytes(np.full(8, row, np.float32).tobytes())
        part = Tensor("piece", DTYPES["F32"], (1, 8), FileSource.of(file), 0)
        pieces.append(Piece((row, 0), part))
    numbers = joined("w", (1000, 8), pieces, tmp_path).array()
    assert (numbers == np.arange(1000)[:, None]).all()
