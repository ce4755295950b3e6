"""Expected updates of Adam's relatives that divide by something other than √v̂, or multiply by more
than m̂: Adagrad, RAdam, Adam-atan2, NAdam, Adamax. RMSprop is Adam's formula with beta1 = 0."""

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from scalecheck.theory.averages import NEGLIGIBLE, adam_averages
from scalecheck.theory.domain import require_beta, require_step
from scalecheck.theory.quadrature import update_moments
from scalecheck.theory.snr import drift_fraction
from scalecheck.theory.special import erf
from scalecheck.theory.update_rms import GAUSSIAN, Update, require_finite_mean_square

RECTIFIED_ABOVE = 5.0  # torch.optim.RAdam rectifies where its rho_t exceeds this

LONGEST = 100_000  # factors of NAdam's Π that are multiplied one by one
_PIECES = 20  # of Adamax's integral, 16 Gauss nodes each: converged to 1e-8


def adagrad_update_rms(step: int) -> float:
    """RMS of g_t/√(Σ g²) over any exchangeable gradients, drifting or not: 1/√step, exactly.

    eps and initial_accumulator_value are 0. Raises ValueError for step < 1. The t squared terms
    share Σ g²/Σ g² = 1 alike.
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    require_step(step)
    return 1 / math.sqrt(step)


def radam_rectification(beta2: float, step: int) -> float | None:
    """r_t, the factor on an Adam update: √((ρ_t−4)(ρ_t−2)ρ∞ / ((ρ∞−4)(ρ∞−2)ρ_t)).

    ρ∞ = 2/(1−beta2) − 1, ρ_t = ρ∞ − 2·step·beta2^step/(1−beta2^step). None where ρ_t ≤ 5: those
    first steps are m̂ itself, not divided by √v̂. Raises ValueError for beta2 outside [0, 1),
    step < 1. Source: the documentation of torch.optim.RAdam.
    """
    require_beta("beta2", beta2)
    require_step(step)
    longest = 2 / (1 - beta2) - 1
    remaining = beta2**step
    length = longest - 2 * step * remaining / (1 - remaining)
    if length <= RECTIFIED_ABOVE:
        return None
    return math.sqrt(
        (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    )


def atan2_update_rms(update: Update) -> float:
    """RMS of (4/π)·atan2(m̂, √v̂) for the Adam update m̂/√v̂ of this rms and mean, taken as normal.

    4/π makes a constant gradient's update 1. Within 1.5% from step 10 and 0.6% from step 20
    on; before, u is not normal and the result low: by 15% at step 1, 8% at 2, 3% at 5, on noise.
    Source of the update: Everett et al. 2024.
    The formula is derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    std = math.sqrt(max(update.rms**2 - update.mean**2, 0.0))
    angle = np.arctan(update.mean + std * nodes)
    return 4 / math.pi * math.sqrt(float(weights @ angle**2 / weights.sum()))


