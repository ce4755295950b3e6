"""torch's names of storage classes, and of the element types that only torch has."""

from scalecheck.dtypes import BY_TORCH_NAME, DType

OTHER_BITS = {
    "complex32": 32,
    "qint32": 32,
    "bits16": 16,
    **dict.fromkeys(("quint8", "qint8", "quint4x2", "quint2x4"), 8),
    **dict.fromkeys(("bits8", "bits4x2", "bits2x4", "bits1x8"), 8),
}
"""Bits that torch stores for an element of the types that the table of types does not have."""

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
    """The storage type of a torch dtype; one that the table does not have is of kind "other"."""
    if name in BY_TORCH_NAME:
        return BY_TORCH_NAME[name]
    bits, unmeasured = OTHER_BITS.get(name, 8), f"elements of type {name} are not read"
    return DType(name, bits, "other", None, name, unmeasured=unmeasured)


def itemsize_of(name: str) -> int:
    """Bytes of a storage's element; torch packs what is smaller than a byte into one."""
    return max(1, dtype_of(name).itemsize)
