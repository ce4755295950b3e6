"""Laws of the update RMS that hold for all betas, steps and gradients."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scalecheck.theory.averages import adam_averages, squared_weight_sum
from scalecheck.theory.drift import average_rms, momentum_update_rms
from scalecheck.theory.noise import Autoregressive, Gaussian, Noise, Sparse, StudentT, log_laplace
from scalecheck.theory.special import SERIES_FROM, eps_damping, erfcx
from scalecheck.theory.update_rms import Update, expected_update, update_moments, update_rms

beta1s = st.sampled_from([0.0, 0.5, 0.8, 0.9, 0.95])
beta2s = st.sampled_from([0.5, 0.9, 0.95, 0.98, 0.999, 0.9999])
snrs = st.floats(-10.0, 10.0)
steps = st.one_of(st.none(), st.integers(1, 10**6))
short_steps = st.integers(1, 60)
ratios = st.one_of(st.just(math.inf), st.floats(1e-3, 1e6))

quick = settings(max_examples=40, deadline=None)


@quick
@given(beta1s, beta2s, snrs, st.floats(1e-9, 1e9))
def test_first_step_is_one_at_any_scale(
    beta1: float, beta2: float, snr: float, scale: float
) -> None:
    """Scale enters through eps alone: without it, the first step is ±1 for every gradient."""
    assert update_rms(beta1, beta2, snr, step=1) == pytest.approx(1.0, abs=1e-9)
    assert update_rms(beta1, beta2, snr, 1, scale) < 1.0


@quick
@given(beta2s, snrs, steps)
def test_update_without_momentum_is_at_most_one(beta2: float, snr: float, step: int | None) -> None:
    assert update_rms(0.0, beta2, snr, step) <= 1 + 1e-9


@quick
@given(beta1s, beta2s, snrs, steps, ratios)
def test_mean_is_odd_in_snr_and_no_larger_than_the_rms(
    beta1: float, beta2: float, snr: float, step: int | None, ratio: float
) -> None:
    update = expected_update(beta1, beta2, snr, step, ratio)
    mirrored = expected_update(beta1, beta2, -snr, step, ratio)
    assert update.rms == pytest.approx(mirrored.rms)
    assert update.mean == pytest.approx(-mirrored.mean)
    assert abs(update.mean) <= update.rms * (1 + 1e-9)
    assert update.mean * snr >= 0


@quick
@given(beta1s, st.sampled_from([0.95, 0.99, 0.999]), snrs, snrs, st.one_of(st.none(), short_steps))
def test_update_grows_with_snr(
    beta1: float, beta2: float, snr: float, other: float, step: int | None
) -> None:
    assume(beta1 < beta2)
    low, high = sorted((abs(snr), abs(other)))
    smaller, larger = (expected_update(beta1, beta2, s, step) for s in (low, high))
    assert smaller.rms <= larger.rms + 1e-9
    assert smaller.mean <= larger.mean + 1e-9


@quick
@given(beta1s, beta2s, snrs, steps, st.floats(1e-3, 1e3))
def test_eps_shrinks_the_update(
    beta1: float, beta2: float, snr: float, step: int | None, ratio: float
) -> None:
    without = update_rms(beta1, beta2, snr, step)
    weaker = update_rms(beta1, beta2, snr, step, 2 * ratio)
    assert update_rms(beta1, beta2, snr, step, ratio) < weaker < without + 1e-9
    assert update_rms(beta1, beta2, snr, step, 1e9) == pytest.approx(without, rel=1e-4)


@pytest.mark.parametrize("ratio", [1e-3, 1e-8, 1e-30])
def test_update_below_eps_is_the_average_gradient_over_eps(ratio: float) -> None:
    update = expected_update(0.9, 0.999, 0.5, grad_rms_over_eps=ratio)
    assert update.rms == pytest.approx(ratio * average_rms(0.9, 0.5), rel=3e-3)
    assert update.mean == pytest.approx(ratio * 0.5 / math.hypot(1, 0.5), rel=3e-3)


def test_a_gradient_of_zero_makes_no_update() -> None:
    assert expected_update(0.9, 0.999, grad_rms_over_eps=0.0) == Update(0.0, 0.0)


@quick
@given(beta1s, st.sampled_from([0.5, 0.9, 0.98, 0.99]), snrs, steps, ratios)
def test_sampled_lags_sum_as_every_lag(
    beta1: float, beta2: float, snr: float, step: int | None, ratio: float
) -> None:
    every = adam_averages(beta1, beta2, step, every_lag=True)
    sampled = adam_averages(beta1, beta2, step)
    assert sampled.weight.sum() == pytest.approx(len(every.a))
    expected = update_moments(every, Gaussian(), snr, 1 / ratio)
    assert update_moments(sampled, Gaussian(), snr, 1 / ratio) == pytest.approx(expected, rel=1e-10)


@settings(deadline=None)
@given(st.floats(0.0, 0.9999), steps)
def test_weights_of_an_average_add_up_to_one(beta: float, step: int | None) -> None:
    averages = adam_averages(beta, 0.0, step)
    assert averages.weight @ averages.a == pytest.approx(1.0, rel=1e-12)
    assert averages.weight @ averages.a**2 == pytest.approx(squared_weight_sum(beta, step))


@quick
@given(beta1s, snrs, st.integers(1, 10**6))
def test_the_average_is_the_limit_of_a_long_beta2(beta1: float, snr: float, step: int) -> None:
    assume(beta1 <= 0.95)
    assert update_rms(beta1, 1 - 1e-7, snr) == pytest.approx(average_rms(beta1, snr), rel=1e-5)
    assert average_rms(beta1, snr, step) >= average_rms(beta1, snr) - 1e-12


@quick
@given(beta1s, st.sampled_from([0.9, 0.95]), snrs, st.one_of(st.none(), short_steps), ratios)
def test_uncorrelated_autoregression_is_independent_noise(
    beta1: float, beta2: float, snr: float, step: int | None, ratio: float
) -> None:
    independent = expected_update(beta1, beta2, snr, step, ratio)
    correlated = expected_update(beta1, beta2, snr, step, ratio, Autoregressive(0.0))
    assert correlated == pytest.approx(independent, rel=1e-9, abs=1e-12)


@quick
@given(st.sampled_from([0.5, 0.9]), st.floats(-0.9, 0.9), st.floats(-0.9, 0.9))
def test_update_grows_with_the_correlation_of_gradients(
    beta1: float, rho: float, other: float
) -> None:
    low, high = sorted((rho, other))
    smaller, larger = (update_rms(beta1, 0.95, noise=Autoregressive(r)) for r in (low, high))
    assert smaller <= larger + 1e-12


@quick
@given(st.floats(-0.95, 0.95), snrs)
def test_correlation_does_not_change_the_first_step(rho: float, snr: float) -> None:
    assert update_rms(0.9, 0.99, snr, 1, noise=Autoregressive(rho)) == pytest.approx(1.0)


@quick
@given(beta1s, beta2s, st.one_of(st.none(), short_steps), ratios)
def test_dense_sparse_noise_is_gaussian(
    beta1: float, beta2: float, step: int | None, ratio: float
) -> None:
    assume(beta1**2 < beta2)
    gaussian = update_rms(beta1, beta2, 0.0, step, ratio)
    assert update_rms(beta1, beta2, 0.0, step, ratio, Sparse(1.0)) == pytest.approx(gaussian)


@quick
@given(beta1s, beta2s, st.one_of(st.none(), short_steps))
def test_student_t_of_many_degrees_of_freedom_is_gaussian(
    beta1: float, beta2: float, step: int | None
) -> None:
    gaussian = update_rms(beta1, beta2, step=step)
    assert update_rms(beta1, beta2, step=step, noise=StudentT(1e7)) == pytest.approx(
        gaussian, rel=1e-5
    )


@pytest.mark.parametrize("noise", [StudentT(1.0), StudentT(2.5), Sparse(0.05), Sparse(1e-6)])
def test_an_elements_first_gradient_moves_it_by_one(noise: Noise) -> None:
    density = noise.density if isinstance(noise, Sparse) else 1.0
    assert update_rms(0.9, 0.99, step=1, noise=noise) ** 2 == pytest.approx(density, rel=1e-7)


@pytest.mark.parametrize("dof", [1.0, 1.5])
def test_heavy_tails_tend_to_root_half_dof(dof: float) -> None:
    expected = math.sqrt(dof / 2) * average_rms(0.9)
    assert update_rms(0.9, 1 - 1e-6, noise=StudentT(dof)) == pytest.approx(expected, rel=0.01)


def test_log_laplace_of_cauchy_is_erfcx() -> None:
    """E e^(−z·t²) = exp(z)·erfc(√z) for one degree of freedom."""
    z = np.geomspace(1e-12, 1e12, 301)
    log_phi, log_slope = log_laplace(z, 1.0)
    phi = erfcx(np.sqrt(z))
    assert np.allclose(log_phi, np.log(phi), rtol=1e-7, atol=1e-12)
    slope = 1 / np.sqrt(math.pi * z) - phi
    near = z < 1e4  # beyond, the difference has lost its digits
    assert np.allclose(log_slope[near], np.log(slope[near]), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (0.0, 1.0),
        (0.5, 0.6156903441929258749),
        (1.0, 0.4275835761558070044),
        (5.0, 0.1107046377339686266),
        (11.9, 0.047245232484087669952),
        (12.1, 0.046469607339835010325),
        (25.0, 0.022549572432641358944),
        (1e3, 0.000564189301453387),
        (1e10, 5.641895835477563e-11),
    ],
)
def test_erfcx_values(x: float, expected: float) -> None:
    """Reference: 40-digit arithmetic."""
    assert float(erfcx(np.array([x]))[0]) == pytest.approx(expected, rel=1e-13)


def test_eps_damping_is_continuous_where_its_series_takes_over() -> None:
    below, above = SERIES_FROM * (1 - 1e-9), SERIES_FROM * (1 + 1e-9)
    first, second = eps_damping(np.array([below, above]))
    assert first[1] == pytest.approx(first[0], rel=1e-8)
    assert second[1] == pytest.approx(second[0], rel=1e-8)
    assert [float(at_zero[0]) for at_zero in eps_damping(np.zeros(1))] == [1.0, 1.0]


@settings(deadline=None)
@given(st.floats(0.0, 0.99), snrs)
def test_momentum_sums_its_past(momentum: float, snr: float) -> None:
    assert momentum_update_rms(momentum, snr, step=1) == pytest.approx(1.0)
    assert momentum_update_rms(0.0, snr, nesterov=True) == pytest.approx(1.0)
    assert momentum_update_rms(momentum) == pytest.approx(1 / math.sqrt(1 - momentum**2))
    assert momentum_update_rms(momentum, 1e9) == pytest.approx(1 / (1 - momentum))
    assert momentum_update_rms(momentum, snr, step=10**6) == pytest.approx(
        momentum_update_rms(momentum, snr)
    )


def test_momentum_table() -> None:
    """Momentum 0.9: 2.294, nesterov 2.658 on noise, 10 on a constant gradient."""
    assert momentum_update_rms(0.9) == pytest.approx(2.294, abs=5e-4)
    assert momentum_update_rms(0.9, nesterov=True) == pytest.approx(2.658, abs=5e-4)
    assert momentum_update_rms(0.9, 1e9, nesterov=True) == pytest.approx(10.0)
