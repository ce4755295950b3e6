"""A sketch says of numbers what math.fsum and numpy say of them, however they were cut up."""

import math
from functools import partial

import numpy as np
import pytest
from drawn_words import (
    LENGTHS,
    MEASURED,
    NARROW,
    NUMPY,
    WIDE,
    WIDE_FLOAT,
    Figures,
    sketch,
    weights,
    words,
)
from hypothesis import given
from hypothesis import strategies as st

from scalecheck.dtypes import DTYPES
from scalecheck.measure.counting import Counter
from scalecheck.measure.sketch import Sketch

every_type = pytest.mark.parametrize("name", MEASURED)
every_narrow_type = pytest.mark.parametrize("name", NARROW)
every_wide_type = pytest.mark.parametrize("name", WIDE)

SHARES = (0.0, 1e-9, 0.01, 0.05, 0.1, 0.25, 0.3, 0.5, 0.7, 0.75, 0.9, 0.95, 0.99, 1.0)
FIGURES = ("mean", "std", "rms", "min", "max", "absmax")


def decoded(drawn, dtype):
    values = dtype.decode(drawn)
    return values[np.isfinite(values)]


def tallies(one):
    """What merging keeps bit for bit."""
    reals = np.array([one.low, one.high])
    return (
        one.values.tobytes(),
        one.counts.tobytes(),
        one.nan,
        one.inf,
        one.zeros,
        reals.tobytes(),
    )


def bits(figure):
    return None if figure is None else np.float64(figure).tobytes()


def every_figure(one):
    quantiles = [one.quantile(share) for share in SHARES] if one.finite else []
    return [bits(figure) for figure in [getattr(one, name) for name in FIGURES] + quantiles]


def assert_figures_agree(one, mean, std, rms):
    """To 1e-12 of the rms: where the mean cancels, that is what rounding is relative to."""
    assert one.rms == pytest.approx(rms, rel=1e-12, abs=0)
    assert one.mean == pytest.approx(mean, rel=0, abs=1e-12 * rms)
    assert one.std == pytest.approx(std, rel=0, abs=1e-12 * rms)


def is_negative_zero(figure):
    return figure == 0 and math.copysign(1, figure) < 0


@st.composite
def parts_and_grouping(draw, dtype):
    """Words, the sketches of their parts in any order, and the sketch merged pair by pair."""
    drawn = draw(words(dtype))
    cuts = sorted(draw(st.lists(st.integers(0, len(drawn)), max_size=5)))
    parts = [sketch(part, dtype) for part in np.split(drawn, cuts)]
    merged = list(draw(st.permutations(parts)))
    while len(merged) > 1:
        place = draw(st.integers(0, len(merged) - 2))
        merged[place : place + 2] = [merged[place] + merged[place + 1]]
    return drawn, parts, merged[0]


@every_type
@given(data=st.data())
def test_merging_in_any_order_gives_the_same_tallies(name, data):
    drawn, _, merged = data.draw(parts_and_grouping(DTYPES[name]))
    assert tallies(merged) == tallies(sketch(drawn, DTYPES[name]))


@every_type
@given(data=st.data())
def test_merging_at_once_gives_the_same_tallies(name, data):
    drawn, parts, _ = data.draw(parts_and_grouping(DTYPES[name]))
    assert tallies(Sketch.merge(parts)) == tallies(sketch(drawn, DTYPES[name]))


@every_narrow_type
@given(data=st.data())
def test_merging_exact_sketches_gives_the_same_figures_bit_for_bit(name, data):
    drawn, parts, merged = data.draw(parts_and_grouping(DTYPES[name]))
    expected = every_figure(sketch(drawn, DTYPES[name]))
    assert every_figure(merged) == expected
    assert every_figure(Sketch.merge(parts)) == expected