def nadam_update(
    beta1: float,
    beta2: float,
    step: int | None = None,
    snr: float = 0.0,
    momentum_decay: float = 4e-3,
    grad_rms_over_eps: float = math.inf,
) -> Update:
    """RMS and mean of a torch.optim.NAdam update, exact for independent Gaussian gradients.

    (μ_(t+1)·m/(1−Π_(t+1)) + (1−μ_t)·g/(1−Π_t)) / (√v̂ + eps), μ_t = beta1·(1−½·0.96^(t·
    momentum_decay)), Π_t = μ_1·…·μ_t; step None is the limit μ = beta1, Π = 0, which the default
    momentum_decay reaches after tens of thousands of steps. Raises ValueError for a beta outside
    [0, 1), step < 1, snr not finite, grad_rms_over_eps not positive, beta2 = 0 below beta1 at
    eps = 0.
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    require_beta("beta1", beta1)
    require_beta("beta2", beta2)
    require_step(step)
    if not grad_rms_over_eps > 0:
        raise ValueError(f"grad_rms_over_eps {grad_rms_over_eps} is not positive")
    if grad_rms_over_eps == math.inf:
        require_finite_mean_square(beta1, beta2, step, GAUSSIAN)
    on_average, on_gradient = beta1, 1 - beta1
    if step is not None:
        product = 1.0
        for earlier in range(1, step + 1):
            product *= _nadam_mu(beta1, momentum_decay, earlier)
            if product < NEGLIGIBLE:
                break
            if earlier == LONGEST:
                raise ValueError(f"beta1 {beta1}: step {step} is a product of over {LONGEST} μ")
        following = _nadam_mu(beta1, momentum_decay, step + 1)
        on_gradient = (1 - _nadam_mu(beta1, momentum_decay, step)) / (1 - product)
        on_average = following / (1 - product * following)
        on_average *= 1 - beta1**step  # the averages below are bias-corrected; NAdam's m is not
    averages = adam_averages(beta1, beta2, step)
    a = on_average * averages.a
    a[0] += on_gradient
    mean_square, mean = update_moments(replace(averages, a=a), GAUSSIAN, snr, 1 / grad_rms_over_eps)
    return Update(math.sqrt(mean_square), mean)


def _nadam_mu(beta1: float, momentum_decay: float, step: int) -> float:
    return float(beta1 * (1 - 0.5 * 0.96 ** (momentum_decay * step)))


@lru_cache(maxsize=1024)
def adamax_update_rms(
    beta1: float, beta2: float, step: int | None = None, snr: float = 0.0
) -> float:
    """RMS of m̂/max_i(beta2^i·|g_(t−i)|), exact for independent Gaussian gradients, eps = 0.

    ∫ 2x⁻³·Π F_i·((Σ a_i·H_i/F_i)² + Σ a_i²·(G_i/F_i − (H_i/F_i)²)) dx, where F_i, H_i, G_i are
    P, E[g] and E[g²] over |g| ≤ x/beta2^i. Raises ValueError for a beta outside [0, 1), step < 1,
    snr not finite, beta2 = 0 below beta1.
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    require_beta("beta1", beta1)
    require_beta("beta2", beta2)
    require_step(step)
    require_finite_mean_square(beta1, beta2, step, GAUSSIAN)
    mean, std = abs(drift_fraction(snr)), 1 / math.hypot(1.0, snr)
    averages = adam_averages(beta1, beta2, step, sharpness=1 + abs(snr))
    weight, a = averages.weight, averages.a
    # No gradient lies outside mean ± 9·std; above, all F are 1 and the integral is elementary.
    lowest, highest = max(mean - 9 * std, 0.0), mean + 9 * std
    nodes, node_weights = np.polynomial.legendre.leggauss(16)
    width = (highest - lowest) / _PIECES
    x = (lowest + width * (np.arange(_PIECES)[:, None] + (1 + nodes) / 2)).ravel()
    bound = np.outer(x, 1 / np.maximum(averages.b / averages.b[0], 1e-100))
    low, high = (-bound - mean) / std, (bound - mean) / std
    low_density, high_density = (
        np.exp(-0.5 * np.minimum(np.abs(end), 40.0) ** 2) / math.tau**0.5 for end in (low, high)
    )
    # Differences of erf carry no digit below 1e-15, and such a bound no weight.
    below = np.maximum((erf(high / math.sqrt(2)) - erf(low / math.sqrt(2))) / 2, 1e-15)
    # E[noise] and E[noise²] over |g| ≤ bound, given that it is.
    first = (low_density - high_density) / below
    second = 1 + (low * low_density - high * high_density) / below
    # Bounds within a thousandth of std cut out a flat piece of the density, where the differences
    # above would cancel.
    flat = bound < 1e-3 * std
    drift = np.where(flat, mean * bound**2 / (3 * std**2), mean + std * first)
    square = np.where(flat, bound**2 / 3, mean**2 + 2 * mean * std * first + std**2 * second)
    mass = np.exp(np.log(below) @ weight)
    squares = (drift @ (weight * a)) ** 2 + (square - drift**2) @ (weight * a * a)
    integrand = (2 * x**-3 * mass * squares).reshape(_PIECES, -1)
    inside = width / 2 * float((integrand @ node_weights).sum())
    above = float((mean * weight @ a) ** 2 + std**2 * weight @ (a * a)) / highest**2
    return math.sqrt(inside + above)
