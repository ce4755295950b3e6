"""Adam's two moving averages as weights on past gradients, and a rule that sums over a long past in
few points: a Gauss rule for sums, panel by panel, where the weights decay geometrically."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Arrays = tuple[FloatArray, FloatArray]

NEGLIGIBLE = 1e-17  # below float64's resolution of a sum of weights that is 1
_POINTS = 10  # a panel of more lags than this is summed in this many points
_PANEL_DECAY = 2.0  # natural logs that the fastest live average falls over a panel


@dataclass(frozen=True, eq=False)
class Averages:
    """m = Σ a_i·g_(t−i) and v = Σ b_i·g²_(t−i), sampled: Σ_i f(a_i, b_i) = Σ_j weight_j·f(a_j, b_j)
    for any f that is smooth in the lag.

    The three arrays have one element a sample; the first is lag 0, the newest gradient.
    """

    weight: FloatArray
    a: FloatArray
    b: FloatArray


def adam_averages(
    beta1: float,
    beta2: float,
    step: int | None,
    *,
    bias_correction: bool = True,
    every_lag: bool = False,
    sharpness: float = 1.0,
) -> Averages:
    """a_i = (1−beta1)·beta1^i and b_i = (1−beta2)·beta2^i, over 1−beta^step if bias-corrected.

    step None: the steady state. every_lag: no sampling, all weights are 1. sharpness: what is
    summed changes this many times faster than b_i over the latest lags.
    Source: Kingma & Ba 2015, algorithm 1, unrolled.
    """
    count = _lags(step, beta1, beta2)
    lag, weight = (
        (np.arange(count, dtype=np.float64), np.ones(count))
        if every_lag
        else _sampled_lags(count, beta1, beta2, beta2**sharpness)
    )
    corrected = step if bias_correction else None
    return Averages(
        weight,
        (1 - beta1) / _weight_sum(beta1, corrected) * beta1**lag,
        (1 - beta2) / _weight_sum(beta2, corrected) * beta2**lag,
    )


def mixed_averages(
    beta1: float,
    beta2: float,
    beta3: float,
    alpha: float,
    step: int | None,
    *,
    every_lag: bool = False,
) -> Averages:
    """Adam's averages, and alpha·(1−beta3)·beta3^i beside the bias-corrected a_i.

    Source: Pagliardini et al. 2024, AdEMAMix, unrolled.
    """
    count = _lags(step, beta1, beta2, beta3)
    lag, weight = (
        (np.arange(count, dtype=np.float64), np.ones(count))
        if every_lag
        else _sampled_lags(count, beta1, beta2, beta3)
    )
    fast = (1 - beta1) / _weight_sum(beta1, step) * beta1**lag
    slow = alpha * (1 - beta3) * beta3**lag
    return Averages(weight, fast + slow, (1 - beta2) / _weight_sum(beta2, step) * beta2**lag)


def _lags(step: int | None, *betas: float) -> int:
    """How many lags carry weight: until the slowest average falls to NEGLIGIBLE."""
    slowest = max(betas)
    count = 1 if slowest == 0 else math.ceil(math.log(NEGLIGIBLE) / math.log(slowest)) + 1
    return count if step is None else min(count, step)


def _weight_sum(beta: float, step: int | None) -> float:
    """1 − beta^step, without cancellation for a beta close to 1."""
    if step is None or beta == 0:
        return 1.0
    return -math.expm1(step * math.log(beta))


def _sampled_lags(count: int, *betas: float) -> Arrays:
    """Sample lags and their weights for sums over lags 0..count−1; lag 0 stands alone."""
    lags, weights = [np.zeros(1)], [np.ones(1)]
    start = 1
    while start < count:
        live = [beta for beta in betas if beta > 0 and beta**start > NEGLIGIBLE]
        panel = max(1, int(_PANEL_DECAY / -math.log(min(live)))) if live else count
        panel = min(panel, count - start)
        points, weight = _sum_rule(panel)
        lags.append(start + points)
        weights.append(weight)
        start += panel
    return np.concatenate(lags), np.concatenate(weights)


@lru_cache(maxsize=256)
def _sum_rule(count: int) -> Arrays:
    """Points and weights with Σ_(i=0)^(count−1) f(i) = Σ_j weight_j·f(point_j) up to degree 2n−1.

    The Gauss rule of the discrete Chebyshev (Gram) polynomials, by the eigenvalues of their Jacobi
    matrix: squared off-diagonal j²(N²−j²)/(4(4j²−1)). Source: Golub & Welsch 1969.
    """
    if count <= _POINTS:
        return np.arange(count, dtype=np.float64), np.ones(count)
    j = np.arange(1.0, _POINTS)
    beside = np.sqrt(j**2 * (count**2 - j**2) / (4 * (4 * j**2 - 1)))
    points, vectors = np.linalg.eigh(np.diag(beside, 1) + np.diag(beside, -1))
    return points + (count - 1) / 2, count * vectors[0] ** 2


def squared_weight_sum(beta: float, step: int | None = None) -> float:
    """Σ a_i² = (1−beta)(1+beta^step)/((1+beta)(1−beta^step)); step None: (1−beta)/(1+beta).

    The share of independent noise's mean square that a bias-corrected moving average lets through.
    """
    total = _weight_sum(beta, step)
    forgotten = 0.0 if step is None else beta**step
    return (1 - beta) * (1 + forgotten) / ((1 + beta) * total)
