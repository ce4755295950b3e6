"""torch's names of element types and of storage classes, and the DType that each stands for."""

from scalecheck.checkpoint.dtypes import DTYPES, DType

DTYPE_NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "float4_e2m1fn_x2": "F4",
    "complex64": "C64",
    "complex128": "C128",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
}
"""torch's name of a type: the name in DTYPES."""

OTHER_BITS = {
    "complex32": 32,
    "qint32": 32,
    "bits16": 16,
    **dict.fromkeys(("quint8", "qint8", "quint4x2", "quint2x4"), 8),
    **dict.fromkeys(("bits8", "bits4x2", "bits2x4", "bits1x8"), 8),
}
"""Bits that torch stores for an element of the types that DTYPES does not have."""

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "QInt8Storage": "qint8",
    "QInt32Storage": "qint32",
    "QUInt8Storage": "quint8",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8",
}


def dtype_of(name: str) -> DType:
    """The storage type of a torch dtype; one that DTYPES does not have is of kind "other"."""
    if name in DTYPE_NAMES:
        return DTYPES[DTYPE_NAMES[name]]
    return DType(
        name, OTHER_BITS.get(name, 8), "other", None, f"elements of type {name} are not read"
    )


def itemsize_of(name: str) -> int:
    """Bytes of a storage's element; torch packs what is smaller than a byte into one."""
    return max(1, dtype_of(name).itemsize)
