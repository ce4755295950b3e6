"""Reference RMS of initializations against torch's own."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from scalecheck.theory.initialization import (
    SCHEMES,
    fan_in,
    fan_out,
    recurrent_rms,
    reference_rms,
    residual_rms,
    rms_tolerance,
    uniform_rms,
)

Initialize = Callable[[torch.Tensor], object]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def rms(tensor: torch.Tensor) -> float:
    return float(tensor.detach().double().square().mean().sqrt())


@pytest.mark.parametrize(
    ("scheme", "initialize", "gain"),
    [
        ("torch_default", lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5)), 1.0),
        ("kaiming", lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"), 1.0),
        (
            "kaiming_fan_out",
            lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
            1.0,
        ),
        ("lecun", lambda w: nn.init.kaiming_normal_(w, nonlinearity="linear"), 1.0),
        ("xavier", lambda w: nn.init.xavier_uniform_(w, gain=2.0), 2.0),
        ("orthogonal", lambda w: nn.init.orthogonal_(w, gain=0.5), 0.5),
        ("dirac", nn.init.dirac_, 1.0),
        ("standard_normal", nn.init.normal_, 1.0),
        ("normal_0.02", lambda w: nn.init.normal_(w, std=0.02), 1.0),
        ("ones", nn.init.ones_, 1.0),
        ("zeros", nn.init.zeros_, 1.0),
    ],
)
@pytest.mark.parametrize("shape", [(64, 48, 3, 3), (40, 160, 5)])
def test_scheme_is_torchs(
    scheme: str, initialize: Initialize, gain: float, shape: tuple[int, ...]
) -> None:
    weights = torch.empty(shape)
    initialize(weights)
    tolerance = rms_tolerance(weights.numel(), SCHEMES[scheme].kurtosis)
    assert rms(weights) == pytest.approx(reference_rms(scheme, shape, gain), rel=tolerance + 1e-6)


def test_schemes_of_matrices_and_bilinear_layers_are_torchs() -> None:
    weights = nn.init.eye_(torch.empty(30, 50))
    assert rms(weights) == pytest.approx(reference_rms("identity", (30, 50)))
    weights = nn.Bilinear(20, 30, 40).weight
    assert rms(weights) == pytest.approx(
        reference_rms("bilinear", (40, 20, 30)), rel=rms_tolerance(24_000, 1.8)
    )


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(512, 128),
        nn.Conv2d(64, 96, 3, groups=4),
        nn.ConvTranspose2d(64, 96, 3, groups=4),
    ],
)
def test_default_layers_have_the_default_rms(layer: nn.Module) -> None:
    weights = layer.weight
    assert isinstance(weights, nn.Parameter)
    assert rms(weights) == pytest.approx(
        reference_rms("torch_default", tuple(weights.shape)), rel=rms_tolerance(weights.numel())
    )


def test_layers_with_rules_of_their_own() -> None:
    recurrent = nn.LSTM(40, 64).weight_ih_l0
    assert isinstance(recurrent, nn.Parameter)
    assert rms(recurrent) == pytest.approx(recurrent_rms(64), rel=rms_tolerance(10_000))
    attention = nn.MultiheadAttention(96, 4).in_proj_weight
    assert isinstance(attention, nn.Parameter)
    assert reference_rms("xavier", (288, 96)) == pytest.approx(1 / math.sqrt(2 * 96))
    assert rms(attention) == pytest.approx(
        reference_rms("xavier", tuple(attention.shape)), rel=rms_tolerance(attention.numel())
    )


def test_initializations_that_need_no_shape_have_their_rms() -> None:
    weights = torch.empty(300, 400)
    tolerance = rms_tolerance(weights.numel())
    assert rms(nn.init.uniform_(weights, -0.3, 0.3)) == pytest.approx(
        uniform_rms(0.3), rel=tolerance
    )
    assert residual_rms(12) == pytest.approx(0.0040825, abs=5e-8)


def test_fans_are_torchs() -> None:
    for shape in [(3, 5), (64, 16, 3, 3), (8, 4, 7)]:
        expected = nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
        assert (fan_in(shape), fan_out(shape)) == expected


def test_tolerance_shrinks_with_the_number_of_weights() -> None:
    assert rms_tolerance(10_000) == pytest.approx(3 / math.sqrt(20_000))
    assert rms_tolerance(1, 1.0) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reference_rms("he", (2, 2)), "initialization 'he' is none of torch_default"),
        (lambda: reference_rms("kaiming", (5,)), r"shape \(5,\) has no fan_in"),
        (lambda: reference_rms("kaiming", (5, 0)), r"shape \(5, 0\) has no fan_in"),
        (lambda: reference_rms("ones", (5,), math.nan), "gain nan is not finite"),
        (lambda: rms_tolerance(0), "numel 0 is below 1"),
        (lambda: rms_tolerance(5, 0.5), "kurtosis 0.5 is below 1"),
        (lambda: uniform_rms(-1.0), "bound -1.0"),
        (lambda: recurrent_rms(0), "hidden 0 is below 1"),
        (lambda: residual_rms(0), "layers 0 is below 1"),
    ],
)
def test_impossible_initializations_are_refused(call: Callable[[], float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
