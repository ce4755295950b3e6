"""Exact moments of u = m/(√v + eps), by 1/v = ∫ e^(−zv) dz: under the integral only averages
weighted by e^(−zv) remain, which a noise law knows."""

import math

import numpy as np

from scalecheck.theory.averages import Averages
from scalecheck.theory.noise import Noise
from scalecheck.theory.special import eps_damping

_STEP = 0.25  # of log z: the trapezoid rule is converged to 1e-10
_LOWEST, _HIGHEST = -45.0, 75.0  # log z: the tails beyond hold less than 1e-10


def update_moments(averages: Averages, noise: Noise, snr: float, eps: float) -> tuple[float, float]:
    """E[u²] and E[u] of u = m/(√v + eps), for gradients of mean square 1.

    E[u²] = ∫ E[m²·e^(−zv)]·second(eps·√z) dz,  E[u] = ∫ E[m·e^(−zv)]·first(eps·√z)/√(πz) dz.
    """
    # A large eps moves the integrand's centre from 1/v to 1/eps².
    lowest = _LOWEST - 2 * math.log(max(eps, 1.0))
    log_z = np.arange(lowest, _HIGHEST, _STEP)
    z = np.exp(log_z)
    with np.errstate(over="ignore"):
        first, second = eps_damping(eps * np.exp(log_z / 2))  # 0 where its argument is inf
    mean, mean_square = noise.tilted(z, averages, snr)
    return (
        float(_STEP * np.sum(z * second * mean_square)),
        float(_STEP * np.sum(np.sqrt(z / math.pi) * first * mean)),
    )
