"""Storage types under their safetensors names, and the value that each stored word stands for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DType:
    """A storage type.

    `words` is the little-endian numpy type its elements are read as; it is None for a type that is
    recognised and not measured, and then `unmeasured` says why.
    """

    name: str
    bits: int
    kind: str  # "float", "integer", "bool" or "other"
    words: str | None
    unmeasured: str | None = None

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def itemsize(self) -> int:
        """Bytes of an element; only types of whole bytes have one."""
        return self.bits // 8

    @property
    def is_narrow(self) -> bool:
        """At most 65,536 different values, so that counts by value are the whole truth."""
        return self.bits <= 16

    @property
    def largest(self) -> float:
        """The largest finite number of a float type."""
        if self.is_narrow:
            values = self.values()
            return float(values[np.isfinite(values)].max())
        return float(np.finfo(self.words or "").max)

    def values(self) -> NDArray[np.float64]:
        """The value of every word of a narrow type, in the order of the words, shape (2**bits,)."""
        return _values(self.name)

    def decode(self, words: NDArray[np.generic]) -> NDArray[np.float64]:
        """The stored words as float64, same shape; 64-bit integers are rounded to 53 bits."""
        if self.is_narrow:
            unsigned = words.view(f"<u{self.itemsize}")
            values: NDArray[np.float64] = self.values()[unsigned]
            return values
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            return words.astype(np.float64)


def _small_float(
    exponent_bits: int,
    mantissa_bits: int,
    bias: int,
    *,
    finite: bool = False,
    unsigned_zero: bool = False,
) -> NDArray[np.float64]:
    """Every value of a sign-exponent-mantissa format, in the order of its words.

    `finite`: no infinities, and NaN only where all exponent and mantissa bits are set (OCP E4M3).
    `unsigned_zero`: the word of −0 is the only NaN (the FNUZ formats).
    """
    width = 1 + exponent_bits + mantissa_bits
    word = np.arange(2**width)
    sign = np.where(word >> (width - 1), -1.0, 1.0)
    exponent = (word >> mantissa_bits) & (2**exponent_bits - 1)
    mantissa = (word & (2**mantissa_bits - 1)) / 2.0**mantissa_bits
    magnitude = np.where(
        exponent == 0,
        np.ldexp(mantissa, 1 - bias),
        np.ldexp(1.0 + mantissa, exponent - bias),
    )
    value: NDArray[np.float64] = sign * magnitude
    top = exponent == 2**exponent_bits - 1
    if unsigned_zero:
        value[2 ** (width - 1)] = np.nan
    elif finite:
        value[top & ((word & (2**mantissa_bits - 1)) == 2**mantissa_bits - 1)] = np.nan
    else:
        value[top] = np.where(mantissa[top] == 0, sign[top] * np.inf, np.nan)
    return value


def _powers_of_two() -> NDArray[np.float64]:
    """E8M0: a bare exponent of bias 127; the last word is NaN."""
    value = np.ldexp(1.0, np.arange(256) - 127)
    value[255] = np.nan
    return value


_NARROW_VALUES: dict[str, Callable[[], NDArray[np.float64]]] = {
    "BF16": lambda: _small_float(8, 7, 127),
    "F16": lambda: _small_float(5, 10, 15),
    "F8_E4M3": lambda: _small_float(4, 3, 7, finite=True),
    "F8_E5M2": lambda: _small_float(5, 2, 15),
    "F8_E4M3FNUZ": lambda: _small_float(4, 3, 8, unsigned_zero=True),
    "F8_E5M2FNUZ": lambda: _small_float(5, 2, 16, unsigned_zero=True),
    "F8_E8M0": _powers_of_two,
    "I16": lambda: np.arange(2**16, dtype=np.uint16).view(np.int16).astype(np.float64),
    "U16": lambda: np.arange(2**16).astype(np.float64),
    "I8": lambda: np.arange(2**8, dtype=np.uint8).view(np.int8).astype(np.float64),
    "U8": lambda: np.arange(2**8).astype(np.float64),
    "BOOL": lambda: (np.arange(2**8) != 0).astype(np.float64),
}


@cache
def _values(name: str) -> NDArray[np.float64]:
    values = _NARROW_VALUES[name]()
    values.flags.writeable = False
    return values


WORDS = {
    "bf16": "BF16",
    "bfloat16": "BF16",
    "fp16": "F16",
    "float16": "F16",
    "fp32": "F32",
    "float32": "F32",
    "float64": "F64",
    "fp8": "F8_E4M3",
    "e4m3": "F8_E4M3",
    "e5m2": "F8_E5M2",
}
"""What people call float types on a command line."""


def named(word: str) -> str:
    """The safetensors name of a type that people call so; the word itself if it is none."""
    return WORDS.get(word.lower(), word.upper())


_PACKED = "elements are packed below a byte; their scale factors lie in other tensors"
_COMPLEX = "complex numbers have no single scale"

DTYPES: dict[str, DType] = {
    dtype.name: dtype
    for dtype in (
        DType("F64", 64, "float", "<f8"),
        DType("F32", 32, "float", "<f4"),
        DType("F16", 16, "float", "<u2"),
        DType("BF16", 16, "float", "<u2"),
        DType("F8_E4M3", 8, "float", "<u1"),
        DType("F8_E5M2", 8, "float", "<u1"),
        DType("F8_E4M3FNUZ", 8, "float", "<u1"),
        DType("F8_E5M2FNUZ", 8, "float", "<u1"),
        DType("F8_E8M0", 8, "float", "<u1"),
        DType("I64", 64, "integer", "<i8"),
        DType("U64", 64, "integer", "<u8"),
        DType("I32", 32, "integer", "<i4"),
        DType("U32", 32, "integer", "<u4"),
        DType("I16", 16, "integer", "<u2"),
        DType("U16", 16, "integer", "<u2"),
        DType("I8", 8, "integer", "<u1"),
        DType("U8", 8, "integer", "<u1"),
        DType("BOOL", 8, "bool", "<u1"),
        DType("F4", 4, "other", None, _PACKED),
        DType("F6_E2M3", 6, "other", None, _PACKED),
        DType("F6_E3M2", 6, "other", None, _PACKED),
        DType("C64", 64, "other", None, _COMPLEX),
        DType("C128", 128, "other", None, _COMPLEX),
    )
}