@every_wide_type
@given(data=st.data())
def test_merging_wide_sketches_gives_the_same_figures(name, data):
    drawn, parts, merged = data.draw(parts_and_grouping(DTYPES[name]))
    whole = sketch(drawn, DTYPES[name])
    for one in (merged, Sketch.merge(parts)):
        if whole.finite:
            assert_figures_agree(one, whole.mean, whole.std, whole.rms)
        else:
            assert one.mean is one.std is one.rms is None


@every_type
@given(data=st.data())
def test_the_empty_sketch_is_the_identity(name, data):
    one = sketch(data.draw(words(DTYPES[name])), DTYPES[name])
    for merged in (Sketch() + one, one + Sketch(), Sketch.merge([Sketch(), one, Sketch()])):
        assert tallies(merged) == tallies(one)
        assert every_figure(merged) == every_figure(one)


def test_merging_nothing_gives_the_empty_sketch():
    assert tallies(Sketch.merge([])) == tallies(Sketch())


@given(data=st.data())
def test_sketches_of_different_types_merge(data):
    first, second = (DTYPES[data.draw(st.sampled_from(MEASURED))] for _ in range(2))
    a, b = data.draw(words(first)), data.draw(words(second))
    merged = sketch(a, first) + sketch(b, second)
    values = np.concatenate([decoded(a, first), decoded(b, second)])
    assert tallies(merged) == tallies(sketch(b, second) + sketch(a, first))
    assert (merged.numel, merged.finite) == (len(a) + len(b), len(values))
    assert merged.zeros == np.count_nonzero(values == 0)
    if len(values):
        expected = Figures.of(values)
        assert_figures_agree(merged, expected.mean, expected.std, expected.rms)
        assert (merged.min, merged.max) == (values.min(), values.max())


@every_type
@given(data=st.data())
def test_a_counter_fed_in_blocks_agrees_with_one_block(name, data):
    dtype = DTYPES[name]
    drawn = data.draw(words(dtype))
    counter = Counter(dtype)
    for cut in np.split(drawn, sorted(data.draw(st.lists(st.integers(0, len(drawn)), max_size=4)))):
        counter.add(cut)
    one, whole = counter.take(), sketch(drawn, dtype)
    assert tallies(one) == tallies(whole)
    if whole.finite:
        assert_figures_agree(one, whole.mean, whole.std, whole.rms)


@every_type
@given(data=st.data())
def test_a_counter_starts_anew_after_it_was_read(name, data):
    dtype = DTYPES[name]
    counter = Counter(dtype)
    counter.add(data.draw(words(dtype)))
    counter.take()
    assert tallies(counter.take()) == tallies(Sketch())
    drawn = data.draw(words(dtype))
    counter.add(drawn)
    one = counter.take()
    assert tallies(one) == tallies(sketch(drawn, dtype))
    assert every_figure(one) == every_figure(sketch(drawn, dtype))


@every_type
@pytest.mark.parametrize("length", LENGTHS)
def test_one_block_more_of_any_length_is_counted(name, length):
    dtype = DTYPES[name]
    random = np.random.default_rng(length)
    drawn = random.integers(0, 1 << dtype.bits, length + 3, f"<u{dtype.itemsize}", endpoint=False)
    drawn = drawn.view(dtype.words)
    counter = Counter(dtype)
    counter.add(drawn[:3])
    counter.add(drawn[3:])
    assert tallies(counter.take()) == tallies(sketch(drawn, dtype))


@every_type
@given(data=st.data())
def test_order_of_the_words_does_not_matter(name, data):
    dtype = DTYPES[name]
    drawn = data.draw(words(dtype))
    shuffled = np.random.default_rng(0).permutation(drawn)
    assert tallies(sketch(shuffled, dtype)) == tallies(sketch(drawn, dtype))


@every_type
@given(data=st.data())
def test_figures_equal_correctly_rounded_sums(name, data):
    dtype = DTYPES[name]
    drawn = data.draw(words(dtype))
    one, values = sketch(drawn, dtype), decoded(drawn, dtype)
    if len(values):
        expected = Figures.of(values)
        assert_figures_agree(one, expected.mean, expected.std, expected.rms)


