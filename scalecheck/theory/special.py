"""Special functions that numpy lacks, on arrays: erf and the scaled complementary error function,
exp(x²)·erfc(x), with the two combinations of it that an eps beside √v brings into an expectation.
"""

import itertools
import math
import operator

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Arrays = tuple[FloatArray, FloatArray]

SERIES_FROM = 12.0  # exp(x²)·erfc(x) and ten terms of its series agree to 3e-14 here
_TERMS = 10
_SERIES = np.array([1.0, *itertools.accumulate((0.5 - k for k in range(1, _TERMS)), operator.mul)])
"""e_k of √π·x·erfcx(x) = Σ e_k·x^(−2k): (−1)^k·(2k−1)!!/2^k (Abramowitz & Stegun 7.1.23)."""

_erf = np.frompyfunc(math.erf, 1, 1)
_erfc = np.frompyfunc(math.erfc, 1, 1)


def erf(x: FloatArray) -> FloatArray:
    """The error function of every element."""
    return np.asarray(_erf(x), dtype=np.float64)


def erfcx(x: FloatArray) -> FloatArray:
    """exp(x²)·erfc(x) of every element of x ≥ 0, without underflow for large x."""
    small = np.minimum(x, SERIES_FROM)
    large = np.maximum(x, SERIES_FROM)
    direct = np.exp(small * small) * np.asarray(_erfc(small), dtype=np.float64)
    series = np.polyval(_SERIES[::-1], large**-2.0) / (math.sqrt(math.pi) * large)
    return np.where(x < SERIES_FROM, direct, series)


def eps_damping(q: FloatArray) -> Arrays:
    """What eps takes from E[1/(√v+eps)] and E[1/(√v+eps)²] at Laplace variable z, q = eps·√z.

    1/(√v+eps)  = ∫ e^(−zv)·first(q)/√(πz) dz,  first(q)  = 1 − √π·q·erfcx(q)
    1/(√v+eps)² = ∫ e^(−zv)·second(q) dz,       second(q) = (1+2q²)·erfcx(q) − 2q/√π
    Both are 1 at q = 0. Above SERIES_FROM they come from the series of erfcx, where the direct
    forms cancel.
    """
    root_pi = math.sqrt(math.pi)
    small = np.minimum(q, SERIES_FROM)
    large = np.maximum(q, SERIES_FROM)
    scaled = erfcx(small)
    k = np.arange(_TERMS)
    inverse_square = large**-2.0
    first = np.where(
        q < SERIES_FROM,
        1 - root_pi * small * scaled,
        np.polyval(np.where(k == 0, 0.0, -_SERIES)[::-1], inverse_square),
    )
    second = np.where(
        q < SERIES_FROM,
        (1 + 2 * small * small) * scaled - 2 * small / root_pi,
        np.polyval((-2 * k * _SERIES)[::-1], inverse_square) / (root_pi * large),
    )
    return first, second
