"""Numbers that a pickle keeps itself, not in a storage: they are named, and not measured."""

import math
import re
from typing import TypeGuard

from scalecheck.checkpoint.pickle.inert import Foreign, LongText, Placeholder
from scalecheck.checkpoint.pickle.records import StorageRecord, TensorRecord
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS

_FLOATS = {
    "f2": "float16",
    "f4": "float32",
    "f8": "float64",
    "c8": "complex64",
    "c16": "complex128",
    "f16": "longdouble",
    "c32": "clongdouble",
}
"""numpy's names of the types that hold weights."""

_OTHERS = re.compile(r"b1|[iu][1248]|[mMOSU]\d*")
"""Its names of those that hold none: integers are states of random generators, the objects of an
array are looked into."""


def numbers_of(node: object) -> TensorRecord | None:
    """A storage by itself, a numpy array of floats, or a list of floats that are not all finite, as
    a tensor; None of anything else."""
    if isinstance(node, StorageRecord):
        return node.vector()
    if isinstance(node, Placeholder):
        return _array(node)
    if isinstance(node, (list, tuple)) and node and all(type(one) in (float, int) for one in node):
        wrong = sum(not math.isfinite(one) for one in node if isinstance(one, float))
        if wrong:
            told = f"a list of numbers, of which {wrong} of {len(node)} are NaN or inf"
            return TensorRecord("float64", (len(node),), unmeasured=told)
    return None


def _array(node: Placeholder) -> TensorRecord | None:
    """The state of an array is (version, shape, dtype, is_fortran, bytes), and more of a masked
    one; protocol 5 calls a function with (bytes, dtype, shape, order)."""
    maker = node.maker
    if isinstance(maker, Foreign) and maker.module == "array":
        return _of_standard_library(node.args)
    if not isinstance(maker, Foreign) or not maker.module.startswith("numpy."):
        return None
    shape: object = None
    dtype: object = None
    if maker.name in _MAKERS and isinstance(node.state, tuple) and len(node.state) >= 5:
        _, shape, dtype, *_ = node.state
    elif maker.name == "_frombuffer" and isinstance(node.args, tuple) and len(node.args) == 4:
        _, dtype, shape, _ = node.args
    if not isinstance(dtype, Placeholder) or not isinstance(dtype.args, tuple) or not dtype.args:
        return None
    name = dtype.args[0]
    if not _is_shape(shape) or (isinstance(name, str) and _OTHERS.fullmatch(name)):
        return None
    # of a type with fields the name is V12, or a class
    told = "a numpy array in the pickle: save it as a tensor"
    kind = _FLOATS.get(name, "fields") if isinstance(name, str) else "fields"
    return TensorRecord(kind, (*shape,), unmeasured=told)


def _of_standard_library(args: object) -> TensorRecord | None:
    """An array.array by its class, the letter of its type, the form of its bytes, and these;
    protocol 2 has a list of its numbers in their place."""
    if not isinstance(args, tuple) or len(args) != 4 or args[1] not in ("f", "d"):
        return None
    _, letter, _, data = args
    if not isinstance(data, (bytes, LongText)):
        return None
    nbytes = len(data) if isinstance(data, bytes) else data.nbytes
    dtype, itemsize = ("float32", 4) if letter == "f" else ("float64", 8)
    told = "an array.array in the pickle: save it as a tensor"
    return TensorRecord(dtype, (nbytes // itemsize,), unmeasured=told)


_MAKERS = ("_reconstruct", "_mareconstruct")


def _is_shape(shape: object) -> TypeGuard[tuple[int, ...]]:
    return (
        isinstance(shape, tuple)
        and len(shape) <= MAX_DIMENSIONS
        and all(type(size) is int and 0 <= size < 1 << 32 for size in shape)
    )
