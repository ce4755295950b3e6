"""Adamax: Adam over the decaying maximum of |gradient| instead of its root mean square."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from scalecheck.optimizers.contract import (
    BETAS,
    TORCH_FLAGS,
    UNIT,
    Beta,
    Entry,
    FloatArray,
    Gradient,
    Hyperparameters,
    LastUpdate,
    NoFormula,
    NotNegative,
    SavedState,
    Weights,
    Writer,
)
from scalecheck.theory.averages import adam_averages
from scalecheck.theory.domain import require_step
from scalecheck.theory.drift import drift_fraction
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.special import erf
from scalecheck.theory.update_rms import GAUSSIAN, require_finite_mean_square

PYTORCH_OPTIMIZER = Writer(
    settings=("betas", "eps", "weight_decay", "weight_decouple", "fixed_decay", "step"),
    entries=("exp_avg", "exp_inf"),
    optional_settings=("adanorm", "adanorm_r", "adam_debias"),
    optional_entries=("exp_grad_adanorm",),
    values={"weight_decouple": False, "fixed_decay": False, "adam_debias": False},
)
"""pytorch_optimizer's AdaMax with weight decay in the gradient, as it has it by default."""

EPS_COUNTS_BELOW = 1e3  # rms(g)/eps; above, eps takes less than 1% from the update, at step 1 most

_PIECES = 20  # of the integral, 16 Gauss nodes each: converged to 1e-8


@dataclass(frozen=True)
class Optimizer(Hyperparameters):
    """torch.optim.Adamax: w ← w − lr·m̂/u, u = max(beta2·u, |g| + eps), g including weight_decay·w.

    eps is added to every |g| before the maximum; the paper has none.
    Source: Kingma & Ba 2015, algorithm 2.
    """

    torch_class: ClassVar[str] = "Adamax"
    state: ClassVar[SavedState] = SavedState(
        entries={
            "step": Entry.STEP,
            "exp_avg": Entry.FIRST_MOMENT,
            "exp_inf": Entry.GRADIENT_MAXIMUM,
        },
        pairs=BETAS,
        optional_settings=TORCH_FLAGS,
        second_moment_factor="beta2",
        writers=(PYTORCH_OPTIMIZER,),
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """E[(m̂/max_i(beta2^i·|g_(t−i)|))²]^½, exact for eps = 0: 0.085 for noise.

        Raises NoFormula where rms(g)/eps is below EPS_COUNTS_BELOW, and for other than Gaussian
        noise.
        """
        gradient.require_gaussian()
        if gradient.over(self.eps) < EPS_COUNTS_BELOW:
            raise NoFormula(
                f"rms(g)/eps {gradient.over(self.eps):.4g}: solved for an eps that does not count"
            )
        return _update_rms(self.beta1, self.beta2, step, gradient.snr)

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """m̂ over the largest gradient that is remembered, eps in it."""
        mean = state["exp_avg"] / (1 - self.beta1**step)
        return LastUpdate(mean / state["exp_inf"], mean)

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k, weight_decay' = weight_decay/k²."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -2})


@lru_cache(maxsize=1024)
def _update_rms(beta1: float, beta2: float, step: int | None, snr: float) -> float:
    """RMS of m̂/max_i(beta2^i·|g_(t−i)|), exact for independent Gaussian gradients, eps = 0.

    ∫ 2x⁻³·Π F_i·((Σ a_i·H_i/F_i)² + Σ a_i²·(G_i/F_i − (H_i/F_i)²)) dx, where F_i, H_i, G_i are
    P, E[g] and E[g²] over |g| ≤ x/beta2^i. Raises ValueError for step < 1 and for beta2 = 0 below
    beta1.
    """
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
