"""How far updates carry a parameter over many steps: drift adds up with Σ lr, noise with √(Σ lr²).
No weight decay. Lengths are in the units of lr."""

import math

from scalecheck.theory.domain import (
    require_beta,
    require_correlation,
    require_finite,
    require_not_negative,
    require_step,
)
from scalecheck.theory.snr import drift_fraction


def displacement_mean(lr_sum: float, snr: float) -> float:
    """Mean displacement: d·Σlr, d = snr/√(1+snr²). ValueError for lr_sum < 0, snr not finite."""
    require_not_negative("lr_sum", lr_sum)
    return drift_fraction(snr) * lr_sum


def displacement_rms(
    lr_sum: float, lr_square_sum: float, snr: float = 0.0, rho: float = 0.0
) -> float:
    """RMS displacement √((d·Σlr)² + (1−d²)·(1+rho)/(1−rho)·Σlr²), d = snr/√(1+snr²).

    lr_sum, lr_square_sum: Σlr and Σlr² of the schedule. rho: correlation of consecutive gradients.
    For Adam, whatever its beta1: over time each gradient contributes 1 in all, so noise carries
    lr·√T and not lr·update_rms·√T. Holds for many more than 1/(1−beta1) steps. Raises ValueError
    for a negative sum, snr not finite, rho outside (−1, 1).
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    require_not_negative("lr_square_sum", lr_square_sum)
    require_correlation(rho)
    drift = displacement_mean(lr_sum, snr)
    noise = (1 - drift_fraction(snr) ** 2) * (1 + rho) / (1 - rho)
    return math.hypot(drift, math.sqrt(noise * lr_square_sum))


def effective_steps(beta1: float, steps: int) -> float:
    """The number of steps that stands for T = steps in noise's √T while momentum still holds a part
    back: T − 2·beta1·(1−beta1^T)/(1−beta1) + beta1²·(1−beta1^2T)/(1−beta1²).

    Constant lr. Raises ValueError for beta1 outside [0, 1), steps < 1.
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    require_beta("beta1", beta1)
    require_step(steps)
    kept = beta1**steps
    held_back = 2 * beta1 * (1 - kept) / (1 - beta1)
    return steps - held_back + beta1**2 * (1 - kept**2) / (1 - beta1**2)


def crossover_steps(snr: float, rho: float = 0.0) -> float:
    """T*, the steps of constant lr after which drift has carried as far as noise:
    (1+rho)/(1−rho)/snr²; inf for snr 0. Raises ValueError for snr not finite, rho outside (−1, 1).
    """
    require_correlation(rho)
    require_finite("snr", snr)
    square = snr * snr
    return (1 + rho) / (1 - rho) / square if square else math.inf


def displaced_rms(rms: float, displacement: float) -> float:
    """RMS of weights after a displacement independent of them: √(rms² + displacement²).

    Raises ValueError for a negative argument.
    """
    require_not_negative("rms", rms)
    require_not_negative("displacement", displacement)
    return math.hypot(rms, displacement)
