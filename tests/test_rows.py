"""Dead, constant and repeated rows: what is counted is what a plain look at the array finds."""

import tracemalloc

import numpy as np
import pytest
import torch
from checked import FLOATS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import save_file

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.tensor import BLOCK_NBYTES
from scalecheck.measure import rows as module
from scalecheck.measure.rows import Occurrences, Rows, row_figures


def figures(path):
    """The rows of the file's tensor, as `check` asks for them."""
    (tensor,) = open_checkpoint(path).tensors
    zeros = int((tensor.array() == 0).sum())
    return row_figures(tensor, zeros, tensor.role)


def plainly(array, as_filters=False):
    """The same by one look at the array after another."""
    length = int(np.prod(array.shape[1:])) if as_filters else array.shape[-1]
    flat = array.astype(np.float64).reshape(-1, length)
    zero, constant, repeated, seen = [], [], [], []
    for index, row in enumerate(flat):
        if (row == 0).all():
            zero.append(index)
        elif (row == row[0]).all():
            constant.append(index)
        elif not np.isnan(row).any():
            if row.tobytes() in seen:
                repeated.append(index)
            seen.append(row.tobytes())
    columns = None if array.ndim != 2 else [*np.flatnonzero((flat == 0).all(axis=0))]
    some = [
        Occurrences(len(rows), tuple(rows[: module.SHOWN])) for rows in (zero, constant, repeated)
    ]
    return Rows(
        len(flat),
        None if columns is None else length,
        some[0],
        Occurrences(len(columns or []), tuple((columns or [])[: module.SHOWN])),
        some[1],
        some[2],
    )


few_numbers = st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0, float("nan"), float("inf")])
matrices = arrays.arrays(np.float32, st.tuples(*[st.integers(2, 9)] * 2), elements=few_numbers)
unhurried = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("dtype", FLOATS)
@unhurried
@given(matrix=matrices)
def test_what_is_counted_is_what_is_there(tmp_path, dtype, matrix):
    tensor = torch.from_numpy(matrix.copy()).to(FLOATS[dtype])
    save_file({"w.weight": tensor}, tmp_path / "x.safetensors")
    assert figures(tmp_path / "x.safetensors") == plainly(tensor.double().numpy())


@unhurried
@given(matrix=matrices)
def test_a_transposed_view_is_read_as_its_copy(tmp_path, matrix):
    tensor = torch.from_numpy(matrix.copy()).T
    torch.save({"w.weight": tensor}, tmp_path / "x.pt")
    assert figures(tmp_path / "x.pt") == plainly(tensor.numpy())


@unhurried
@given(array=arrays.arrays(np.float32, st.tuples(*[st.integers(2, 4)] * 3), elements=few_numbers))
def test_rows_of_a_stack_are_vectors_and_of_a_convolution_filters(tmp_path, array):
    save_file({"w.weight": torch.from_numpy(array.copy())}, tmp_path / "x.safetensors")
    (tensor,) = open_checkpoint(tmp_path / "x.safetensors").tensors
    zeros = int((array == 0).sum())
    assert row_figures(tensor, zeros, "matrix") == plainly(array)
    assert row_figures(tensor, zeros, "conv") == plainly(array, as_filters=True)


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("length", [8, 16, 17, 1023, 1024, 5000, 200_000, 700_001])
def test_rows_that_begin_alike_are_looked_at_to_their_end(tmp_path, length):
    """Rows of less and more than a beginning, a page, a block of elements and a part of a row."""
    weight = noise(7, length)
    weight[5] = weight[1]
    weight[6] = weight[2]
    weight[6, -1] += 1
    weight[3] = 0.5
    weight[4] = 0.5
    weight[4, -1] = 0.25
    save_file({"w.weight": weight}, tmp_path / "x.safetensors")
    found = figures(tmp_path / "x.safetensors")
    assert (found.constant_rows, found.repeated_rows) == (
        Occurrences(1, (3,)),
        Occurrences(1, (5,)),
    )
    torch.save({"w.weight": weight.T.contiguous().T}, tmp_path / "x.pt")
    assert figures(tmp_path / "x.pt") == found


