"""The size of weights under noise and weight decay."""

import math

import pytest

from scalecheck.theory.growth import growth, warmup_growth


def test_decay_and_noise_end_at_their_equilibrium():
    lr, decay = 1e-3, 0.1
    assert growth(lr, decay, 1e9).rms(2.0) == pytest.approx(math.sqrt(lr / (2 * decay)))
    assert growth(lr, decay, 1e9).rms(2.0, 3.0) == pytest.approx(3 * math.sqrt(lr / (2 * decay)))


def test_without_decay_squares_add_up():
    assert growth(1e-3, 0.0, 100).rms(2.0) == pytest.approx(math.sqrt(4 + 100e-6))


def test_two_stretches_are_one():
    half, whole = growth(1e-3, 0.1, 500), growth(1e-3, 0.1, 1000)
    assert half.rms(half.rms(0.02)) == pytest.approx(whole.rms(0.02))


def test_a_warmup_adds_the_squares_of_its_lrs():
    """Σ (lr·i/n)² over n steps is a third of n·lr²."""
    assert warmup_growth(1e-3, 0.0, 3000).rms(0.0) == pytest.approx(1e-3 * math.sqrt(1000), 1e-4)
    assert warmup_growth(1e-3, 0.1, 0) == (1.0, 0.0)
