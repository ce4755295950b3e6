"""Laws of a gradient's noise, each by what the exact update RMS asks of it: E[m·e^(−zv)] and
E[m²·e^(−zv)] for m = Σ a_i·g_(t−i), v = Σ b_i·g²_(t−i). Gradients have mean square 1."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scalecheck.theory.averages import Averages
from scalecheck.theory.drift import drift_fraction

FloatArray = NDArray[np.float64]
Arrays = tuple[FloatArray, FloatArray]

_TABLE_STEP = 0.05  # of log z; the cubic between two entries errs by less than 1e-8
_NODE_STEP = 0.25  # of log y; the trapezoid rule errs by less than 1e-12


class Noise(Protocol):
    """The law of one element's gradients over time: immutable and hashable."""

    def __hash__(self) -> int: ...

    @property
    def needs_every_lag(self) -> bool:
        """Gradients of different steps depend on each other, so lags cannot be sampled."""

    def tilted(self, z: FloatArray, averages: Averages, snr: float) -> Arrays:
        """E[m·e^(−zv)] and E[m²·e^(−zv)] for each z. ValueError for an snr the law is not solved
        for."""


@dataclass(frozen=True)
class Gaussian:
    """Independent Gaussian noise around a mean."""

    needs_every_lag = False

    def tilted(self, z: FloatArray, averages: Averages, snr: float) -> Arrays:
        """M·A1 and M·(A1² + A2), with D_i = 1 + 2·z·b_i·σ², mean μ, variance σ², μ² + σ² = 1:
        M = Π D_i^(−½)·exp(−z·b_i·μ²/D_i), A1 = Σ a_i·μ/D_i, A2 = Σ a_i²·σ²/D_i.
        """
        mean = drift_fraction(snr)
        variance = 1 / (1 + snr * snr)
        weight, a, b = averages.weight, averages.a, averages.b
        spread = 1 + np.outer(2 * z * variance, b)
        log_mass = -0.5 * (np.log(spread) @ weight)
        sums = (1 / spread) @ np.stack([weight * a, weight * a * a, weight * b], axis=1)
        mass = np.exp(log_mass - z * mean**2 * sums[:, 2])
        drift = mean * sums[:, 0]
        return mass * drift, mass * (drift**2 + variance * sums[:, 1])


@dataclass(frozen=True)
class StudentT:
    """Independent Student-t noise without mean, dof ≥ 1 degrees of freedom (1 is Cauchy).

    Its mean square is 1 where it has one, dof > 2; else the law has unit scale.
    """

    dof: float

    needs_every_lag = False

    def __post_init__(self) -> None:
        if not (self.dof >= 1 and math.isfinite(self.dof)):
            raise ValueError(f"dof {self.dof} is not a finite number from 1 up")

    def tilted(self, z: FloatArray, averages: Averages, snr: float) -> Arrays:
        """As for every symmetric independent law, with φ(z) = E e^(−zg²) from a table."""
        arguments = np.outer(z, averages.b)
        scale_square = (self.dof - 2) / self.dof if self.dof > 2 else 1.0
        log_phi, log_slope = log_laplace(arguments * scale_square, self.dof)
        return _symmetric(log_phi, log_slope + math.log(scale_square), averages, snr)


def log_laplace(z: FloatArray, dof: float) -> Arrays:
    """log φ and log(−φ') of φ(z) = E e^(−z·t²), t Student-t with dof degrees of freedom, z > 0: no
    elementary form, so integrated over the variance and interpolated over log z.

    t² = (dof/2y)·x² with y of the Gamma(dof/2) law and x normal, so φ(z) = E (1 + dof·z/y)^(−½).
    """
    position = np.log(z) / _TABLE_STEP
    first = math.floor(position.min())
    table = _table(np.arange(first, math.ceil(position.max()) + 2) * _TABLE_STEP, dof)
    entry = np.floor(position).astype(np.int64) - first
    t = position - np.floor(position)
    log_phi = _cubic(table[0], table[1], entry, t)
    log_slope = _cubic(table[2], table[3], entry, t)
    return log_phi, log_slope


def _table(log_z: FloatArray, dof: float) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """log φ, its slope in log z, log(−φ'), its slope in log z."""
    log_y, weight = _gamma_rule(dof / 2)
    ratio = dof * np.exp(-log_y)
    grown = 1 + np.exp(log_z)[:, None] * ratio
    root = grown**-0.5
    phi = root @ weight
    first = (root / grown) @ (weight * ratio / 2)
    second = (root / grown**2) @ (weight * ratio**2 * 3 / 4)
    z = np.exp(log_z)
    return np.log(phi), -z * first / phi, np.log(first), -z * second / first


def _gamma_rule(shape: float) -> Arrays:
    """Nodes log y and weights, of sum 1, for the expectation over the Gamma law of this shape."""
    # The density of log y falls as exp(−shape·(e^s − 1 − s)) from its peak: to e^−40 at both ends.
    reach = 40 / shape + math.sqrt(80 / shape)
    count = max(200, math.ceil((reach + math.log1p(reach)) / _NODE_STEP))
    s = np.linspace(-reach - 1, math.log1p(reach), count)
    weight = np.exp(-shape * (np.expm1(s) - s))
    return s + math.log(shape), weight / weight.sum()