@every_type
@given(data=st.data())
def test_extremes_are_those_of_the_finite_values(name, data):
    dtype = DTYPES[name]
    drawn = data.draw(words(dtype))
    one, values = sketch(drawn, dtype), decoded(drawn, dtype)
    if len(values):
        assert (one.min, one.max) == (values.min(), values.max())
        assert one.absmax == np.abs(values).max()


@every_type
@given(data=st.data())
def test_zeros_nan_and_inf_are_counted(name, data):
    dtype = DTYPES[name]
    drawn = data.draw(words(dtype))
    one, values = sketch(drawn, dtype), dtype.decode(drawn)
    assert one.zeros == np.count_nonzero(values == 0)
    assert one.nan == np.count_nonzero(np.isnan(values))
    assert one.inf == np.count_nonzero(np.isinf(values))
    assert one.numel == len(values)
    assert one.finite == np.count_nonzero(np.isfinite(values))


@every_type
@given(data=st.data())
def test_values_rise_and_their_counts_sum_to_the_finite_ones(name, data):
    dtype = DTYPES[name]
    one = sketch(data.draw(words(dtype)), dtype)
    assert (np.diff(one.values) > 0).all()
    assert (one.counts > 0).all()
    assert one.counts.sum() == one.finite
    assert np.isfinite(one.values).all()


@every_narrow_type
@given(data=st.data())
def test_an_exact_sketch_holds_the_distinct_values(name, data):
    dtype = DTYPES[name]
    drawn = data.draw(words(dtype))
    one = sketch(drawn, dtype)
    values, counts = np.unique(decoded(drawn, dtype) + 0.0, return_counts=True)
    assert one.exact
    np.testing.assert_array_equal(one.values, values)
    np.testing.assert_array_equal(one.counts, counts)


@every_narrow_type
@given(data=st.data(), share=st.floats(0, 1))
def test_quantiles_of_narrow_types_are_exact(name, data, share):
    dtype = DTYPES[name]
    drawn = data.draw(words(dtype))
    one, values = sketch(drawn, dtype), decoded(drawn, dtype)
    for q in (*SHARES, share):
        if len(values):
            assert one.quantile(q) == np.quantile(values, q, method="inverted_cdf")
        else:
            assert one.quantile(q) is None


@every_wide_type
@given(data=st.data(), share=st.floats(0, 1))
def test_quantiles_of_wide_types_are_within_a_bin(name, data, share):
    dtype = DTYPES[name]
    drawn = data.draw(words(dtype))
    one, values = sketch(drawn, dtype), decoded(drawn, dtype)
    smallest_normal = np.finfo(NUMPY[name] if dtype.is_float else "f8").smallest_normal
    for q in (*SHARES, share):
        if len(values):
            expected = np.quantile(values, q, method="inverted_cdf")
            if expected == 0 or abs(expected) >= smallest_normal:
                assert abs(one.quantile(q) - expected) <= abs(expected) / 2**8
            else:
                assert abs(one.quantile(q) - expected) <= smallest_normal / 2**8


@every_type
@given(data=st.data())
def test_quantiles_do_not_fall(name, data):
    one = sketch(data.draw(words(DTYPES[name], min_size=1)), DTYPES[name])
    if one.finite:
        quantiles = [one.quantile(share) for share in SHARES]
        assert quantiles == sorted(quantiles)


@pytest.mark.parametrize("share", [-1e-9, 1.0000001, -1.0, math.inf, math.nan])
def test_a_share_outside_0_to_1_is_refused(share):
    one = sketch(np.ones(3, "<f4"), DTYPES["F32"])
    with pytest.raises(ValueError, match=r"0.*1"):
        one.quantile(share)


def test_a_share_outside_0_to_1_is_refused_of_nothing_too():
    with pytest.raises(ValueError, match=r"0.*1"):
        Sketch().quantile(2.0)


