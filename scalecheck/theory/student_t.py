"""The Laplace transform of a squared Student-t variable, which has no elementary form: integrated
over the variance of its Gaussian mixture, then interpolated over the logarithm of its argument."""

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_TABLE_STEP = 0.05  # of log z; the cubic between two entries errs by less than 1e-8
_NODE_STEP = 0.25  # of log y; the trapezoid rule errs by less than 1e-12


def log_laplace(z: FloatArray, dof: float) -> tuple[FloatArray, FloatArray]:
    """log φ and log(−φ') of φ(z) = E e^(−z·t²), t Student-t with dof degrees of freedom, z > 0.

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


def _gamma_rule(shape: float) -> tuple[FloatArray, FloatArray]:
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
