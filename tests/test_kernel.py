"""The compiled counting pass and its numpy twin say the same, and bad arguments are refused."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_words import NUMPY, landmarks, random_words, sketch, weights

from scalecheck.dtypes import DTYPES
from scalecheck.measure import counting, numpy_kernel

SAMPLES = Path(__file__).parents[1] / "sample_ckpts"
KINDS = {"f4": "F32", "f8": "F64"}
WIDE_INTEGERS = ("I32", "U32", "I64", "U64")
BIG = (4095, 4096, 4097, 8191, 32768, 100_003)
REFUSALS = (ValueError, TypeError, BufferError)

every_kind = pytest.mark.parametrize("kind", KINDS)
every_itemsize = pytest.mark.parametrize("itemsize", [1, 2])
both = pytest.mark.parametrize(
    "kernel", [counting.kernel, numpy_kernel], ids=["native", "reference"]
)


def moments_table(kind):
    return np.zeros((2, 1 << 16) if kind == "f4" else (1, 1 << 20), np.uint32)


def count_table(itemsize):
    return np.zeros((4, 1 << 8 * itemsize), np.uint32)


def samples(kind, numel, seed):
    """Words as a layer has them, any words, words at the borders, and a mixture of these."""
    dtype, random = DTYPES[KINDS[kind]], np.random.default_rng(seed)
    layer = weights(dtype, numel, seed)
    border = random.choice(landmarks(dtype), numel)
    planted = np.where(random.random(numel) < 0.1, border, layer)
    for words in (layer, random_words(dtype, numel, seed), border, planted):
        yield words.view(NUMPY[dtype.name])


def as_moments(figures, numel, exponent):
    """The mean and deviation of the finite words over 2^exponent."""
    nan, inf, _, _, _, own, shift, total, square = figures
    n = max(1, numel - nan - inf)
    scale = math.ldexp(1.0, own - exponent)
    return scale * (shift + total / n), scale * math.sqrt(max(0, square / n - (total / n) ** 2))


def assert_kernels_agree(blocks, kind):
    """Each block's figures agree, and the tables once all of them are counted."""
    table, said_table = moments_table(kind), moments_table(kind)
    for words in blocks:
        native = counting.kernel.moments(words, kind, table)
        said = numpy_kernel.moments(words, kind, said_table)
        assert native[:5] == said[:5]
        mean, std = as_moments(native, len(words), native[5])
        said_mean, said_std = as_moments(said, len(words), native[5])
        rms = math.hypot(said_mean, said_std)
        assert mean == pytest.approx(said_mean, rel=0, abs=1e-12 * rms)
        assert std == pytest.approx(said_std, rel=0, abs=1e-12 * rms)
    np.testing.assert_array_equal(table.sum(0), said_table.sum(0))


def test_the_native_kernel_is_built():
    assert counting.NATIVE, "no compiled kernel: reinstall the package where there is a C compiler"


@every_kind
def test_kernels_agree_on_every_length(kind):
    """Every kind of words about one round of the unrolled loops, mixed ones beyond."""
    short = [words for numel in range(70) for words in samples(kind, numel, numel)]
    longer = [[*samples(kind, numel, numel)][-1] for numel in range(70, 201)]
    assert_kernels_agree(short + longer, kind)


@every_kind
@pytest.mark.parametrize("numel", BIG)
def test_kernels_agree_on_long_blocks(kind, numel):
    assert_kernels_agree(samples(kind, numel, numel), kind)


@every_kind
@pytest.mark.parametrize("planted", [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45, 5e-324])
def test_kernels_agree_wherever_a_special_value_stands(kind, planted):
    blocks = [weights(DTYPES[KINDS[kind]], 70, place).view(kind) for place in range(70)]
    for place, words in enumerate(blocks):
        words[place] = planted
    assert_kernels_agree(blocks, kind)


@every_kind
@pytest.mark.parametrize("filling", [math.nan, math.inf, -math.inf, 0.0, -0.0])
@pytest.mark.parametrize("numel", [1, 63, 64, 65, 4097])
def test_kernels_agree_on_nothing_but_a_special_value(kind, filling, numel):
    assert_kernels_agree([np.full(numel, filling, kind)], kind)


@every_kind
def test_kernels_agree_on_words_without_a_number_before_the_first(kind):
    words = np.full(9000, math.nan, kind)
    words[5000:] = weights(DTYPES[KINDS[kind]], 4000, 0).view(kind)
    assert_kernels_agree([words], kind)


@every_kind
@both
def test_no_words_have_infinite_extremes_and_empty_sums(kind, kernel):
    nan, inf, zeros, low, high, _, _, total, square = kernel.moments(
        np.empty(0, kind), kind, moments_table(kind)
    )
    assert (nan, inf, zeros, low, high) == (0, 0, 0, math.inf, -math.inf)
    assert (total, square) == (0, 0)


