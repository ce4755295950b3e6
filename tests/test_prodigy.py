"""What a state of Prodigy tells of its last step, whose lr was multiplied by the d before it."""

import math

import numpy as np
import pytest

from scalecheck.optimizers.prodigy import Optimizer

M, V = np.array([0.5, -2.0]), np.array([1.0, 9.0])


def steps(d0, growth_rate, estimates):
    """The d before each step and the settings after it, of these estimates d_hat."""
    d = d_max = d0
    for d_hat in estimates:
        before = d
        if d == d0:
            d = max(d, d_hat)
        d_max = max(d_max, d_hat)
        d = min(d_max, d * growth_rate)
        yield before, {"d": d, "d0": d0, "d_max": d_max, "d_hat": d_hat, "growth_rate": growth_rate}


def told(settings, step=9):
    """The last update of one state."""
    return Optimizer(**settings).last_update_from_state({"exp_avg": M, "exp_avg_sq": V}, step)


@pytest.mark.parametrize("growth_rate", [1.0, 1.02, 1.15, 2.0, math.inf])
def test_an_update_is_that_of_the_d_before_or_is_not_told(growth_rate):
    count = 0
    for seed in range(20):
        draw = np.random.default_rng(seed)
        estimates = 0.1 * np.exp(draw.normal(size=60).cumsum() * draw.choice([0.1, 1.0]))
        estimates[draw.integers(30, 60) :] = draw.choice([-0.1, 1e-3])
        for before, settings in steps(0.1, growth_rate, map(float, estimates)):
            update = told(settings).update
            if update is not None:
                right = before * M / (np.sqrt(V) + settings["d"] * 1e-8)
                np.testing.assert_allclose(update, right, rtol=1e-12)
                count += 1
    assert count > 100


def test_a_d_that_reached_its_largest_at_a_growth_rate_tells_no_update():
    """It may have done so at the last step."""
    (*_, (_, settings)) = steps(0.1, 1.5, [0.2, 0.0, 0.0, 0.0])
    assert settings["d"] == settings["d_max"] == 0.2
    found = told(settings)
    assert found.update is None
    assert found.reason == (
        "Prodigy's d may have grown at the last step, and its state does not tell by what"
    )


def test_bias_correction_goes_by_the_steps_of_the_group():
    """A tensor that had its first gradient late is corrected as the others are."""
    settings = {"d": 0.1, "d0": 0.1, "d_max": 0.1, "d_hat": 0.0, "bias_correction": True}
    late = told(settings | {"steps_done": 9}, step=3).update
    np.testing.assert_array_equal(late, told(settings, step=9).update)
