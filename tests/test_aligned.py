"""Tensors side by side: the same elements of each, whatever their order in the file, within a bound
of memory."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from scalecheck.checkpoint import aligned as module
from scalecheck.checkpoint.aligned import aligned, placed
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.source import FileReader
from scalecheck.errors import CheckpointError


def listed(tmp_path, *tensors):
    """Tensors saved in one torch file, each with the strides it has."""
    torch.save({f"t.{n}": tensor for n, tensor in enumerate(tensors)}, tmp_path / "t.pt")
    return open_checkpoint(tmp_path / "t.pt").tensors


def joined(tensors):
    """All that is yielded of each tensor, one behind the other."""
    blocks = list(zip(*aligned(tensors), strict=True))
    return [np.concatenate([one.copy() for one in each]) for each in blocks]


def assert_side_by_side(tensors, truths):
    """Each element beside those of the same index, in whatever order, each once."""
    columns = np.stack(joined(tensors))
    truth = np.stack([one.double().reshape(-1).numpy() for one in truths])
    assert np.array_equal(columns[:, np.lexsort(columns)], truth[:, np.lexsort(truth)])


def numbers(*shape):
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float64).reshape(shape)


@pytest.mark.parametrize(
    "views",
    [
        (lambda t: t, lambda t: t),
        (lambda t: t, lambda t: t.clone().mT.contiguous().mT),
        (lambda t: t, lambda t: t.permute(2, 1, 0).contiguous().permute(2, 1, 0)),
        (lambda t: t.mT.contiguous().mT, lambda t: (t + 0.5).mT.contiguous().mT),
        (lambda t: t.repeat(1, 1, 2)[:, :, :4], lambda t: t),
        (lambda t: t.repeat(1, 1, 2)[:, :, :4], lambda t: t.repeat(1, 1, 2)[:, :, :4]),
        (lambda t: t, lambda t: t.float(), lambda t: t.to(torch.bfloat16)),
    ],
    ids=["alike", "transposed", "permuted", "both", "gaps", "both with gaps", "types"],
)
def test_each_element_lies_beside_those_of_its_index(tmp_path, views):
    truths = [view(numbers(3, 5, 4)) for view in views]
    assert_side_by_side(listed(tmp_path, *truths), truths)


@pytest.mark.parametrize("part", [1, 3, 4, 5, 12, 19, 20, 45, 60])
def test_parts_of_any_size_cut_a_tensor_along_any_dimension(tmp_path, monkeypatch, part):
    monkeypatch.setattr(module, "PART", part)
    truths = [numbers(3, 4, 5), numbers(5, 4, 3).permute(2, 1, 0)]
    assert_side_by_side(listed(tmp_path, *truths), truths)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(data=st.data())
def test_any_orders_are_aligned_in_blocks_and_parts_of_any_size(tmp_path, monkeypatch, data):
    """Small bounds cut a small tensor as the real ones cut a large one."""
    shape = data.draw(st.lists(st.integers(0, 5), max_size=4))
    truths = []
    for _ in range(data.draw(st.integers(1, 3))):
        axes = data.draw(st.permutations(range(len(shape))))
        stored = numbers(*shape).permute(axes).contiguous()
        truths.append(stored.permute(np.argsort(axes).tolist()))
    monkeypatch.setattr(module, "ALIGNED", data.draw(st.integers(1, 40)))
    monkeypatch.setattr(module, "PART", data.draw(st.integers(1, 40)))
    tensors = listed(tmp_path, *truths)
    if torch.Size(shape).numel():
        assert_side_by_side(tensors, truths)
        for places, elements in placed(tensors):
            for one in elements:
                assert np.array_equal(one, places)
    else:
        assert list(aligned(tensors)) == []


def test_a_block_is_of_float64_and_bounded(tmp_path):
    (tensor,) = listed(tmp_path, torch.ones(300_000, dtype=torch.float16))
    sizes = []
    for (block,) in aligned([tensor]):
        assert block.dtype == np.float64
        sizes.append(len(block))
    assert sizes == [131_072, 131_072, 37_856]


@pytest.mark.parametrize("transposed", [False, True])
def test_memory_is_bounded_by_the_block_and_not_by_the_tensor(tmp_path, transposed):
    """Two tensors of 64 MiB, of which the float64 would be 256 MiB."""
    weight = torch.ones(4096, 4096)
    save_file({"w": weight}, tmp_path / "w.safetensors")
    (tensor,) = open_checkpoint(tmp_path / "w.safetensors").tensors
    (average,) = listed(tmp_path, weight.T if transposed else weight)
    total = 0.0
    tracemalloc.start()
    try:
        for one, other in aligned([tensor, average]):
            total += float(one @ other)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 4096 * 4096
    assert peak < (64 << 20 if transposed else 8 << 20)


@pytest.mark.parametrize("shape", [(512, 512), (4096, 64), (3, 90_000), (64, 9, 300), (2,) * 18])
@pytest.mark.parametrize("part", [1 << 14, 1 << 16])
def test_each_byte_is_read_about_once_in_whatever_order_tensors_lie(
    tmp_path, monkeypatch, shape, part
):
    axes = [*range(len(shape))]
    orders = [axes, axes[::-1], [*axes[1:], axes[0]]]
    stored = [torch.ones([shape[axis] for axis in order]) for order in orders]
    views = [one.permute(*np.argsort(o)) for one, o in zip(stored, orders, strict=True)]
    tensors = listed(tmp_path, *views)
    read = []
    fill = FileReader.fill

    def counted(reader, offset, buffer):
        read.append(len(buffer))
        fill(reader, offset, buffer)

    monkeypatch.setattr(FileReader, "fill", counted)
    monkeypatch.setattr(module, "PART", part)
    assert sum(len(block) for block, *_ in aligned(tensors)) == tensors[0].numel
    assert sum(read) <= 2 * sum(tensor.nbytes for tensor in tensors)


def test_tensors_of_two_shapes_are_refused(tmp_path):
    tensors = listed(tmp_path, torch.ones(2, 3), torch.ones(3, 2))
    with pytest.raises(CheckpointError) as raised:
        next(aligned(tensors))
    assert raised.value.problem == "t.1 has shape [3, 2], t.0 [2, 3]"


def test_a_tensor_that_cannot_be_measured_is_refused(tmp_path):
    tensors = listed(tmp_path, torch.ones(2, 3), torch.ones(1).expand(2, 3))
    with pytest.raises(CheckpointError, match="an expanded view"):
        next(aligned(tensors))
