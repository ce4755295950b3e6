"""Moving hyperparameters to weights of another scale, and back."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalecheck.theory.reparameterization import Reparameterization

ADAMW = Reparameterization(1, {"eps": -1, "weight_decay": -1, "max_norm": -1})
SGD = Reparameterization(2, {"weight_decay": -2})
scales = st.floats(1e-6, 1e6)
SETTINGS = {"lr": 1e-3, "eps": 1e-8, "weight_decay": 0.1, "beta1": 0.9, "max_norm": 1.0}


@settings(deadline=None)
@given(scales)
def test_the_inverse_scale_undoes_it(k: float) -> None:
    for law in (ADAMW, SGD, Reparameterization(0)):
        assert law.apply(law.apply(SETTINGS, k), 1 / k) == pytest.approx(SETTINGS)


@settings(deadline=None)
@given(scales, scales)
def test_scales_compose(k: float, other: float) -> None:
    once = ADAMW.apply(SETTINGS, k * other)
    assert ADAMW.apply(ADAMW.apply(SETTINGS, k), other) == pytest.approx(once)


def test_a_power_of_two_moves_and_returns_exactly() -> None:
    assert SGD.apply(SGD.apply(SETTINGS, 8.0), 1 / 8) == SETTINGS
    assert SGD.apply(SETTINGS, 8.0)["weight_decay"] == 0.1 / 64


@settings(deadline=None)
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
