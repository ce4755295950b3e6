"""The numbers of the small floats of the MX and NVFP4 formats, which have no infinities and no NaN
(OCP Microscaling Formats 1.0, 2023)."""

import numpy as np

from scalecheck.checkpoint.quantised.decoded import FloatArray
from scalecheck.checkpoint.quantised.packed import Axis, Codes
from scalecheck.checkpoint.tensor import Tensor


def _values(exponent_bits: int, mantissa_bits: int, bias: int) -> FloatArray:
    word = np.arange(1 << (exponent_bits + mantissa_bits))
    exponent, mantissa = np.divmod(word, 1 << mantissa_bits)
    fraction = mantissa / 2.0**mantissa_bits + (exponent > 0)
    magnitude = np.ldexp(fraction, np.maximum(exponent, 1) - bias)
    return np.concatenate([magnitude, -magnitude])


E2M1 = _values(2, 1, 1)  # 0 0.5 1 1.5 2 3 4 6
E2M3 = _values(2, 3, 1)


def low_nibble_first(tensor: Tensor, rows: int, columns: int, axis: Axis = "columns") -> Codes:
    """Codes of 4 bits, two a byte."""
    return Codes(tensor, rows, columns, 4, 8, (0, 4), axis)