def _cubic(
    height: FloatArray, slope: FloatArray, entry: NDArray[np.int64], t: FloatArray
) -> FloatArray:
    """Cubic Hermite interpolation between entry and entry + 1, at the share t of the way."""
    left, right = height[entry], height[entry + 1]
    left_slope, right_slope = _TABLE_STEP * slope[entry], _TABLE_STEP * slope[entry + 1]
    rise = right - left
    curve = left_slope + right_slope - 2 * rise
    return left + t * (left_slope + t * (rise - left_slope - curve + t * curve))


@dataclass(frozen=True)
class Sparse:
    """A mean, and noise that is zero except with probability density, and Gaussian then.

    Without a mean most gradients are 0; where none has come yet, the update counts as 0.
    """

    density: float

    needs_every_lag = False

    def __post_init__(self) -> None:
        if not 0 < self.density <= 1:
            raise ValueError(f"density {self.density} is outside (0, 1]")

    def tilted(self, z: FloatArray, averages: Averages, snr: float) -> Arrays:
        """φ·M with φ_i = (1−p)·exp(−z·b_i·μ²) + p·D_i^(−½)·exp(−z·b_i·μ²/D_i), p = density,
        D_i = 1 + 2·z·b_i·σ²/p, mean μ, variance σ², μ² + σ² = 1: A1 = Σ a_i·r_i,
        A2 = Σ a_i²·(s_i − r_i²), r and s the mean of g and of g² under each φ_i.
        """
        p, mean, variance = self.density, drift_fraction(snr), 1 / (1 + snr * snr)
        weight, a = averages.weight, averages.a
        tilt = np.outer(z, averages.b)
        spread = 1 + 2 * variance / p * tilt
        log_zero = (math.log1p(-p) if p < 1 else -math.inf) - mean**2 * tilt
        log_hit = math.log(p) - 0.5 * np.log(spread) - mean**2 * tilt / spread
        log_phi = np.logaddexp(log_zero, log_hit)
        zero, hit = np.exp(log_zero - log_phi), np.exp(log_hit - log_phi)
        first = mean * (zero + hit / spread)
        second = mean**2 * (zero + hit / spread**2) + variance / p * hit / spread
        mass = np.exp(log_phi @ weight)
        drift = first @ (weight * a)
        rest = (second - first**2) @ (weight * a * a)
        return mass * drift, mass * (drift**2 + rest)


def _symmetric(
    log_phi: FloatArray, log_slope: FloatArray, averages: Averages, snr: float
) -> Arrays:
    """E[m²·e^(−zv)] = Σ_i a_i²·(−φ'(z·b_i))·Π_(j≠i) φ(z·b_j) of independent symmetric gradients.

    log φ and log(−φ') are matrices, z by lag.
    """
    if snr:
        raise ValueError(f"snr {snr}: heavy-tailed noise is solved for snr 0 only")
    weight, a = averages.weight, averages.a
    mass = np.exp(log_phi @ weight)
    square = mass * (np.exp(log_slope - log_phi) @ (weight * a * a))
    return np.zeros_like(square), square


@dataclass(frozen=True)
class Autoregressive:
    """Gaussian noise around a mean, steps k apart correlated by rho^|k|.

    Its lags cannot be sampled: the steady state takes 10 ms at beta2 0.95, 0.5 s at 0.999.
    """

    rho: float

    needs_every_lag = True

    def __post_init__(self) -> None:
        if not -1 < self.rho < 1:
            raise ValueError(f"rho {self.rho} is outside (-1, 1)")

    def tilted(self, z: FloatArray, averages: Averages, snr: float) -> Arrays:
        """M = √(det Σ⁻¹/det Q)·exp(−z·μ²·bᵀQ⁻¹Σ⁻¹1), A1 = μ·aᵀQ⁻¹Σ⁻¹1, A2 = aᵀQ⁻¹a, with the
        tridiagonal Q = Σ⁻¹ + 2z·diag(b) eliminated as LDLᵀ over the lags: O(lags) for each z.

        averages holds every lag.
        """
        mean = drift_fraction(snr)
        rho = self.rho
        lags = len(averages.a)
        # Everything is multiplied by the innovations' variance, which keeps the pivots near 1.
        innovation = (1 - rho * rho) / (1 + snr * snr)
        diagonal = np.full(lags, 1 + rho * rho)
        diagonal[0] = diagonal[-1] = 1.0
        if lags == 1:
            diagonal[0] = 1 - rho * rho
        row_sum = diagonal - rho * (np.arange(lags) > 0) - rho * (np.arange(lags) < lags - 1)
        pivot = np.ones_like(z)
        a, b, ones = (np.zeros_like(z) for _ in range(3))  # L⁻¹ applied to a, b and Σ⁻¹·1
        log_det = np.full_like(z, -math.log1p(-rho * rho))
        a_a, a_ones, b_ones = (np.zeros_like(z) for _ in range(3))
        for lag in range(lags):
            factor = rho / pivot if lag else np.zeros_like(z)
            pivot = diagonal[lag] + (2 * innovation * averages.b[lag]) * z - rho * factor
            a = averages.a[lag] + factor * a
            b = averages.b[lag] + factor * b
            ones = row_sum[lag] + factor * ones
            log_det += np.log(pivot)
            scaled = a / pivot
            a_a += a * scaled
            a_ones += ones * scaled
            b_ones += b * (ones / pivot)
        mass = np.exp(-z * mean**2 * b_ones - 0.5 * log_det)
        drift = mean * a_ones
        return mass * drift, mass * (drift**2 + innovation * a_a)
