"""Storage types: their names here, in torch and on a command line, their bits, and the value that
each stored word stands for."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FloatType:
    """A binary floating-point format: sign, exponent and stored mantissa bits.

    finite: no infinities, and NaN only where all exponent and mantissa bits are set (OCP E4M3).
    unsigned_zero: the word of −0 is the only NaN (the FNUZ formats). The properties are of formats
    that are neither.
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int
    finite: bool = False
    unsigned_zero: bool = False

    @property
    def smallest_exponent(self) -> int:
        """Of a normal number."""
        return 1 - self.bias

    @property
    def largest(self) -> float:
        largest_exponent = 2**self.exponent_bits - 2 - self.bias
        return math.ldexp(2.0 - self.epsilon, largest_exponent)

    @property
    def smallest_normal(self) -> float:
        return math.ldexp(1.0, self.smallest_exponent)

    @property
    def smallest_subnormal(self) -> float:
        return math.ldexp(1.0, self.smallest_exponent - self.mantissa_bits)

    @property
    def epsilon(self) -> float:
        """From 1 to the next larger number; torch.finfo's eps."""
        return 2.0**-self.mantissa_bits

    def values(self) -> NDArray[np.float64]:
        """Every value of a narrow format, in the order of its words."""
        width = 1 + self.exponent_bits + self.mantissa_bits
        word = np.arange(2**width)
        sign = np.where(word >> (width - 1), -1.0, 1.0)
        exponent = (word >> self.mantissa_bits) & (2**self.exponent_bits - 1)
        mantissa = (word & (2**self.mantissa_bits - 1)) / 2.0**self.mantissa_bits
        magnitude = np.where(
            exponent == 0,
            np.ldexp(mantissa, 1 - self.bias),
            np.ldexp(1.0 + mantissa, exponent - self.bias),
        )
        value: NDArray[np.float64] = sign * magnitude
        top = exponent == 2**self.exponent_bits - 1
        if self.unsigned_zero:
            value[2 ** (width - 1)] = np.nan
        elif self.finite:
            value[top & (mantissa == 1 - self.epsilon)] = np.nan
        else:
            value[top] = np.where(mantissa[top] == 0, sign[top] * np.inf, np.nan)
        return value


@dataclass(frozen=True)
class DType:
    """A storage type under its safetensors name.

    `words` is the little-endian numpy type its elements are read as; it is None for a type that is
    recognised and not measured, and then `unmeasured` says why. `torch` is torch's name, None where
    it has none; `spoken` is what people call it on a command line. `layout` is of a float type with
    a mantissa.
    """

    name: str
    bits: int
    kind: str  # "float", "integer", "bool" or "other"
    words: str | None
    torch: str | None = None
    layout: FloatType | None = None
    spoken: tuple[str, ...] = ()
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


def decoded_type(name: str) -> DType:
    """The type of numbers that codes and factors stand for, under the encoding's name: a float64
    holds their products."""
    return DType(name, 64, "float", "<f8")


_INTEGERS: dict[str, Callable[[], NDArray[np.generic]]] = {
    "I16": lambda: np.arange(2**16, dtype=np.uint16).view(np.int16),
    "U16": lambda: np.arange(2**16),
    "I8": lambda: np.arange(2**8, dtype=np.uint8).view(np.int8),
    "U8": lambda: np.arange(2**8),
    "BOOL": lambda: np.arange(2**8) != 0,
}


@cache
def _values(name: str) -> NDArray[np.float64]:
    if layout := DTYPES[name].layout:
        values = layout.values()
    elif name in _INTEGERS:
        values = _INTEGERS[name]().astype(np.float64)
    else:  # F8_E8M0: a bare exponent of bias 127; the last word is NaN
        values = np.ldexp(1.0, np.arange(256) - 127)
        values[255] = np.nan
    values.flags.writeable = False
    return values


_PACKED = "elements are packed below a byte; their scale factors lie in other tensors"
_COMPLEX = "complex numbers have no single scale"
_E4M3 = FloatType(4, 3, 7, finite=True)
_E4M3_FNUZ = FloatType(4, 3, 8, unsigned_zero=True)
_E5M2_FNUZ = FloatType(5, 2, 16, unsigned_zero=True)

DTYPES: dict[str, DType] = {
    dtype.name: dtype
    for dtype in (
        DType("BF16", 16, "float", "<u2", "bfloat16", FloatType(8, 7, 127), ("bf16", "bfloat16")),
        DType("F16", 16, "float", "<u2", "float16", FloatType(5, 10, 15), ("fp16", "float16")),
        DType("F32", 32, "float", "<f4", "float32", FloatType(8, 23, 127), ("fp32", "float32")),
        DType("F64", 64, "float", "<f8", "float64", FloatType(11, 52, 1023), ("float64",)),
        DType("F8_E4M3", 8, "float", "<u1", "float8_e4m3fn", _E4M3, ("fp8", "e4m3")),
        DType("F8_E5M2", 8, "float", "<u1", "float8_e5m2", FloatType(5, 2, 15), ("e5m2",)),
        DType("F8_E4M3FNUZ", 8, "float", "<u1", "float8_e4m3fnuz", _E4M3_FNUZ),
        DType("F8_E5M2FNUZ", 8, "float", "<u1", "float8_e5m2fnuz", _E5M2_FNUZ),
        DType("F8_E8M0", 8, "float", "<u1", "float8_e8m0fnu"),
        DType("I64", 64, "integer", "<i8", "int64"),
        DType("U64", 64, "integer", "<u8", "uint64"),
        DType("I32", 32, "integer", "<i4", "int32"),
        DType("U32", 32, "integer", "<u4", "uint32"),
        DType("I16", 16, "integer", "<u2", "int16"),
        DType("U16", 16, "integer", "<u2", "uint16"),
        DType("I8", 8, "integer", "<u1", "int8"),
        DType("U8", 8, "integer", "<u1", "uint8"),
        DType("BOOL", 8, "bool", "<u1", "bool"),
        DType("F4", 4, "other", None, "float4_e2m1fn_x2", unmeasured=_PACKED),
        DType("F6_E2M3", 6, "other", None, unmeasured=_PACKED),
        DType("F6_E3M2", 6, "other", None, unmeasured=_PACKED),
        DType("C64", 64, "other", None, "complex64", unmeasured=_COMPLEX),
        DType("C128", 128, "other", None, "complex128", unmeasured=_COMPLEX),
    )
}

BY_TORCH_NAME = {dtype.torch: dtype for dtype in DTYPES.values() if dtype.torch}

BY_NUMPY_CODE = {
    "f2": "F16",
    "f4": "F32",
    "f8": "F64",
    "c8": "C64",
    "c16": "C128",
    "i1": "I8",
    "i2": "I16",
    "i4": "I32",
    "i8": "I64",
    "u1": "U8",
    "u2": "U16",
    "u4": "U32",
    "u8": "U64",
    "b1": "BOOL",
    "?": "BOOL",
    "V2": "BF16",
}
"""Storage types by numpy's code without the order of bytes; two bytes without a type are what
ml_dtypes makes of bfloat16."""

FLOAT_TYPES = {
    dtype.name: dtype.layout for dtype in DTYPES.values() if dtype.layout and dtype.bits >= 16
}
"""The layouts of the types that weights are trained in."""

WORDS = {word: dtype.name for dtype in DTYPES.values() for word in dtype.spoken}
"""What people call float types on a command line."""


def named(word: str) -> str:
    """The safetensors name of a type that people call so; the word itself if it is none."""
    return WORDS.get(word.lower(), word.upper())
