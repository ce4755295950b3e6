"""The Newton-Schulz iteration of Muon in numpy, as torch computes it in bfloat16: its rounding is
what small singular values grow from, so that float64 gives updates that are up to a quarter off."""

import numpy as np
from numpy.typing import NDArray

from scalecheck.optimizers.contract import FloatArray


def orthogonalized(
    matrix: FloatArray, coefficients: tuple[float, float, float], steps: int, eps: float
) -> FloatArray:
    """`steps` times X ← a·X + (b·XXᵀ + c·(XXᵀ)²)·X of X = matrix/max(‖matrix‖, eps): products are
    summed in float32 and rounded to bfloat16, as torch does. Its RMS is torch's within 4e-4."""
    linear, cubic, quintic = map(np.float32, coefficients)
    x = _rounded(matrix.astype(np.float32))
    is_tall = x.shape[0] > x.shape[1]
    if is_tall:
        x = x.T
    norm = _rounded(np.array([np.linalg.norm(x)], np.float32))
    x = _rounded(x / max(norm[0], np.float32(eps)))
    for _ in range(steps):
        gram = _rounded(x @ x.T)
        x = _rounded(linear * x + _rounded(cubic * gram + quintic * (gram @ gram)) @ x)
    return (x.T if is_tall else x).astype(np.float64)


def _rounded(numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """To bfloat16, halves to even."""
    words = np.ascontiguousarray(numbers).view(np.uint32)
    rounded = words + np.uint32(0x7FFF) + ((words >> np.uint32(16)) & np.uint32(1))
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)
