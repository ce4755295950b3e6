"""The types of arrays by the names that numpy and ml_dtypes have for them, as JAX programs save
them."""

from scalecheck.dtypes import BY_TORCH_NAME, DType
from scalecheck.report.formatting import excerpt

MAX_TYPE_NAME = 64
_PACKABLE = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "int1": 1, "uint1": 1}


def named(name: str) -> DType | None:
    """The type of a name that is measured; None where there is none of it."""
    return BY_TORCH_NAME.get(name)


def unknown(name: str, bits: int) -> DType:
    """A type without numbers here, of so many bits an element."""
    few = _PACKABLE.get(name)
    why = (
        f"integers of {few} bits, which are codes" if few else "this version does not know its type"
    )
    return DType(excerpt(name, MAX_TYPE_NAME), bits, "other", None, unmeasured=why)