@every_kind
@both
def test_moments_add_to_the_table(kind, kernel):
    words = random_words(DTYPES[KINDS[kind]], 3000, 0).view(kind)
    once, twice = moments_table(kind), moments_table(kind)
    kernel.moments(words, kind, once)
    for _ in range(2):
        kernel.moments(words, kind, twice)
    np.testing.assert_array_equal(twice.sum(0), 2 * once.sum(0))
    assert once.sum() == len(words)


@both
@every_kind
@pytest.mark.parametrize("value", [0.1, -1 / 3, 1e30])
def test_a_constant_has_no_deviation_by_either_kernel(monkeypatch, kernel, kind, value):
    monkeypatch.setattr(counting, "kernel", kernel)
    for numel in (1, 3, 7, 64, 1001, 4097):
        words = np.full(numel, value, kind)
        one = sketch(words, DTYPES[KINDS[kind]])
        assert (one.std, one.mean) == (0, float(words[0]))


@both
@pytest.mark.parametrize("name", WIDE_INTEGERS)
def test_wide_integers_are_measured_as_their_float64(monkeypatch, kernel, name):
    dtype = DTYPES[name]
    monkeypatch.setattr(counting, "kernel", kernel)
    for numel in (0, 1, 64, 4097):
        for words in (random_words(dtype, numel, numel), weights(dtype, numel, numel)):
            words = words.view(NUMPY[dtype.name])
            own = sketch(words, dtype)
            wide = sketch(words.astype(np.float64), DTYPES["F64"])
            assert (own.moments, own.low, own.high) == (wide.moments, wide.low, wide.high)
            assert own.zeros == wide.zeros
            np.testing.assert_array_equal(own.counts, wide.counts)
            np.testing.assert_array_equal(own.values, np.trunc(wide.values))


@every_itemsize
def test_kernels_count_alike_at_every_length(itemsize):
    random = np.random.default_rng(itemsize)
    for numel in (*range(201), *BIG):
        words = random.integers(0, 1 << 8 * itemsize, numel, f"<u{itemsize}", endpoint=False)
        table, said = count_table(itemsize), count_table(itemsize)
        counting.kernel.count(words, itemsize, table)
        numpy_kernel.count(words, itemsize, said)
        np.testing.assert_array_equal(table.sum(0), said.sum(0))
        assert table.sum() == numel


@every_itemsize
@both
def test_words_are_counted_by_value(itemsize, kernel):
    every = np.arange(1 << 8 * itemsize, dtype=f"<u{itemsize}")
    table = count_table(itemsize)
    kernel.count(np.repeat(every, 3), itemsize, table)
    kernel.count(every, itemsize, table)
    assert (table.sum(0) == 4).all()


@every_itemsize
@pytest.mark.parametrize("numel", [1, 64, 4097, 1_000_003])
def test_equal_words_are_all_counted(itemsize, numel):
    table = count_table(itemsize)
    counting.kernel.count(np.full(numel, 7, f"<u{itemsize}"), itemsize, table)
    assert table.sum(0)[7] == table.sum() == numel


@every_itemsize
def test_words_of_a_read_only_buffer_are_counted(itemsize):
    table = count_table(itemsize)
    counting.kernel.count(bytes(4 * itemsize), itemsize, table)
    assert table.sum(0)[0] == 4


@pytest.mark.parametrize("itemsize", [-1, 0, 3, 4, 8, 255])
def test_count_refuses_an_item_size(itemsize):
    with pytest.raises(REFUSALS):
        counting.kernel.count(np.zeros(8, "u1"), itemsize, count_table(1))


@pytest.mark.parametrize("kind", ["", "f", "f2", "i4", "u8", "f44", "x8", "F4", "f4\0", "ff", "é4"])
def test_moments_refuses_a_kind(kind):
    with pytest.raises(REFUSALS):
        counting.kernel.moments(np.zeros(8, "f8"), kind, moments_table("f8"))


@pytest.mark.parametrize("kind", [None, 4, b"f4", 4.0, ["f4"]])
def test_moments_refuses_a_kind_that_is_no_text(kind):
    with pytest.raises(REFUSALS):
        counting.kernel.moments(np.zeros(8, "f4"), kind, moments_table("f4"))


@every_itemsize
@both
@pytest.mark.parametrize(
    "shape", [(4, 0), (3, 256), (4, 255), (4, 257), (1, 256), (5, 256), (4, 65535)]
)
def test_count_refuses_a_table_of_another_size(itemsize, kernel, shape):
    with pytest.raises(REFUSALS):
        kernel.count(np.zeros(8, f"u{itemsize}"), itemsize, np.zeros(shape, np.uint32))


def behind(offset):
    """The same bytes, so many behind where they should start."""

    def moved(array):
        stored = np.zeros(array.nbytes + 8, np.uint8).data
        return stored[offset : offset + array.nbytes]

    return moved


def longer(spare):
    return lambda words: bytes(words.nbytes + spare)


def with_gaps(array):
    return np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)[..., ::2]


def read_only(table):
    table.flags.writeable = False
    return table


