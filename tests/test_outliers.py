"""Which sibling is out of scale: what stands out, wherever it stands, and what does not."""

import math
import random

import pytest

from scalecheck.measure.outliers import LEAST_FACTOR, family_ratios, strays


def siblings(logs):
    return {f"blocks.{place}.w.weight": math.exp(log) for place, log in enumerate(logs)}


def noise(count, spread, seed):
    generator = random.Random(seed)
    return [generator.gauss(0, spread) for _ in range(count)]


@pytest.mark.parametrize("count", [3, 4, 5, 6, 12, 100, 201, 250])
@pytest.mark.parametrize("factor", [30, 1 / 30])
def test_a_stray_is_found_at_any_place_and_alone(count, factor):
    places = range(count) if count < 13 else (0, 1, count // 2, count - 1)
    for place in places:
        logs = noise(count, 0.05, count)
        logs[place] += math.log(factor)
        assert [*strays(siblings(logs))] == [f"blocks.{place}.w.weight"]


@pytest.mark.parametrize("count", [5, 12, 100, 250])
@pytest.mark.parametrize("slope", [-0.7, -0.01, 0.3])
def test_a_steady_trend_over_depth_is_no_outlier_and_hides_none(count, slope):
    if abs(slope) * count > 600:
        slope /= 10
    logs = [log + slope * place for place, log in enumerate(noise(count, 0.05, count))]
    assert strays(siblings(logs)) == {}
    logs[count // 2] += math.log(30)
    (name,) = strays(siblings(logs))
    assert name == f"blocks.{count // 2}.w.weight"


def test_blocks_are_ordered_by_number_and_not_by_spelling():
    logs = [0.9 * place for place in range(12)]
    named = siblings(logs)
    shuffled = {name: named[name] for name in sorted(named)}
    assert strays(shuffled) == {}


@pytest.mark.parametrize("scale", [1e-150, 1e-3, 1e150])
def test_a_common_factor_changes_nothing(scale):
    logs = noise(8, 0.3, 1)
    logs[6] += 4
    plain = strays(siblings(logs))
    scaled = strays({name: x * scale for name, x in siblings(logs).items()})
    assert plain.keys() == scaled.keys()
    for name, stray in plain.items():
        assert scaled[name].factor == pytest.approx(stray.factor)
        assert scaled[name].expected == pytest.approx(stray.expected * scale)


@pytest.mark.parametrize("count", [3, 5, 8, 24, 80])
def test_noise_up_to_a_third_of_an_e_fold_raises_no_alarm(count):
    """Of 300 families of each size; a stray needs a factor of 4, which is 4 deviations here."""
    alarms = sum(bool(strays(siblings(noise(count, 0.33, seed)))) for seed in range(300))
    assert alarms <= 1


def test_what_has_no_scale_is_no_sibling():
    named = siblings([0, 0.1, 0.2]) | {"blocks.9.w.weight": 0.0, "blocks.10.w.weight": None}
    assert strays(named) == {}
    assert strays(siblings([0, 9])) == {}
    assert strays({}) == {}


def test_a_stray_carries_what_was_expected_and_how_far_off_it_is():
    (stray,) = strays(siblings([0, 0, 0, math.log(50), 0, 0])).values()
    assert stray.expected == pytest.approx(1)
    assert stray.factor == pytest.approx(50)
    assert stray.limit == pytest.approx(LEAST_FACTOR)


def test_limits_can_be_others():
    named = siblings([0, 0, 0, math.log(10), 0])
    assert len(strays(named)) == 1
    assert strays(named, least_factor=11) == {}
    wide = siblings([-1, 1, -1, 1, math.log(10)])
    assert strays(wide) == {}
    assert strays(wide, least_factor=2, least_deviations=0.5)


def test_ratios_are_to_the_median():
    assert family_ratios({"a": 1.0, "b": 2.0, "c": 8.0, "d": 0.0}) == {"a": 0.5, "b": 1, "c": 4}
    assert family_ratios({"a": 1.0}) == {}


def test_scales_at_both_ends_of_float64_have_an_infinite_factor():
    named = {f"blocks.{n}.w": x for n, x in enumerate([1e-300, 1e300, 1e300, 1e300])}
    assert strays(named)["blocks.0.w"].factor == math.inf
