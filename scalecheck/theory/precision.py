"""What a storage type can hold: the gap between neighbouring values, the share of weights that an
update moves to another one, and the gradients whose squares an optimizer's state can keep."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalecheck.dtypes import DTYPES, FloatType
from scalecheck.theory.domain import require_not_negative
from scalecheck.theory.special import erf

FloatArray = NDArray[np.float64]

_MANTISSA = np.uint64((1 << 52) - 1)
_EXPONENT = np.uint64(0x7FF << 52)
_LARGE = 1e100  # times a gap: an update that moves every weight


def layout_of(dtype: str) -> FloatType:
    """The layout of a float type. KeyError of a type without a mantissa."""
    layout = DTYPES[dtype].layout
    if layout is None:
        raise KeyError(dtype)
    return layout


def ulp(magnitude: ArrayLike, dtype: str) -> FloatArray:
    """The gap from each magnitude to the next larger value of the type; below the normal numbers,
    the smallest subnormal. Magnitudes are finite."""
    kind = layout_of(dtype)
    words = np.asarray(magnitude, dtype=np.float64).view(np.uint64)
    power = (words & _EXPONENT).view(np.float64)  # of two, at most the magnitude
    gap: FloatArray = np.maximum(power, kind.smallest_normal) * kind.epsilon
    return gap


def half_ulp_toward_zero(magnitude: ArrayLike, dtype: str) -> FloatArray:
    """The largest change that rounding to the type undoes, toward zero: ulp/2, and ulp/4 at a power
    of two, where the gap changes."""
    absolute = np.abs(np.asarray(magnitude, dtype=np.float64))
    return ulp(absolute, dtype) / np.where(_is_power(absolute, dtype), 4.0, 2.0)


def gap_along(weight: FloatArray, change: FloatArray, dtype: str) -> FloatArray:
    """The gap from each weight, a value of the type, to the next value in the direction of its
    change; shape (n,). inf where the weight is."""
    gap = ulp(weight, dtype)
    (places,) = np.nonzero((weight.view(np.uint64) & _MANTISSA) == 0)  # as a rule there are few
    few, smallest = weight[places], layout_of(dtype).smallest_normal
    is_inward = (np.signbit(few) != np.signbit(change[places])) & (np.abs(few) > smallest)
    gap[places[is_inward]] /= 2
    return gap


def _is_power(absolute: FloatArray, dtype: str) -> NDArray[np.bool_]:
    """Whether each is a power of two below which the gap is half the one above."""
    has_mantissa = (absolute.view(np.uint64) & _MANTISSA) != 0
    is_power: NDArray[np.bool_] = ~has_mantissa & (absolute > layout_of(dtype).smallest_normal)
    return is_power


def rounded(number: ArrayLike, dtype: str) -> FloatArray:
    """Each number as the type stores it: to the nearest, ties to even, inf above the largest."""
    exact = np.asarray(number, dtype=np.float64)
    gap = ulp(exact, dtype)
    with np.errstate(over="ignore"):
        nearest: FloatArray = np.rint(exact / gap) * gap
    return np.where(np.abs(nearest) > DTYPES[dtype].largest, np.copysign(np.inf, exact), nearest)


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
    return Gaps.of(magnitudes, counts, dtype).stalled(update, equal)


@dataclass(frozen=True)
class Gaps:
    """How far the weights of a tensor lie from the neighbouring values of a type.

    gaps: from a weight to the next value, in either direction, and the share of weights and
    directions that have each. cells: the widths of all that rounds to a weight, and their shares:
    ULP, and 3/4 of it at a power of two.
    """

    gaps: FloatArray
    gap_shares: FloatArray
    cells: FloatArray
    cell_shares: FloatArray

    @classmethod
    def of(cls, magnitudes: ArrayLike, counts: ArrayLike, dtype: str) -> Self:
        """Those of weights |w| that are values of the type, or inf where it does not hold them and
        no update moves them; counts: how many weights have each. Raises ValueError without any."""
        absolute = np.abs(np.asarray(magnitudes, dtype=np.float64))
        count = np.asarray(counts, dtype=np.float64)
        total = float(count.sum())
        if not total > 0:
            raise ValueError(f"counts add up to {total}: no weights to move")
        with np.errstate(over="ignore"):
            above = ulp(absolute, dtype)
        above[~np.isfinite(absolute)] = np.inf
        is_power = _is_power(absolute, dtype) & np.isfinite(absolute)
        # All weights between two powers of two are alike.
        exponents = (above.view(np.uint64) >> np.uint64(52)).astype(np.intp)
        number = np.bincount(2 * exponents + is_power, count / total)
        (found,) = np.nonzero(number)
        share: FloatArray = number[found].astype(np.float64)
        words = (found // 2).astype(np.uint64) << np.uint64(52)
        above = np.maximum(words.view(np.float64), layout_of(dtype).smallest_subnormal)
        below = above / (1 + found % 2)
        gaps, place = np.unique(np.concatenate((above, below)), return_inverse=True)
        both = np.bincount(place, np.concatenate((share, share)) / 2).astype(np.float64)
        return cls(gaps, both, (above + below) / 2, share)

    def stalled(self, update: float, equal: bool = False) -> float:
        """Share that stays as it is where an update is added and rounded to the nearest: |update| ≤
        half a gap. update: as of stalled_share."""
        half = self.gaps / 2
        if equal or update == 0:
            stays = (update <= half).astype(np.float64)
        else:
            with np.errstate(over="ignore"):
                stays = erf(half / (math.sqrt(2) * update))
        return max(0.0, 1 - float(np.sum(self.gap_shares * (1 - stays))))

    def cast(self, update: float, equal: bool = False) -> float:
        """Share that changes in a copy of this type of weights that are kept exactly: a weight lies
        anywhere in its cell, so it leaves it with probability min(1, |update|/cell)."""
        return float(np.sum(self.cell_shares * _crossed(self.cells, update, equal)))

    def stochastic(self, update: float, equal: bool = False) -> float:
        """Share that changes under stochastic rounding, which moves a weight by a whole gap with
        probability |update|/gap, and by update on average."""
        return float(np.sum(self.gap_shares * _crossed(self.gaps, update, equal)))


def _crossed(gaps: FloatArray, update: float, equal: bool) -> FloatArray:
    """E[min(1, |update|/gap)], update of one size or normal of this RMS:
    r·√(2/π)·(1 − e^(−1/(2r²))) + erfc(1/(√2·r)), r = update/gap."""
    with np.errstate(over="ignore", divide="ignore"):
        ratio = np.minimum(update / gaps, _LARGE)
        if equal or update == 0:
            return np.minimum(ratio, 1.0)
        inverse = 1 / (math.sqrt(2) * ratio)
        small = ratio * math.sqrt(2 / math.pi) * -np.expm1(-inverse * inverse)
    return np.where(ratio > 0, small + 1 - erf(inverse), 0.0)


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
    kind = layout_of(dtype)
    fresh = 1 - beta2
    frozen_mantissa = 2.0 ** -(kind.mantissa_bits + 1) / fresh
    return SquareLimits(
        vanishing=math.sqrt(kind.smallest_subnormal) / math.sqrt(2 * fresh),
        overflowing=math.sqrt(kind.largest) / math.sqrt(fresh),
        frozen_share=min(max(frozen_mantissa - 1, 0.0), 1.0),
    )
