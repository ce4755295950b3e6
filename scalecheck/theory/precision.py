"""What a storage type can hold: the gap between neighbouring values, the share of weights that an
update is too small to move, and the gradients whose squares an optimizer's state can keep."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalecheck.dtypes import FLOAT_TYPES
from scalecheck.theory.domain import require_not_negative
from scalecheck.theory.special import erf

FloatArray = NDArray[np.float64]


def ulp(magnitude: ArrayLike, dtype: str) -> FloatArray:
    """The gap from each magnitude to the next larger value of the type; below the normal numbers,
    the smallest subnormal. Magnitudes are finite."""
    kind = FLOAT_TYPES[dtype]
    exponent = np.frexp(np.abs(np.asarray(magnitude, dtype=np.float64)))[1] - 1
    exponent = np.where(np.asarray(magnitude) == 0, kind.smallest_exponent, exponent)
    gap: FloatArray = np.ldexp(
        1.0, np.maximum(exponent, kind.smallest_exponent) - kind.mantissa_bits
    )
    return gap


def half_ulp_toward_zero(magnitude: ArrayLike, dtype: str) -> FloatArray:
    """The largest change that rounding to the type undoes, toward zero: ulp/2, and ulp/4 at a power
    of two, where the gap changes."""
    kind = FLOAT_TYPES[dtype]
    absolute = np.abs(np.asarray(magnitude, dtype=np.float64))
    is_power = (np.frexp(absolute)[0] == 0.5) & (absolute > kind.smallest_normal)
    return ulp(absolute, dtype) / np.where(is_power, 4.0, 2.0)


def rounded(number: ArrayLike, dtype: str) -> FloatArray:
    """Each number as the type stores it: to the nearest, ties to even, inf above the largest."""
    exact = np.asarray(number, dtype=np.float64)
    gap = ulp(exact, dtype)
    with np.errstate(over="ignore"):
        nearest: FloatArray = np.rint(exact / gap) * gap
    return np.where(
        np.abs(nearest) > FLOAT_TYPES[dtype].largest, np.copysign(np.inf, exact), nearest
    )


def stalled_share(
    magnitudes: ArrayLike, counts: ArrayLike, update: float, dtype: str, equal: bool = False
) -> float:
    """Share of weights of a type that an update leaves as they are: |update| ≤ half an ULP.

    magnitudes: |w|, each a value of the type; counts: how many weights have it; same shape.
    update: RMS of the update, lr included, which is normal and independent of the weight, so that
    the share is erf(h/(√2·update)), h half an ULP; or the size of all updates where `equal`.
    Averaged over both directions. Raises ValueError for update negative, no weights.
    Checked against torch's rounding in tests/test_theory_precision.py.
    """
    require_not_negative("update", update)
    half_ulps = ulp(magnitudes, dtype) / 2, half_ulp_toward_zero(magnitudes, dtype)
    if equal or update == 0:
        outward, inward = ((update <= half).astype(np.float64) for half in half_ulps)
    else:
        with np.errstate(over="ignore"):
            outward, inward = (erf(half / (math.sqrt(2) * update)) for half in half_ulps)
    count = np.asarray(counts, dtype=np.float64)
    total = float(count.sum())
    if not total > 0:
        raise ValueError(f"counts add up to {total}: no weights to move")
    return float(np.sum(count * (outward + inward))) / (2 * total)


class SquareLimits(NamedTuple):
    """The gradients whose square v ← beta2·v + (1−beta2)·g² can hold, as |g| of one element.

    vanishing: up to here v stays 0, so the update is g/eps, or infinite without eps.
    overflowing: above here v is inf and the update 0, silently and for good.
    frozen_share: share of v's mantissas for which beta2·v rounds back to v: v cannot decay.
    """

    vanishing: float
    overflowing: float
    frozen_share: float


def square_limits(dtype: str, beta2: float) -> SquareLimits:
    """The limits of Adam's v in a storage type, from (1−beta2)·g² at its first step.

    vanishing √(smallest subnormal/2/(1−beta2)), overflowing √(largest/(1−beta2)). frozen:
    (1−beta2)·v ≤ half an ULP of v, that is mantissa ≤ 2^−(bits+1)/(1−beta2).
    """
    kind = FLOAT_TYPES[dtype]
    fresh = 1 - beta2
    frozen_mantissa = 2.0 ** -(kind.mantissa_bits + 1) / fresh
    return SquareLimits(
        vanishing=math.sqrt(kind.smallest_subnormal) / math.sqrt(2 * fresh),
        overflowing=math.sqrt(kind.largest) / math.sqrt(fresh),
        frozen_share=min(max(frozen_mantissa - 1, 0.0), 1.0),
    )
