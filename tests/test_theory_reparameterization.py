"""Moving hyperparameters to weights of another scale, and back; spectral views of an update."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.spectral import (
    activation_change,
    noise_spectral_norm,
    rank_one_spectral_norm,
    smallest_spectral_norm,
    spectral_relative_update,
)

ADAMW = Reparameterization(1, {"eps": -1, "weight_decay": -1, "max_norm": -1})
SGD = Reparameterization(2, {"weight_decay": -2})
scales = st.floats(1e-6, 1e6)
SETTINGS = {"lr": 1e-3, "eps": 1e-8, "weight_decay": 0.1, "beta1": 0.9, "max_norm": 1.0}


@given(scales)
def test_invert_undoes_apply(k: float) -> None:
    for law in (ADAMW, SGD, Reparameterization(0)):
        assert law.invert(law.apply(SETTINGS, k), k) == pytest.approx(SETTINGS)


@given(scales, scales)
def test_scales_compose(k: float, other: float) -> None:
    once = ADAMW.apply(SETTINGS, k * other)
    assert ADAMW.apply(ADAMW.apply(SETTINGS, k), other) == pytest.approx(once)


def test_a_power_of_two_moves_and_returns_exactly() -> None:
    assert SGD.invert(SGD.apply(SETTINGS, 8.0), 8.0) == SETTINGS
    assert SGD.apply(SETTINGS, 8.0)["weight_decay"] == 0.1 / 64


@given(scales)
def test_decoupled_decay_keeps_lr_times_weight_decay(k: float) -> None:
    moved = ADAMW.apply(SETTINGS, k)
    assert moved["lr"] * moved["weight_decay"] == pytest.approx(1e-4)


def test_what_the_law_does_not_name_stays_untouched() -> None:
    moved = SGD.apply({"lr": 0.1, "momentum": 0.9, "nesterov": True}, 3.0)
    assert moved == {"lr": pytest.approx(0.9), "momentum": 0.9, "nesterov": True}
    assert moved["nesterov"] is True


def test_an_impossible_law_or_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="lr has its own exponent"):
        Reparameterization(1, {"lr": 2})
    for k in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="k "):
            ADAMW.apply(SETTINGS, k)


@given(st.integers(1, 10_000), st.integers(1, 10_000), st.floats(0.0, 10.0))
def test_spectral_norms_are_ordered(rows: int, cols: int, rms: float) -> None:
    smallest = smallest_spectral_norm(rows, cols, rms)
    largest = rank_one_spectral_norm(rows, cols, rms)
    assert smallest <= largest * (1 + 1e-12)
    assert smallest <= noise_spectral_norm(rows, cols, rms) <= 2 * smallest * (1 + 1e-12)


def test_coherent_updates_of_a_square_matrix_count_for_half_its_root() -> None:
    noise, coherent = spectral_relative_update(4096, 4096, 1e-3)
    assert noise == 1e-3
    assert coherent == pytest.approx(32e-3)


def test_aligned_updates_change_activations_by_fan_in() -> None:
    noise, aligned = activation_change(400, 1e-3, 2.0)
    assert noise == pytest.approx(0.04)
    assert aligned == pytest.approx(0.8)


def test_an_empty_matrix_has_no_spectral_norm() -> None:
    with pytest.raises(ValueError, match="a 0 x 4 matrix is empty"):
        noise_spectral_norm(0, 4, 1.0)
    with pytest.raises(ValueError, match=r"rms -1\.0"):
        rank_one_spectral_norm(3, 4, -1.0)