def another(array):
    return lambda _: array


def same(array):
    return array


NO_BUFFERS = {str(type(bad)): another(bad) for bad in (None, 3, "text", [0.0] * 1024, object())}
BAD_WORDS = {"gaps": with_gaps, **NO_BUFFERS}
BAD_TABLES = {
    "gaps": with_gaps,
    "read-only": read_only,
    **{f"{offset} behind": behind(offset) for offset in (1, 2, 3)},
    **{
        str(shape): another(np.zeros(shape, np.uint32))
        for shape in [(0, 65536), (1, 65536), (3, 65536), (2, 65535), (1, 2**20 - 1), (4, 255)]
    },
    **NO_BUFFERS,
}
CALLS = {
    **{kind: ("moments", kind, moments_table, kind) for kind in KINDS},
    **{f"u{size}": ("count", size, count_table, f"u{size}") for size in (1, 2)},
}
UNEVEN = [
    (dtype, make(nbytes))
    for dtype in CALLS
    for make in (longer, behind)
    for nbytes in (1, 2, 3)
    if nbytes % np.dtype(dtype).itemsize
]
SPOILED = [
    *((dtype, spoil, same) for dtype in CALLS for spoil in BAD_WORDS.values()),
    *((dtype, spoil, same) for dtype, spoil in UNEVEN),
    *((dtype, same, spoil) for dtype in CALLS for spoil in BAD_TABLES.values()),
    ("f4", same, another(moments_table("f8"))),
    ("f8", same, another(moments_table("f4"))),
]


@pytest.mark.parametrize(("call", "spoil_words", "spoil_table"), SPOILED)
def test_words_and_tables_of_another_layout_are_refused(call, spoil_words, spoil_table):
    """A buffer that is unaligned, has gaps, the wrong size or no end of a word, or is none."""
    function, how, new_table, dtype = CALLS[call]
    table = new_table(how)
    words = spoil_words(np.zeros(8, dtype))
    with pytest.raises(REFUSALS):
        getattr(counting.kernel, function)(words, how, spoil_table(table))
    assert not table.any()


@pytest.mark.parametrize("arguments", [(), (b"",), (b"", 1), (b"", 1, b"", 1)])
def test_a_wrong_number_of_arguments_is_refused(arguments):
    for function in (counting.kernel.count, counting.kernel.moments):
        with pytest.raises(REFUSALS):
            function(*arguments)


WITHOUT_KERNEL = """
import json, sys
sys.modules["scalecheck.measure._kernel"] = None  # the import system refuses it
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.measure import counting
from scalecheck.measure.measuring import measure
from scalecheck.measure.tensor_stats import TensorStats
assert not counting.NATIVE
scales = {
    path: [TensorStats.of(*each).fields() for each in measure(open_checkpoint(path).tensors)]
    for path in sys.argv[1:]
}
print(json.dumps(scales, default=vars))
"""


@pytest.fixture(scope="module")
def without_kernel():
    """The scales of two samples by path, measured where the compiled kernel cannot be imported."""
    paths = [str(SAMPLES / "tiny-gpt"), str(SAMPLES / "broken.safetensors")]
    program = [sys.executable, "-W", "error", "-c", WITHOUT_KERNEL, *paths]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def with_kernel(without_kernel):
    from scalecheck.checkpoint.open import open_checkpoint
    from scalecheck.measure.measuring import measure
    from scalecheck.measure.tensor_stats import TensorStats

    return {
        path: [
            TensorStats.of(*measured).fields()
            for measured in measure(open_checkpoint(path).tensors)
        ]
        for path in without_kernel
    }


FIGURES = ("rms", "std", "mean")


def test_without_the_kernel_counts_and_extremes_are_the_same(without_kernel, with_kernel):
    def others(scales):
        return {
            path: [{k: v for k, v in scale.items() if k not in FIGURES} for scale in rows]
            for path, rows in scales.items()
        }

    assert others(without_kernel) == json.loads(json.dumps(others(with_kernel), default=vars))


@pytest.mark.parametrize("figure", FIGURES)
def test_without_the_kernel_figures_are_the_same(without_kernel, with_kernel, figure):
    for path, rows in with_kernel.items():
        for scale, said in zip(rows, without_kernel[path], strict=True):
            if scale["rms"] is None:
                assert said[figure] is None
            else:
                assert said[figure] == pytest.approx(
                    scale[figure], rel=0, abs=1e-12 * scale["rms"]
                ), scale["name"]


@pytest.mark.parametrize("count", [2, 50, 63, 64, 100])
@pytest.mark.parametrize("spread", [6e-8, 1e-6, 1e-3])
def test_the_spread_of_a_few_numbers_around_a_large_one_is_not_lost(count, spread):
    drawn = np.random.default_rng(count).standard_normal(count)
    words = (1 + spread * drawn).astype(np.float32)
    expected = words.astype(np.float64).std()
    assert sketch(words, DTYPES["F32"]).std == pytest.approx(expected, rel=1e-9)
