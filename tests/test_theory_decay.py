"""Weight decay's equilibrium: its limits and what it depends on."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalecheck.theory.closed_form import first_order
from scalecheck.theory.decay import (
    approaching_rms,
    coupled_equilibrium_rms,
    coupled_memory_steps,
    equilibrium_relative_update,
    equilibrium_rms,
    memory_steps,
    torch_weight_decay,
)
from scalecheck.theory.sign_updates import lion_equilibrium_rms, lion_noise_gain

lrs = st.floats(1e-6, 0.1)
decays = st.floats(1e-4, 5.0)
beta1s = st.floats(0.0, 0.99)


@given(lrs, decays, st.floats(-5, 5), beta1s)
def test_sharper_equilibrium_lies_below_the_simple_one(
    lr: float, weight_decay: float, snr: float, beta1: float
) -> None:
    """Up to the second order of lr·weight_decay, which shows at beta1 0."""
    sharper = equilibrium_rms(lr, weight_decay, snr, beta1)
    assert sharper <= equilibrium_rms(lr, weight_decay, snr) * (1 + lr * weight_decay)


def test_sharper_equilibrium_tends_to_the_simple_one() -> None:
    assert equilibrium_rms(1e-6, 0.1, beta1=0.9) == pytest.approx(
        equilibrium_rms(1e-6, 0.1), rel=1e-5
    )


@given(lrs, decays, st.floats(-100, 100))
def test_decayed_weights_stay_within_one_over_weight_decay(
    lr: float, weight_decay: float, snr: float
) -> None:
    assert equilibrium_rms(lr, weight_decay, snr) <= 1 / weight_decay * (1 + 1e-12)


@given(lrs, decays, beta1s, st.floats(-5, 5))
def test_equilibrium_relative_update_is_lr_u_over_rms(
    lr: float, weight_decay: float, beta1: float, snr: float
) -> None:
    expected = lr * first_order(beta1, snr) / equilibrium_rms(lr, weight_decay, snr)
    assert equilibrium_relative_update(lr, weight_decay, beta1, snr) == pytest.approx(expected)
    noise = math.sqrt(2 * lr * weight_decay * (1 - beta1) / (1 + beta1))
    assert equilibrium_relative_update(lr, weight_decay, beta1) == pytest.approx(noise)


@given(st.floats(0.0, 10.0), st.floats(0.0, 10.0), st.floats(0.0, 1e4), st.floats(0.0, 1.0))
def test_weights_approach_the_equilibrium(
    rms: float, equilibrium: float, lr_sum: float, weight_decay: float
) -> None:
    reached = approaching_rms(rms, equilibrium, lr_sum, weight_decay)
    low, high = sorted((rms, equilibrium))
    assert low * (1 - 1e-9) <= reached <= high * (1 + 1e-9)
    assert approaching_rms(rms, equilibrium, 0.0, weight_decay) == pytest.approx(rms)
    assert approaching_rms(rms, equilibrium, 1e6, 1.0) == pytest.approx(equilibrium)


@pytest.mark.parametrize(("steps", "rms"), [(100, 0.6117), (200, 0.3795), (400, 0.1677)])
def test_rms_approaches_the_equilibrium_as_computed_by_hand(steps: int, rms: float) -> None:
    assert approaching_rms(1.0, 0.1, 0.01 * steps, 0.5) == pytest.approx(rms, abs=1e-4)


def test_memory_is_one_over_lr_weight_decay() -> None:
    assert memory_steps(3e-4, 0.1) == pytest.approx(1 / 3e-5)
    assert coupled_memory_steps(1e-3, 0.3, 10.0) == pytest.approx(10 / 3e-4)


@given(st.floats(1e-3, 1e3))
def test_coupled_equilibrium_moves_with_the_gradients_scale(scale: float) -> None:
    unit = coupled_equilibrium_rms(1e-3, 0.3, 1.0)
    assert coupled_equilibrium_rms(1e-3, 0.3, scale) == pytest.approx(unit * math.sqrt(scale))


def test_independent_weight_decay_is_divided_by_lr() -> None:
    assert torch_weight_decay(1e-4, 1e-3) == pytest.approx(0.1)
    assert torch_weight_decay(0.0, 1e-3) == 0.0


def test_lion_without_momentum_settles_as_independent_signs() -> None:
    assert lion_noise_gain(0.0, 0.99) == pytest.approx(1.0)
    assert lion_equilibrium_rms(1e-4, 0.5, 0.0, 0.0) == pytest.approx(
        equilibrium_rms(1e-4, 0.5), rel=1e-4
    )
