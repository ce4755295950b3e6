"""Measuring a checkpoint: the same figures from any number of threads, in the order of the file."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from drawn_words import sketch as sketch_of

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.tensor import BLOCK_NBYTES
from scalecheck.errors import CheckpointError
from scalecheck.measure import measuring
from scalecheck.measure.measuring import measure
from scalecheck.measure.pipeline import STRETCH_NBYTES, cores
from scalecheck.measure.tensor_stats import TensorStats

SAMPLES = Path(__file__).parents[1] / "sample_ckpts"
JOBS = (1, 2, 5)
TORCH_TYPES = (
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
)


def bits(sketch):
    """Everything a sketch says, floats by their bits."""
    reals = [sketch.rms, sketch.std, sketch.mean, sketch.min, sketch.max, sketch.absmax]
    reals += [sketch.quantile(q) for q in (0.0, 0.01, 0.5, 0.99, 1.0)]
    return (
        [None if real is None else real.hex() for real in reals],
        sketch.values.tobytes(),
        sketch.counts.tobytes(),
        (sketch.numel, sketch.nan, sketch.inf, sketch.zeros),
    )


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A checkpoint of every type, some tensors larger than a stretch, most of them small."""
    random = torch.Generator().manual_seed(0)
    tensors = {}
    for number, dtype in enumerate(TORCH_TYPES):
        for size in (0, 1, 77, 5000):
            noise = torch.randn(size, generator=random) * 3
            tensors[f"small.{number}.{size}"] = noise.to(dtype)
    large = torch.randn(5 * STRETCH_NBYTES // 8 + 3, generator=random)
    tensors["large.float32"] = large
    tensors["large.bfloat16"] = large.bfloat16()
    tensors["large.float64"] = large[: 3 * STRETCH_NBYTES // 16 + 1].double() / 3
    path = tmp_path_factory.mktemp("mixed") / "mixed.safetensors"
    safetensors.torch.save_file(tensors, path)
    return open_checkpoint(path)


@pytest.fixture(scope="module")
def by_one_thread(mixed):
    return [(tensor.name, bits(sketch)) for tensor, sketch in measure(mixed.tensors, 1)]


@pytest.mark.parametrize("jobs", [2, 5, None])
def test_the_result_does_not_depend_on_the_jobs(mixed, by_one_thread, jobs):
    measured = [(tensor.name, bits(sketch)) for tensor, sketch in measure(mixed.tensors, jobs)]
    assert measured == by_one_thread


def test_a_second_run_gives_the_same_bits(mixed, by_one_thread):
    measured = [(tensor.name, bits(sketch)) for tensor, sketch in measure(mixed.tensors, 2)]
    assert measured == by_one_thread


def test_a_tensor_measured_alone_has_the_same_bits(mixed, by_one_thread):
    for tensor, (_, expected) in zip(mixed.tensors, by_one_thread, strict=True):
        ((_, sketch),) = measure((tensor,), 2)
        assert bits(sketch) == expected


@pytest.mark.parametrize("jobs", JOBS)
def test_tensors_come_in_the_order_given(mixed, jobs):
    shuffled = tuple(np.random.default_rng(1).permutation(np.array(mixed.tensors, object)))
    assert [tensor for tensor, _ in measure(shuffled, jobs)] == list(shuffled)


@pytest.mark.parametrize("jobs", JOBS)
def test_progress_rises_to_the_bytes_of_the_checkpoint(mixed, jobs):
    steps = []
    for _ in measure(mixed.tensors, jobs, lambda *step: steps.append(step)):
        pass
    assert steps == sorted(steps)
    assert steps[-1] == (mixed.nbytes, mixed.nbytes)


def test_a_large_tensor_progresses_in_steps(mixed):
    large = tuple(tensor for tensor in mixed.tensors if tensor.name == "large.float32")
    steps = []
    for _ in measure(large, 2, lambda *step: steps.append(step)):
        pass
    assert len(steps) > 1


def test_no_tensors_give_no_sketches():
    assert list(measure(())) == []


def test_at_least_one_core_is_used():
    assert cores() >= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_tensor_of_several_stretches_equals_numpy(tmp_path, dtype):
    values = np.random.default_rng(3).normal(0.5, 2, (40 << 20) // np.dtype(dtype).itemsize)
    values = values.astype(dtype)
    values[12345] = 0.0
    safetensors.numpy.save_file({"w": values}, tmp_path / "w.safetensors")
    ((_, sketch),) = measure(open_checkpoint(tmp_path / "w.safetensors").tensors)
    exact = values.astype(np.float64)
    assert sketch.mean == pytest.approx(exact.mean(), rel=1e-12)
    assert sketch.std == pytest.approx(exact.std(), rel=1e-12)
    assert sketch.rms == pytest.approx(np.sqrt(np.mean(exact**2)), rel=1e-12)
    assert (sketch.min, sketch.max, sketch.zeros) == (exact.min(), exact.max(), 1)
    assert sketch.finite == len(values)


def test_special_values_at_the_ends_of_stretches_are_counted(tmp_path):
    step = STRETCH_NBYTES // 2
    values = torch.ones(3 * step + 1, dtype=torch.bfloat16)
    values[torch.tensor([0, step - 1, step, 2 * step - 1, 2 * step, 3 * step])] = torch.nan
    values[torch.tensor([1, step + 1, 3 * step - 1])] = torch.inf
    safetensors.torch.save_file({"w": values}, tmp_path / "w.safetensors")
    ((_, sketch),) = measure(open_checkpoint(tmp_path / "w.safetensors").tensors)
    assert (sketch.nan, sketch.inf, sketch.finite) == (6, 3, len(values) - 9)


@pytest.mark.parametrize("shape", [(0,), (0, 64), (3, 0, 5)])
def test_a_tensor_without_elements_has_no_figures(tmp_path, shape):
    safetensors.torch.save_file({"w": torch.zeros(shape)}, tmp_path / "w.safetensors")
    ((tensor, sketch),) = measure(open_checkpoint(tmp_path / "w.safetensors").tensors)
    stats = TensorStats.of(tensor, sketch)
    assert (
        stats.shape,
        stats.numel,
        stats.zeros,
        stats.nan,
        stats.inf,
    ) == (shape, 0, 0, 0, 0)
    assert stats.rms is stats.std is stats.mean is stats.absmax is stats.min is stats.max is None


def test_a_tensor_without_dimensions_is_one_number(tmp_path):
    safetensors.torch.save_file({"w": torch.tensor(-2.5)}, tmp_path / "w.safetensors")
    ((tensor, sketch),) = measure(open_checkpoint(tmp_path / "w.safetensors").tensors)
    stats = TensorStats.of(tensor, sketch)
    assert (stats.shape, stats.numel, stats.std) == ((), 1, 0)
    assert (
        stats.rms,
        stats.mean,
        stats.absmax,
        stats.min,
        stats.max,
    ) == (
        2.5,
        -2.5,
        2.5,
        -2.5,
        -2.5,
    )


@pytest.mark.parametrize("dtype", TORCH_TYPES)
def test_figures_equal_torch_for_every_type(tmp_path, dtype):
    values = (torch.randn(4321, generator=torch.Generator().manual_seed(1)) * 3).to(dtype)
    safetensors.torch.save_file({"w": values}, tmp_path / "w.safetensors")
    ((tensor, sketch),) = measure(open_checkpoint(tmp_path / "w.safetensors").tensors)
    stats, exact = TensorStats.of(tensor, sketch), values.double()
    assert stats.rms == pytest.approx(exact.square().mean().sqrt().item(), rel=1e-12)
    assert stats.mean == pytest.approx(exact.mean().item(), rel=0, abs=1e-12 * stats.rms)
    assert stats.std == pytest.approx(exact.std(correction=0).item(), rel=1e-12)
    assert (stats.min, stats.max) == (exact.min().item(), exact.max().item())
    assert stats.absmax == exact.abs().max().item()
    assert stats.zeros == (exact == 0).sum().item()


def test_a_tensor_decoded_whole_equals_torch(tmp_path):
    values = torch.randn(7, 11, 13, generator=torch.Generator().manual_seed(2)).bfloat16()
    safetensors.torch.save_file({"w": values}, tmp_path / "w.safetensors")
    (tensor,) = open_checkpoint(tmp_path / "w.safetensors").tensors
    np.testing.assert_array_equal(tensor.array(), values.double().numpy())


def test_a_scale_names_what_it_is_of(tmp_path):
    weight = torch.ones(4, 3, dtype=torch.float16)
    name = "model.layers.2.mlp.up_proj.weight"
    safetensors.torch.save_file({name: weight}, tmp_path / "w.safetensors")
    ((tensor, sketch),) = measure(open_checkpoint(tmp_path / "w.safetensors").tensors)
    stats = TensorStats.of(tensor, sketch)
    assert (stats.name, stats.dtype, stats.shape, stats.numel) == (
        name,
        "F16",
        (4, 3),
        12,
    )
    assert (stats.role, stats.layer) == ("matrix", "model.layers.2")
    assert stats.family == "model.layers.N.mlp.up_proj.weight"
    assert stats.tied_to is None


@pytest.mark.parametrize("jobs", JOBS)
def test_tensors_of_several_files_are_read_each_from_its_own(tmp_path, jobs):
    tensors = []
    for shard in range(3):
        path = tmp_path / f"{shard}.safetensors"
        constants = {f"w.{i}": torch.full((50,), float(10 * shard + i)) for i in range(4)}
        safetensors.torch.save_file(constants, path)
        tensors.append(open_checkpoint(path).tensors)
    interleaved = tuple(tensor for row in zip(*tensors, strict=True) for tensor in row)
    means = [sketch.mean for _, sketch in measure(interleaved, jobs)]
    assert means == [10 * shard + i for i in range(4) for shard in range(3)]


@pytest.fixture
def three_ties(tmp_path):
    """Tensors a, b, c and d, where b and d are the same view of the same storage as a."""
    random = torch.Generator().manual_seed(4)
    pair = {"a": torch.randn(5000, generator=random), "c": torch.randn(3000, generator=random)}
    safetensors.torch.save_file(pair, tmp_path / "pair.safetensors")
    a, c = sorted(open_checkpoint(tmp_path / "pair.safetensors").tensors, key=lambda t: t.name)
    return (a, replace(a, name="b", tied_to="a"), c, replace(a, name="d", tied_to="a"))


def measured(tensors, jobs=2):
    steps = []
    sketches = [
        (t.name, bits(sketch))
        for t, sketch in measure(tensors, jobs, lambda *step: steps.append(step))
    ]
    done, total = steps[-1]
    assert done == total
    return dict(sketches), done


@pytest.mark.parametrize("jobs", JOBS)
def test_ties_share_one_read(three_ties, jobs):
    a, _, c, _ = three_ties
    sketches, nbytes = measured(three_ties, jobs)
    assert nbytes == a.nbytes + c.nbytes
    assert sketches["a"] == sketches["b"] == sketches["d"] != sketches["c"]


def test_each_name_of_a_tie_keeps_its_row(three_ties):
    assert list(measured(three_ties)[0]) == ["a", "b", "c", "d"]


def test_a_tie_whose_first_is_not_selected_is_measured(three_ties):
    sketches, nbytes = measured(three_ties[1:3])
    assert sketches["b"] == measured(three_ties[:1])[0]["a"]
    assert nbytes == three_ties[1].nbytes + three_ties[2].nbytes


def test_two_ties_whose_first_is_not_selected_are_measured(three_ties):
    sketches, _ = measured(three_ties[1:])
    assert sketches["b"] == sketches["d"] == measured(three_ties[:1])[0]["a"]


def test_a_tie_before_its_first_is_measured(three_ties):
    sketches, _ = measured(three_ties[::-1])
    assert sketches["b"] == sketches["d"] == sketches["a"] == measured(three_ties[:1])[0]["a"]


def test_a_tie_of_several_stretches_is_shared(tmp_path):
    large = torch.randn(STRETCH_NBYTES // 2, generator=torch.Generator().manual_seed(5))
    safetensors.torch.save_file({"a": large, "z": large[:9].clone()}, tmp_path / "w.safetensors")
    a, z = open_checkpoint(tmp_path / "w.safetensors").tensors
    sketches, nbytes = measured((a, replace(a, name="b", tied_to="a"), z))
    assert sketches["a"] == sketches["b"]
    assert nbytes == a.nbytes + z.nbytes


@pytest.mark.parametrize("jobs", JOBS)
def test_a_file_cut_short_while_it_is_read_is_an_error(tmp_path, jobs):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({f"w.{i}": torch.ones(STRETCH_NBYTES // 4) for i in range(3)}, path)
    checkpoint = open_checkpoint(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)
    with pytest.raises(CheckpointError, match="changed while it was read"):
        list(measure(checkpoint.tensors, jobs))


@pytest.mark.parametrize("jobs", JOBS)
def test_measuring_can_be_left_early(mixed, by_one_thread, jobs):
    run = measure(mixed.tensors, jobs)
    tensor, sketch = next(run)
    run.close()
    assert (tensor.name, bits(sketch)) == by_one_thread[0]


MEASURE_IN_A_FRESH_PROCESS = """
import json, sys
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.measure.measuring import measure
from scalecheck.measure.tensor_stats import TensorStats
{}
tensors = open_checkpoint(sys.argv[1]).tensors
scales = [TensorStats.of(*measured).fields() for measured in measure(tensors, 2)]
{}
"""

# A process starts with the peak memory of the one that started it, on Linux; the one between is
# small and so its peak says nothing of the tests' own.
START_FROM_A_SMALL_PROCESS = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"


def fresh_process(path, before, after):
    program = MEASURE_IN_A_FRESH_PROCESS.format(before, after)
    own = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(
        [sys.executable, "-S", "-c", START_FROM_A_SMALL_PROCESS, *own],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_peak_memory_does_not_grow_with_the_tensor(tmp_path, dtype):
    path = tmp_path / "large.safetensors"
    nbytes = 400 << 20
    numel = nbytes // {"BF16": 2, "F32": 4}[dtype]
    entry = {"dtype": dtype, "shape": [numel], "data_offsets": [0, nbytes]}
    header = json.dumps({"w": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with path.open("r+b") as file:
        file.truncate(8 + len(header) + nbytes)  # a hole: no byte of it is stored
    peak = "import resource; peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss"
    zeros, before, after = fresh_process(
        path,
        f"{peak}; before = peak",
        f"{peak}; print(json.dumps([scales[0]['zeros'], before, peak]))",
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert zeros == numel
    assert unit * (after - before) < 64 << 20


def test_measuring_safetensors_does_not_import_torch():
    before, after = fresh_process(
        SAMPLES / "broken.safetensors",
        "before = 'torch' in sys.modules",
        "print(json.dumps([before, 'torch' in sys.modules]))",
    )
    assert not before
    assert not after


def stored_run(tmp_path, numel, dtype=np.float32):
    """A tensor of `numel` rising numbers, and these as numpy has them."""
    stored = np.linspace(0, min(numel, 2000), numel).astype(dtype)
    safetensors.numpy.save_file({"w": stored}, tmp_path / "w.safetensors")
    (tensor,) = open_checkpoint(tmp_path / "w.safetensors").tensors
    return tensor, stored


VIEWS = {
    "transposed": ((40, 60), (1, 40)),
    "every other column": ((40, 30), (60, 2)),
    "a block of a larger matrix": ((20, 20), (100, 1)),
    "a column": ((50,), (100,)),
    "one element repeated": ((50,), (0,)),
    "a row repeated": ((7, 60), (0, 1)),
    "a column repeated": ((60, 7), (1, 0)),
    "overlapping windows": ((90, 16), (8, 1)),
    "three dimensions turned": ((5, 6, 7), (1, 35, 5)),
    "a side of one": ((1, 30, 1), (9999, 2, 9999)),
    "no elements": ((0, 5), (5, 1)),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_measured_as_numpy_sees_it(tmp_path, view):
    shape, strides = VIEWS[view]
    tensor, stored = stored_run(tmp_path, 10_000)
    seen = np.lib.stride_tricks.as_strided(stored, shape, [4 * stride for stride in strides])
    ((_, sketch),) = measure((replace(tensor, shape=shape, strides=strides),), 2)
    alone = sketch_of(seen, tensor.dtype)
    assert (sketch.numel, sketch.min, sketch.max) == (alone.numel, alone.min, alone.max)
    np.testing.assert_array_equal(sketch.values, alone.values)
    np.testing.assert_array_equal(sketch.counts, alone.counts)


def test_a_tensor_without_elements_has_no_words_however_large_its_other_sizes(tmp_path):
    tensor, _ = stored_run(tmp_path, 4)
    assert replace(tensor, shape=(0, (1 << 63) - 1)).array().shape == (0, 1)


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_decoded_as_numpy_sees_it(tmp_path, view):
    shape, strides = VIEWS[view]
    tensor, stored = stored_run(tmp_path, 10_000)
    seen = np.lib.stride_tricks.as_strided(stored, shape, [4 * stride for stride in strides])
    np.testing.assert_array_equal(replace(tensor, shape=shape, strides=strides).array(), seen)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_view_wider_than_a_block_is_measured_as_numpy_sees_it(tmp_path, dtype):
    tensor, stored = stored_run(tmp_path, 3 * BLOCK_NBYTES // 2, dtype)
    for shape, strides in (
        ((1000, 300), (700, 2)),
        ((2, 99), (1_000_000, 3)),
        ((2, 99), (1_000_000, 1)),
        ((3, 2), (1, 700_000)),
    ):
        steps = [stored.itemsize * stride for stride in strides]
        seen = np.lib.stride_tricks.as_strided(stored, shape, steps)
        ((_, sketch),) = measure((replace(tensor, shape=shape, strides=strides),), 2)
        assert sketch.mean == pytest.approx(seen.mean(dtype=np.float64), rel=1e-12)
        assert (sketch.numel, sketch.min, sketch.max) == (seen.size, seen.min(), seen.max())
        middle = np.quantile(seen, 0.5, method="inverted_cdf")
        assert sketch.quantile(0.5) == pytest.approx(middle, rel=2**-8)


def test_a_view_of_more_words_than_a_sketch_counts_is_counted_in_parts(tmp_path, monkeypatch):
    tensor, _ = stored_run(tmp_path, BLOCK_NBYTES, np.float16)
    view = replace(tensor, shape=(900, 900), strides=(1000, 1))
    ((_, whole),) = measure((view,), 1)
    monkeypatch.setattr(measuring, "MAX_WORDS", 600_000)  # it is 2**31, and a test has no 4 GB
    ((_, parts),) = measure((view,), 1)
    assert parts.numel == whole.numel == 810_000
    np.testing.assert_array_equal(parts.counts, whole.counts)