@pytest.mark.parametrize("dtype", FLOATS)
def test_rows_of_the_same_numbers_in_other_places_differ(tmp_path, dtype):
    """Every row has the same numbers; the last one repeats the first."""
    numbers = torch.arange(1, 9).repeat(1, 8).to(FLOATS[dtype])
    weight = torch.stack([numbers[0].roll(n) for n in range(9)])
    save_file({"w.weight": weight}, tmp_path / "x.safetensors")
    assert figures(tmp_path / "x.safetensors").repeated_rows == Occurrences(1, (8,))


@pytest.mark.parametrize("rows", [5000, 200_000])
def test_many_repeated_rows_are_counted_and_the_first_named(tmp_path, rows):
    weight = torch.arange(rows // 2).repeat(2)[:, None].bitwise_and(torch.tensor([0xFFFF, ~0xFFFF]))
    save_file({"w.weight": weight.float() + 1}, tmp_path / "x.safetensors")
    first = range(rows // 2, rows // 2 + 5)
    found = figures(tmp_path / "x.safetensors")
    assert found.constant_rows == Occurrences(2, (0, rows // 2))
    assert found.repeated_rows == Occurrences(rows // 2 - 1, (*(n + 1 for n in first),))


def test_dead_rows_and_columns_are_found_past_the_first_block(tmp_path):
    weight = noise(3000, 700)
    weight[2999] = 0
    weight[:, 650] = 0
    save_file({"w.weight": weight}, tmp_path / "x.safetensors")
    found = figures(tmp_path / "x.safetensors")
    assert (found.zero_rows, found.zero_columns) == (
        Occurrences(1, (2999,)),
        Occurrences(1, (650,)),
    )


@pytest.mark.parametrize("shape", [(), (5,), (0, 5), (5, 0), (1, 5), (5, 1), (1, 1, 1)])
def test_what_has_no_two_rows_of_two_has_no_figures(tmp_path, shape):
    save_file({"w.weight": torch.zeros(shape)}, tmp_path / "x.safetensors")
    assert figures(tmp_path / "x.safetensors") is None


def test_a_healthy_tensor_of_long_rows_is_not_read_whole(tmp_path, monkeypatch):
    save_file({"w.weight": noise(64, 5000)}, tmp_path / "x.safetensors")
    monkeypatch.setattr(module, "_read_whole", None)
    assert figures(tmp_path / "x.safetensors") == Rows(64, 5000)


@pytest.mark.parametrize("shape", [(module.MAX_ROWS + 1, 2), (2, module.MAX_LENGTH + 1)])
def test_what_is_too_large_to_hold_is_said_to_be_unread(tmp_path, shape):
    path = tmp_path / "x.safetensors"
    save_file({"w.weight": torch.zeros(2, 2)}, path)
    header = b'{"w.weight":{"dtype":"F8_E5M2","shape":[%d,%d],"data_offsets":[0,%d]}}'
    header = header % (*shape, shape[0] * shape[1])
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + shape[0] * shape[1])
    (tensor,) = open_checkpoint(path).tensors
    found = row_figures(tensor, tensor.numel, "matrix")
    assert found.unread.startswith(f"{shape[0]:,} rows of {shape[1]:,} elements; at most ")


def test_many_are_counted_and_the_first_are_named():
    assert str(Occurrences(7, (0, 1, 2, 3, 4))) == "0, 1, 2, 3, 4, …"
    assert str(Occurrences(2, (5, 9))) == "5, 9"


@pytest.mark.parametrize("is_zero", [False, True])
def test_a_row_takes_some_20_bytes(tmp_path, is_zero):
    rows = 1 << 19
    weight = torch.zeros(rows, 2) if is_zero else noise(rows, 2)
    weight[3] = 0
    save_file({"w.weight": weight}, tmp_path / "w.safetensors")
    (tensor,) = open_checkpoint(tmp_path / "w.safetensors").tensors
    tracemalloc.start()
    try:
        row_figures(tensor, int((weight == 0).sum()), "matrix")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * rows + 8 * BLOCK_NBYTES
