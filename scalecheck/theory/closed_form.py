"""Closed forms of Adam's update RMS for eps = 0: the first order, E m̂²/E v̂, and the second order
in 1−beta2, which counts how far v̂ strays from its mean."""

import math

from scalecheck.theory.averages import squared_weight_sum
from scalecheck.theory.domain import require_beta, require_correlation, require_step
from scalecheck.theory.snr import drift_fraction


def first_order(beta1: float, snr: float = 0.0, step: int | None = None, rho: float = 0.0) -> float:
    """√(d² + (1−d²)·Σa²·(1+beta1·rho)/(1−beta1·rho)), the RMS of m̂ over that of the gradient.

    d = snr/√(1+snr²); Σa² = (1−beta1)/(1+beta1) when step is None; rho is the correlation of
    consecutive gradients, and needs the stationary state. Too high: for beta2 ≥
    0.95 by 3.2% at most in the stationary state, 5.3% in the first steps.
    Raises ValueError for beta1 outside [0, 1), rho outside (−1, 1), step < 1, snr not finite, or
    rho with a step. Source: Kosson et al. 2024 for d = rho = 0.
    The rest is derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    require_beta("beta1", beta1)
    require_step(step)
    require_correlation(rho)
    if rho and step is not None:
        raise ValueError(f"rho {rho} at step {step}: the closed form is for the stationary state")
    d2 = drift_fraction(snr) ** 2
    noise = squared_weight_sum(beta1, step) * (1 + beta1 * rho) / (1 - beta1 * rho)
    return math.sqrt(d2 + (1 - d2) * noise)


def second_order(beta1: float, beta2: float, snr: float = 0.0, step: int | None = None) -> float:
    """√(A·(1+V) − C) for independent Gaussian gradients: A the first order's square, V = var v̂,
    C = cov(m̂², v̂), both relative to E v̂.

    V = Σb²·(2n² + 4d²n), C = 4d²n·Σab + 2n²·Σa²b, with n = 1−d² and the sums over the weights of
    beta1 and beta2 at step (None: stationary). Within 0.5% from step 20 on for beta2 ≥ 0.95, 0.1%
    stationary for beta2 ≥ 0.98. Raises ValueError as first_order.
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    require_beta("beta2", beta2)
    mean_square = first_order(beta1, snr, step) ** 2
    d2 = drift_fraction(snr) ** 2
    noise = 1 - d2
    weights = _weight_sum_of_product
    total1, total2 = weights(beta1, step), weights(beta2, step)
    sum_ab = weights(beta1 * beta2, step) / (total1 * total2)
    sum_aab = weights(beta1 * beta1 * beta2, step) / (total1**2 * total2)
    variance = squared_weight_sum(beta2, step) * (2 * noise**2 + 4 * d2 * noise)
    covariance = 4 * d2 * noise * sum_ab + 2 * noise**2 * sum_aab
    return math.sqrt(max(mean_square * (1 + variance) - covariance, 0.0))


def _weight_sum_of_product(beta: float, step: int | None) -> float:
    """Σ beta^i over i < step."""
    return (1.0 if step is None else 1 - beta**step) / (1 - beta)
