"""Lion, whose every element moves by ±lr: sign(c), c = beta1·m + (1−beta1)·g. Consecutive signs
agree for long, so steps add up to more than a random walk of independent ones."""

import math

import numpy as np
from numpy.typing import NDArray

from scalecheck.theory.domain import require_beta, require_finite, require_positive

_NEGLIGIBLE = 1e-12  # correlations below it are left out of the sums


def lion_update_mean(beta1: float, beta2: float, snr: float) -> float:
    """E[sign(c)] for independent Gaussian gradients: erf(snr/√(2·V)), V = var(c)/var(g).

    V = (1−beta1)² + beta1²·(1−beta2)/(1+beta2). Raises ValueError for a beta outside [0, 1), snr
    not finite.
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    require_finite("snr", snr)
    return math.erf(snr / math.sqrt(2 * _variance(beta1, beta2)))


def lion_noise_gain(beta1: float, beta2: float, decay: float = 0.0) -> float:
    """RMS of Σ (1−decay)^j·sign(c_(t−j)) without drift, over that of independent signs.

    √(1 + 2·Σ_k (1−decay)^k·(2/π)·asin ρ_k), with ρ_k the correlation of c over k steps:
    displacement after T steps is lr·√T times it (decay 0; 6.78 at (0.9, 0.99)). Raises ValueError
    for a beta outside [0, 1), decay outside [0, 1).
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    require_beta("decay", decay)
    correlation = _correlations(beta1, beta2)
    kept = (1 - decay) ** np.arange(1, len(correlation) + 1)
    return math.sqrt(1 + 4 / math.pi * float(kept @ np.arcsin(correlation)))


def lion_equilibrium_rms(lr: float, weight_decay: float, beta1: float, beta2: float) -> float:
    """RMS of weights that Lion's noise and weight decay hold in balance:
    lr/√(1−a²)·lion_noise_gain, a = 1 − lr·weight_decay.

    5.6 times √(lr/(2·weight_decay)) at (0.9, 0.99), lr 0.01, weight_decay 0.5. Raises ValueError
    for lr or weight_decay not positive, lr·weight_decay ≥ 1, and as lion_noise_gain.
    """
    require_positive("lr", lr)
    require_positive("weight_decay", weight_decay)
    decay = lr * weight_decay
    gain = lion_noise_gain(beta1, beta2, decay)
    return lr / math.sqrt(decay * (2 - decay)) * gain


def _variance(beta1: float, beta2: float) -> float:
    require_beta("beta1", beta1)
    require_beta("beta2", beta2)
    return (1 - beta1) ** 2 + beta1**2 * (1 - beta2) / (1 + beta2)


def _correlations(beta1: float, beta2: float) -> NDArray[np.float64]:
    """Correlation of c over 1, 2, … steps, until it is negligible."""
    variance = _variance(beta1, beta2)
    if beta2 == 0:
        return np.array([(1 - beta1) * beta1 / variance])
    lag = np.arange(1, math.ceil(math.log(_NEGLIGIBLE) / math.log(beta2)) + 1)
    newest = (1 - beta1) * beta1 * (1 - beta2) * beta2 ** (lag - 1)
    older = beta1**2 * (1 - beta2) / (1 + beta2) * beta2**lag
    correlation: NDArray[np.float64] = (newest + older) / variance
    return correlation