@every_type
def test_no_words_have_no_figures(name):
    one = sketch(np.empty(0, DTYPES[name].words), DTYPES[name])
    assert (one.numel, one.finite, one.zeros, one.nan, one.inf) == (0, 0, 0, 0, 0)
    assert [getattr(one, figure) for figure in FIGURES] == [None] * 6
    assert one.quantile(0.5) is None


@pytest.mark.parametrize("name", ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_words_without_a_finite_value_have_no_figures(name):
    dtype = DTYPES[name]
    every = np.arange(1 << min(dtype.bits, 16), dtype=f"<u{dtype.itemsize}")
    unsigned = every << np.array(dtype.bits - min(dtype.bits, 16), every.dtype)
    candidates = unsigned.view(dtype.words)
    lost = candidates[~np.isfinite(dtype.decode(candidates))]
    one = sketch(lost, dtype)
    assert one.finite == 0
    assert one.nan + one.inf == len(lost)
    assert [getattr(one, figure) for figure in FIGURES] == [None] * 6
    assert one.quantile(0.5) is None


@every_type
def test_one_word_is_its_own_mean_rms_and_extremes(name):
    dtype = DTYPES[name]
    word = np.array([1], f"<u{dtype.itemsize}").view(dtype.words)
    value = dtype.decode(word)[0]
    one = sketch(word, dtype)
    assert (one.mean, one.min, one.max) == (value, value, value)
    assert (one.rms, one.absmax, one.std) == (abs(value), abs(value), 0)


@every_type
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 4095, 4096, 4097, 70001])
def test_a_constant_has_no_deviation(name, length):
    dtype = DTYPES[name]
    random = np.random.default_rng(length)
    candidates = random.integers(0, 1 << dtype.bits, 40, f"<u{dtype.itemsize}", endpoint=False)
    candidates = candidates.view(dtype.words)
    for word in candidates[np.isfinite(dtype.decode(candidates))][:5]:
        assert sketch(np.repeat(word, length), dtype).std == 0


@every_wide_type
def test_a_short_constant_of_any_length_has_no_deviation(name):
    dtype, random = DTYPES[name], np.random.default_rng(0)
    for length in range(1, 130):
        word = weights(dtype, 1, int(random.integers(2**32))).view(dtype.words)
        one = sketch(np.repeat(word, length), dtype)
        assert (one.std, one.mean) == (0, dtype.decode(word)[0])


@every_type
@given(data=st.data())
def test_a_merged_constant_has_no_deviation(name, data):
    dtype = DTYPES[name]
    drawn = data.draw(words(dtype, min_size=1))
    finite = drawn[np.isfinite(dtype.decode(drawn))]
    lengths = data.draw(st.lists(st.sampled_from([1, 3, 64, 4097]), min_size=1, max_size=4))
    for word in finite[:1]:
        merged = Sketch.merge(sketch(np.repeat(word, length), dtype) for length in lengths)
        assert merged.std == 0
        assert merged.mean == dtype.decode(np.array([word]))[0]


@pytest.mark.parametrize(
    "value", [0.1, -1 / 3, 1e200, 1e308, 1e-310, 5e-324, 1.7976931348623157e308]
)
@pytest.mark.parametrize("length", [1, 3, 64, 4096, 4097, 10007])
def test_a_constant_f64_is_its_mean_and_rms_at_any_magnitude(value, length):
    one = sketch(np.full(length, value), DTYPES["F64"])
    assert one.std == 0
    assert one.mean == value
    assert one.rms == pytest.approx(abs(value), rel=1e-15, abs=0)


@pytest.mark.parametrize("scale", [1e200, 1e307, 1e-200, 1e-307])
@pytest.mark.parametrize("length", [2, 63, 4095, 4096, 4097, 20001])
def test_squares_of_f64_neither_overflow_nor_vanish(scale, length):
    values = np.random.default_rng(length).normal(0.1, 1, length) * scale
    one, expected = sketch(values, DTYPES["F64"]), Figures.of(values)
    assert_figures_agree(one, expected.mean, expected.std, expected.rms)


