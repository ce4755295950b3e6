"""Storage types: neighbours, rounding and stalled weights against torch, and squares' limits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scalecheck.dtypes import FLOAT_TYPES
from scalecheck.theory.precision import (
    Gaps,
    gap_along,
    half_ulp_toward_zero,
    rounded,
    square_limits,
    stalled_share,
    ulp,
)

TORCH = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
}
dtypes = st.sampled_from(sorted(FLOAT_TYPES))


@pytest.mark.parametrize("dtype", sorted(FLOAT_TYPES))
def test_formats_have_torchs_limits(dtype: str) -> None:
    kind, expected = FLOAT_TYPES[dtype], torch.finfo(TORCH[dtype])
    assert kind.largest == expected.max
    assert kind.smallest_normal == expected.tiny
    assert 2.0**-kind.mantissa_bits == expected.eps
    assert kind.smallest_subnormal == expected.tiny * expected.eps


@given(dtypes, st.floats(allow_nan=False, allow_infinity=False))
def test_rounding_is_torchs(dtype: str, number: float) -> None:
    stored = torch.tensor(number, dtype=torch.float64).to(TORCH[dtype])
    if dtype != "BF16":  # torch rounds float64 to bfloat16 by way of float32
        assert float(rounded(number, dtype)) == float(stored)
    once = rounded(number, dtype)
    assert np.array_equal(rounded(once[np.isfinite(once)], dtype), once[np.isfinite(once)])


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_ulp_reaches_the_next_value(dtype: str) -> None:
    torch.manual_seed(0)
    spread = torch.exp(12 * torch.rand(2000, dtype=torch.float64) - 10)
    stored = torch.cat([spread, torch.tensor([0.0, 1.0, 2.0, 0.125])]).to(TORCH[dtype])
    integers = torch.int32 if dtype == "F32" else torch.int16
    above = (stored.view(integers) + 1).view(TORCH[dtype]).double().numpy()
    here = stored.double().numpy()
    assert np.array_equal(ulp(here, dtype), above - here)
    assert np.array_equal(ulp(-here, dtype), above - here)
    normal = stored[stored > 0]
    below = (normal.view(integers) - 1).view(TORCH[dtype]).double().numpy()
    positive = normal.double().numpy()
    assert np.array_equal(2 * half_ulp_toward_zero(positive, dtype), positive - below)


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
@pytest.mark.parametrize("relative", [1e-2, 2e-3, 5e-4, 1e-4])
def test_stalled_share_is_torchs(dtype: str, relative: float) -> None:
    """Normal weights of rms 0.02 and normal updates, added and rounded by torch."""
    torch.manual_seed(0)
    weights = (0.02 * torch.randn(100_000)).to(TORCH[dtype])
    update = 0.02 * relative * torch.randn(100_000, dtype=torch.float64)
    kept = ((weights.double() + update).to(TORCH[dtype]) == weights).double().mean()
    magnitudes, counts = np.unique(weights.double().abs().numpy(), return_counts=True)
    share = stalled_share(magnitudes, counts, 0.02 * relative, dtype)
    assert share == pytest.approx(float(kept), abs=0.005)


@pytest.mark.parametrize(
    ("step", "changed"), [(1e-2, 1.0), (4e-3, 0.955), (2e-3, 0.68), (1e-3, 0.38), (5e-4, 0.20)]
)
def test_stalled_share_of_equal_steps_is_as_counted(step: float, changed: float) -> None:
    """bfloat16 weights of a standard normal law, updates of one size."""
    torch.manual_seed(0)
    weights = torch.randn(100_000).bfloat16().double().abs().numpy()
    share = stalled_share(weights, np.ones(len(weights)), step, "BF16", equal=True)
    assert 1 - share == pytest.approx(changed, abs=0.006)


@given(dtypes, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_larger_updates_stall_fewer_weights(dtype: str, update: float, other: float) -> None:
    weights, counts = np.array([0.0, 0.02, 0.125, 3.0]), np.array([1, 5, 2, 1])
    low, high = sorted((update, other))
    for equal in (False, True):
        none, least, less, most = (
            stalled_share(weights, counts, size, dtype, equal) for size in (0.0, low, high, 1e3)
        )
        assert none == 1.0 >= least >= less
        assert most < 0.01


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("beta2", [0.95, 0.999])
def test_square_limits_are_torch_adams(dtype: str, beta2: float) -> None:
    limits = square_limits(dtype, beta2)

    def second_moment(gradient: float) -> float:
        weight = torch.zeros(1, dtype=TORCH[dtype], requires_grad=True)
        optimizer = torch.optim.Adam([weight], betas=(0.9, beta2))
        weight.grad = torch.tensor([gradient], dtype=TORCH[dtype])
        optimizer.step()
        return float(optimizer.state[weight]["exp_avg_sq"])

    assert second_moment(limits.vanishing * 0.98) == 0
    assert second_moment(limits.vanishing * 1.02) > 0
    assert second_moment(limits.overflowing * 0.98) < math.inf
    assert second_moment(limits.overflowing * 1.02) == math.inf


@pytest.mark.parametrize("beta2", [0.95, 0.99, 0.996, 0.997, 0.998, 0.999, 0.9999])
@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_frozen_share_counts_the_mantissas_that_cannot_decay(dtype: str, beta2: float) -> None:
    size = 2 ** FLOAT_TYPES[dtype].mantissa_bits
    mantissas = 1 + np.arange(size) / size
    frozen = np.mean(rounded(beta2 * mantissas, dtype) == mantissas)
    # 1.0 itself is no mantissa like others: the gap below it is half as wide.
    assert square_limits(dtype, beta2).frozen_share == pytest.approx(frozen, abs=1.5 / size)


def test_empty_tensors_and_negative_updates_are_refused() -> None:
    with pytest.raises(ValueError, match=r"counts add up to 0\.0"):
        stalled_share([], [], 1e-3, "F32")
    with pytest.raises(ValueError, match=r"update -1\.0"):
        stalled_share([1.0], [1], -1.0, "F32")


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("update", [1e-6, 1e-5, 1e-4, 1e-3])
def test_casts_and_stochastic_rounding_change_what_torch_changes(
    update: float, equal: bool
) -> None:
    """float32 weights moved and cast, and bfloat16 weights rounded up by chance."""
    torch.manual_seed(0)
    masters = 0.02 * torch.randn(400_000)
    law = torch.randn(masters.shape)
    change = update * (law.sign() if equal else law)
    stored = masters.bfloat16()
    magnitudes, counts = np.unique(stored.double().abs().numpy(), return_counts=True)
    gaps = Gaps.of(magnitudes, counts, "BF16")
    cast = float(((masters - change).bfloat16() != stored).double().mean())
    assert gaps.cast(update, equal) == pytest.approx(cast, rel=0.03, abs=2e-4)
    words = (stored.float() - change).view(torch.int32)
    chance = torch.randint(0, 1 << 16, words.shape, dtype=torch.int32)
    moved = ((words + chance) & -(1 << 16)).view(torch.float32) != stored.float()
    share = float(moved.double().mean())
    assert gaps.stochastic(update, equal) == pytest.approx(share, rel=0.03, abs=2e-4)


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_the_gap_along_a_change_reaches_the_next_value(dtype: str) -> None:
    torch.manual_seed(0)
    weights = torch.cat([torch.randn(1000), torch.tensor([1.0, -2.0, 0.5, -0.25])]).to(TORCH[dtype])
    for sign in (1.0, -1.0):
        toward = torch.full_like(weights, sign * math.inf)
        there = torch.nextafter(weights, toward) if dtype != "F16" else None
        if there is None:
            there = torch.from_numpy(np.nextafter(weights.numpy(), toward.numpy()))
        distance = (there.double() - weights.double()).abs().numpy()
        change = np.full(len(weights), sign)
        assert np.array_equal(gap_along(weights.double().numpy(), change, dtype), distance)


def test_weights_that_a_type_does_not_hold_do_not_move() -> None:
    gaps = Gaps.of([math.inf, 1.0], [1, 1], "F16")
    shares = gaps.stalled(1e9), gaps.cast(1e9), gaps.stochastic(1e9)
    assert shares == pytest.approx((0.5, 0.5, 0.5))
