"""Schedules: closed sums against the steps they stand for, and what they displace."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lr_multiples import multiples_of

from scalecheck.theory.drift import displacement_rms, drift_fraction
from scalecheck.theory.schedule import SHAPES, Schedule

WITH_FLOOR = ("linear", "cosine", "wsd")


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    shape = draw(st.sampled_from(SHAPES))
    steps = draw(st.integers(1, 3000))
    warmup = draw(st.integers(1 if shape == "inverse-sqrt" else 0, steps))
    floor = draw(st.floats(0.0, 1.0)) if shape in WITH_FLOOR else 0.0
    decay = draw(st.integers(0, steps - warmup)) if shape == "wsd" else 0
    return Schedule(shape, steps, warmup, floor, decay)


@settings(deadline=None)
@given(schedules())
def test_sums_are_those_of_the_steps(schedule: Schedule) -> None:
    multiples = multiples_of(schedule)
    assert len(multiples) == schedule.steps
    assert schedule.sums().first == pytest.approx(math.fsum(multiples), rel=1e-9)
    assert schedule.sums().second == pytest.approx(math.fsum(multiples**2), rel=1e-9)


@settings(deadline=None)
@given(schedules())
def test_single_steps_and_partial_sums_are_those_of_the_steps(schedule: Schedule) -> None:
    multiples = multiples_of(schedule)
    assert schedule.multiples() == pytest.approx(multiples, rel=1e-12)
    reached = np.cumsum(multiples)
    for step in {1, schedule.warmup, schedule.warmup + 1, schedule.steps} & {
        *range(1, schedule.steps + 1)
    }:
        assert schedule.at(step) == pytest.approx(multiples[step - 1], rel=1e-12)
        assert schedule.sum_to(step) == pytest.approx(reached[step - 1], rel=1e-9)


@settings(deadline=None)
@given(schedules(), st.floats(1e-3, 1.2))
def test_a_total_is_reached_by_the_first_step_that_has_it(schedule: Schedule, share: float) -> None:
    reached = np.cumsum(multiples_of(schedule))
    total = share * float(reached[-1])
    assume(np.min(np.abs(reached / total - 1)) > 1e-9)
    expected = int(np.searchsorted(reached, total)) + 1 if share <= 1 else None
    assert schedule.steps_to(total) == expected


@settings(deadline=None)
@given(schedules())
def test_multiples_rise_to_the_peak_and_fall_from_it(schedule: Schedule) -> None:
    multiples = multiples_of(schedule)
    assert multiples.max() <= 1.0
    assert multiples.min() > 0
    assert np.all(np.diff(multiples[: schedule.warmup]) > 0)
    assert np.all(np.diff(multiples[max(schedule.warmup - 1, 0) :]) <= 1e-15)


@pytest.mark.parametrize(
    ("schedule", "first", "second"),
    [
        (Schedule("constant", 30_000), 1.0, 1.0),
        (Schedule("linear", 30_000), 1 / 2, 1 / 3),
        (Schedule("cosine", 30_000), 1 / 2, 3 / 8),
        (Schedule("cosine", 30_000, floor=0.1), 0.55, 0.01 + 0.09 + 3 * 0.81 / 8),
        (Schedule("wsd", 30_000, decay=3000), 0.95, 0.9 + 0.1 / 3),
        (Schedule("inverse-sqrt", 30_000, warmup=300), 0.185, 0.01 * (math.log(100) + 1 / 3)),
    ],
)
def test_sums_of_long_schedules_are_the_integrals(
    schedule: Schedule, first: float, second: float
) -> None:
    sums = schedule.sums()
    assert sums.first / schedule.steps == pytest.approx(first, rel=1e-3)
    assert sums.second / schedule.steps == pytest.approx(second, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("polynomial", 10), "schedule 'polynomial' is none of"),
        (("constant", 0), "steps 0 is below 1"),
        (("cosine", 10, 11), "warmup 11 is outside 0..10"),
        (("inverse-sqrt", 10, 0), "warmup 0 is outside 1..10"),
        (("linear", 10, 0, 1.5), r"floor 1.5 is outside \[0, 1\]"),
        (("constant", 10, 0, 0.5), "floor 0.5: a constant schedule has none"),
        (("cosine", 10, 0, 0.0, 3), "decay 3: only a wsd schedule has one"),
        (("wsd", 10, 4, 0.0, 7), "decay 7 is outside 0..6"),
    ],
)
def test_an_impossible_schedule_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Schedule(*arguments)  # type: ignore[arg-type]  # the tuple mixes the fields' types


@settings(deadline=None)
@given(st.floats(0.0, 1e6), st.floats(0.0, 1e6), st.floats(-10, 10))
def test_displacement_is_no_smaller_than_its_mean(first: float, second: float, snr: float) -> None:
    rms = displacement_rms(first, second, snr)
    assert rms >= abs(drift_fraction(snr)) * first * (1 - 1e-12)
    assert rms == displacement_rms(first, second, -snr)


@settings(deadline=None)
@given(schedules(), st.floats(1e-6, 1e-2))
def test_displacement_scales_with_the_peak_lr(schedule: Schedule, lr: float) -> None:
    assume(schedule.steps > 1)
    sums = schedule.sums()
    scaled = displacement_rms(lr * sums.first, lr**2 * sums.second, 0.1)
    assert scaled == pytest.approx(lr * displacement_rms(sums.first, sums.second, 0.1))