def test_figures_of_subnormal_f64_are_right_to_their_last_bit_but_one():
    values = np.arange(1, 4098) * 5e-324 * 2**20
    one, expected = sketch(values, DTYPES["F64"]), Figures.of(values)
    assert (one.min, one.max) == (values[0], values[-1])
    for figure in ("mean", "std", "rms"):
        assert getattr(one, figure) == pytest.approx(
            getattr(expected, figure), rel=1e-8, abs=1e-323
        )


@pytest.mark.parametrize("length", [2, 64, 4096, 10000])
def test_f64_of_every_magnitude_at_once(length):
    random = np.random.default_rng(length)
    values = np.ldexp(random.normal(size=length), random.integers(-1074, 1020, length))
    one, expected = sketch(values, DTYPES["F64"]), Figures.of(values)
    assert_figures_agree(one, expected.mean, expected.std, expected.rms)


@pytest.mark.parametrize("values", [(1.7e308, -1.7e308), (1.7e308, 1.7e308, -1.7e308, 0.0)])
def test_the_widest_f64_range_has_a_deviation(values):
    one, expected = sketch(np.array(values), DTYPES["F64"]), Figures.of(np.array(values))
    assert_figures_agree(one, expected.mean, expected.std, expected.rms)


@pytest.mark.parametrize(
    "merge", [lambda a, b: a + b, lambda a, b: b + a, lambda a, b: Sketch.merge([a, b])]
)
def test_huge_and_tiny_f64_merge(merge):
    huge, tiny = np.full(5000, 1e308), np.full(3000, 1e-310)
    one = merge(sketch(huge, DTYPES["F64"]), sketch(tiny, DTYPES["F64"]))
    expected = Figures.of(np.concatenate([huge, tiny]))
    assert_figures_agree(one, expected.mean, expected.std, expected.rms)


@pytest.mark.parametrize("name", WIDE_FLOAT)
@pytest.mark.parametrize("shift", [1.0, -1e3, 1e6])
def test_a_small_deviation_around_a_large_mean_is_kept(name, shift):
    """A sum of squares minus the squared mean would lose all digits of it."""
    values = np.random.default_rng(1).normal(shift, 1e-3 * abs(shift), 30000).astype(NUMPY[name])
    one, expected = sketch(values, DTYPES[name]), Figures.of(values.astype(np.float64))
    assert one.std == pytest.approx(expected.std, rel=1e-12)


@pytest.mark.parametrize("name", WIDE_FLOAT)
def test_a_first_element_far_from_the_others_costs_no_digits(name):
    values = np.random.default_rng(2).normal(0, 1, 30000).astype(NUMPY[name])
    values[0] = 1e6
    one, expected = sketch(values, DTYPES[name]), Figures.of(values.astype(np.float64))
    assert_figures_agree(one, expected.mean, expected.std, expected.rms)
    rest = sketch(values[:4096], DTYPES[name]) + sketch(values[4096:], DTYPES[name])
    assert_figures_agree(rest, expected.mean, expected.std, expected.rms)


@pytest.mark.parametrize("name", ["I64", "U64", "I32", "U32"])
@pytest.mark.parametrize("length", [1, 64, 4097])
def test_integer_extremes_are_measured(name, length):
    limits = np.iinfo(NUMPY[name])
    values = np.tile(np.array([limits.min, limits.max, 0, 1], NUMPY[name]), length)
    one, expected = sketch(values, DTYPES[name]), Figures.of(values.astype(np.float64))
    assert (one.min, one.max) == (float(limits.min), float(limits.max))
    assert one.zeros == np.count_nonzero(values == 0)
    assert_figures_agree(one, expected.mean, expected.std, expected.rms)


