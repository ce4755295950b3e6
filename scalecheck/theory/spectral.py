"""The spectral norm of a rows × cols update of which only the element RMS is known, and what the
update does to the weights' spectral norm and to activations."""

import math

from scalecheck.theory.domain import require_not_negative


def rank_one_spectral_norm(rows: int, cols: int, rms: float) -> float:
    """rms·√(rows·cols), the Frobenius norm: the largest spectral norm at this RMS, reached by rank
    1, such as Adam's update for a constant rank-1 gradient. ValueError for an empty matrix or a
    negative rms."""
    _require_matrix(rows, cols, rms)
    return rms * math.sqrt(rows * cols)


def smallest_spectral_norm(rows: int, cols: int, rms: float) -> float:
    """rms·√max(rows, cols): the smallest spectral norm at this RMS, reached where all singular
    values are equal. ValueError as rank_one_spectral_norm."""
    _require_matrix(rows, cols, rms)
    return rms * math.sqrt(max(rows, cols))


def noise_spectral_norm(rows: int, cols: int, rms: float) -> float:
    """rms·(√rows + √cols): of independent elements, and of Adam's update for noise.

    Not a bound: updates that share a direction over steps or samples lie above it. ValueError as
    rank_one_spectral_norm.
    """
    _require_matrix(rows, cols, rms)
    return rms * (math.sqrt(rows) + math.sqrt(cols))


def spectral_relative_update(rows: int, cols: int, relative_update: float) -> tuple[float, float]:
    """‖ΔW‖₂/‖W‖₂ of noise and of a rank-1 update, on weights of independent elements:
    relative_update and relative_update·√(rows·cols)/(√rows+√cols).

    relative_update: lr·u/rms(W). ValueError for an empty matrix or a negative relative_update.
    """
    coherent = rank_one_spectral_norm(rows, cols, relative_update)
    return relative_update, coherent / noise_spectral_norm(rows, cols, 1.0)


def activation_change(fan_in: int, update_rms: float, input_rms: float) -> tuple[float, float]:
    """RMS by which ΔW of element RMS update_rms changes an activation, for noise and where it is
    aligned with the input: update_rms·√fan_in·input_rms and update_rms·fan_in·input_rms.

    update_rms includes lr. ValueError for fan_in < 1 or a negative RMS.
    """
    _require_matrix(1, fan_in, update_rms)
    require_not_negative("input_rms", input_rms)
    aligned = update_rms * fan_in * input_rms
    return aligned / math.sqrt(fan_in), aligned


def _require_matrix(rows: int, cols: int, rms: float) -> None:
    if rows < 1 or cols < 1:
        raise ValueError(f"a {rows} x {cols} matrix is empty")
    require_not_negative("rms", rms)
