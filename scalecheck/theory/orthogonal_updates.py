"""Muon's update: a matrix whose singular values a Newton-Schulz iteration brings near 1."""

import math

import numpy as np

# torch.optim.Muon's defaults; the iteration overshoots on purpose and ends between 0.68 and 1.21.
COEFFICIENTS = (3.4445, -4.775, 2.0315)
STEPS = 5

_NODES = 2048


def orthogonal_update_rms(rows: int, cols: int) -> float:
    """Element RMS of a rows × cols matrix whose singular values are all 1: 1/√max(rows, cols).

    Raises ValueError for an empty matrix.
    """
    if rows < 1 or cols < 1:
        raise ValueError(f"a {rows} x {cols} matrix is empty")
    return 1 / math.sqrt(max(rows, cols))


def newton_schulz_update_rms(
    rows: int,
    cols: int,
    coefficients: tuple[float, float, float] = COEFFICIENTS,
    steps: int = STEPS,
) -> float:
    """Element RMS of Muon's update for a momentum of independent noise, before lr's adjustment.

    orthogonal_update_rms·√E[p(s)²], with s the singular values of a Gaussian matrix over its
    Frobenius norm and p the iterated s → a·s + b·s³ + c·s⁵: by the Marchenko-Pastur law,
    s² = (1 + y + 2√y·cos θ)/min(rows, cols), y = min/max, θ of density 2·sin²θ/(π·s²·min).
    Checked against torch.optim.Muon in tests/test_theory_replay.py.
    """
    ideal = orthogonal_update_rms(rows, cols)
    short, long = sorted((rows, cols))
    aspect = short / long
    theta = (np.arange(_NODES) + 0.5) * math.pi / _NODES
    spread = 1 + aspect + 2 * math.sqrt(aspect) * np.cos(theta)
    share = 2 / _NODES * np.sin(theta) ** 2 / spread
    singular = np.sqrt(spread / short)
    linear, cubic, quintic = coefficients
    with np.errstate(over="ignore", invalid="ignore"):  # of coefficients that diverge
        for _ in range(steps):
            square = singular * singular
            singular = singular * (linear + square * (cubic + square * quintic))
        return ideal * math.sqrt(float(share @ singular**2))