@every_type
def test_an_extreme_is_never_negative_zero(name):
    dtype = DTYPES[name]
    top = np.array([0, 1 << (dtype.bits - 1)], f"<u{dtype.itemsize}").view(dtype.words)
    for drawn in (top, top[::-1], top[1:], top[:1], np.repeat(top, 3000), np.repeat(top[1:], 5000)):
        one = sketch(np.ascontiguousarray(drawn), dtype)
        for figure in (one.min, one.max, one.absmax, one.quantile(0), one.quantile(1)):
            assert figure is None or not is_negative_zero(figure)


@pytest.mark.parametrize("name", ["F64", "F32", "F16", "BF16", "F8_E5M2"])
@pytest.mark.parametrize("signs", [(1, 1), (1, 0), (0, 1)])
def test_the_mean_of_zeros_is_never_negative_zero(name, signs):
    dtype = DTYPES[name]
    zeros = np.array(signs, f"<u{dtype.itemsize}") << np.array(dtype.bits - 1, f"u{dtype.itemsize}")
    one = sketch(zeros.view(dtype.words), dtype)
    assert not is_negative_zero(one.mean)
    assert not is_negative_zero((one + one).mean)


@pytest.mark.parametrize("name", ["F64", "F32", "F16", "BF16", "F8_E5M2"])
def test_negative_zeros_merge_into_zeros(name):
    dtype = DTYPES[name]
    zero, negative = (
        sketch(np.full(5, word, f"<u{dtype.itemsize}").view(dtype.words), dtype)
        for word in (0, 1 << (dtype.bits - 1))
    )
    assert tallies(zero + negative) == tallies(zero + zero)
    assert tallies(negative + negative) == tallies(zero + zero)
    assert every_figure(zero + negative) == every_figure(zero + zero)


@pytest.mark.parametrize("name", ["F64", "F32", "F16", "BF16", "F8_E5M2"])
def test_subnormals_are_no_zeros(name):
    dtype = DTYPES[name]
    smallest = np.full(4097, 1, f"<u{dtype.itemsize}").view(dtype.words)
    one = sketch(smallest, dtype)
    assert one.zeros == 0
    assert one.min == one.max == one.mean == dtype.decode(smallest)[0] > 0


@pytest.mark.parametrize(("name", "mantissa", "step"), [("F32", 23, -133), ("F64", 52, -1030)])
def test_quantiles_of_subnormals_are_within_the_stated_bound(name, mantissa, step):
    """Their bins have one width, which is no small part of the smallest of them."""
    dtype, random = DTYPES[name], np.random.default_rng(5)
    for bits in range(1, mantissa + 2):
        words = random.integers(0, 1 << bits, 999).astype(f"<u{dtype.itemsize}").view(dtype.words)
        values, one = np.sort(dtype.decode(words)), sketch(words, dtype)
        for q in (0.01, 0.25, 0.5, 0.75, 0.99, 1):
            exact = values[max(1, math.ceil(q * 999)) - 1]
            assert abs(one.quantile(q) - exact) <= max(2**-8 * exact, math.ldexp(1, step))


@every_type
def test_words_may_have_any_shape(name):
    dtype = DTYPES[name]
    drawn = np.arange(120, dtype=f"<u{dtype.itemsize}").view(dtype.words)
    shapes = (drawn.reshape(2, 3, 20), drawn.reshape(2, 3, 20).transpose(), drawn[::-1])
    for one in map(partial(sketch, dtype=dtype), shapes):
        assert tallies(one) == tallies(sketch(drawn, dtype))


@every_type
def test_a_single_word_may_have_no_dimension(name):
    dtype = DTYPES[name]
    word = np.zeros((), dtype.words)
    assert tallies(sketch(word, dtype)) == tallies(sketch(word.reshape(1), dtype))


@pytest.mark.parametrize("name", ["F32", "BF16", "I8"])
def test_words_are_left_as_they_were(name):
    dtype = DTYPES[name]
    drawn = np.random.default_rng(0).integers(0, 1 << dtype.bits, 9000, f"<u{dtype.itemsize}")
    before = drawn.tobytes()
    sketch(drawn.view(dtype.words), dtype)
    assert drawn.tobytes() == before
