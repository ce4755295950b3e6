"""The law of a gradient over the root of its own variance: v less the square of the gradient's
average, as centered RMSprop divides by."""

from dataclasses import dataclass

import numpy as np

from scalecheck.optimizers.contract import FloatArray
from scalecheck.theory.averages import Averages
from scalecheck.theory.drift import drift_fraction


@dataclass(frozen=True)
class CenteredGaussian:
    """Independent Gaussian gradients under V = v − ḡ², v = Σ b_i·g_i² and ḡ = Σ b_i·g_i, of which
    the update takes the newest. forgotten: 1 − Σ b_i."""

    forgotten: float

    needs_every_lag = False

    def tilted(
        self, z: FloatArray, averages: Averages, snr: float
    ) -> tuple[FloatArray, FloatArray]:
        """E[g_0·e^(−zV)] = M·A1 and E[g_0²·e^(−zV)] = M·(A1² + A2): V = gᵀ(diag(b) − bbᵀ)g, so that
        with c = 2·z·σ², D_i = 1 + c·b_i, S = Σ b_i/D_i and R = forgotten + S (Sherman and Morrison)
        M = (R·Π D_i)^(−½)·exp(−z·μ²·S·forgotten/R), A1 = μ·(1 + c·b_0·S/R)/D_0,
        A2 = σ²·(1/D_0 + c·(b_0/D_0)²/R), μ² + σ² = 1.
        """
        mean, variance = drift_fraction(snr), 1 / (1 + snr * snr)
        weight, b = averages.weight, averages.b
        c = 2 * z * variance
        spread = 1 + np.outer(c, b)
        total = (1 / spread) @ (weight * b)
        rest = self.forgotten + total
        log_mass = -0.5 * (np.log(spread) @ weight + np.log(rest))
        mass = np.exp(log_mass - z * mean**2 * total * self.forgotten / rest)
        newest, kept = b[0], spread[:, 0]
        drift = mean * (1 + c * newest * total / rest) / kept
        own = variance * (1 / kept + c * (newest / kept) ** 2 / rest)
        return mass * drift, mass * (drift**2 + own)
