"""Numbers that a pickle keeps itself, not in a storage: they are named, and not measured."""

import math
from typing import TypeGuard

from scalecheck.checkpoint.pickle.inert import Foreign, Placeholder
from scalecheck.checkpoint.pickle.records import StorageRecord, TensorRecord
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS

_FLOATS = {
    "f2": "float16",
    "f4": "float32",
    "f8": "float64",
    "c8": "complex64",
    "c16": "complex128",
}
"""numpy's names of the types that hold weights. Integers are states of random generators."""


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
    """The state of an array is (version, shape, dtype, is_fortran, bytes); protocol 5 calls a
    function with (bytes, dtype, shape, order)."""
    maker = node.maker
    if not isinstance(maker, Foreign) or not maker.module.startswith("numpy."):
        return None
    shape: object = None
    dtype: object = None
    if maker.name == "_reconstruct" and isinstance(node.state, tuple) and len(node.state) == 5:
        _, shape, dtype, _, _ = node.state
    elif maker.name == "_frombuffer" and isinstance(node.args, tuple) and len(node.args) == 4:
        _, dtype, shape, _ = node.args
    if not isinstance(dtype, Placeholder) or not isinstance(dtype.args, tuple) or not dtype.args:
        return None
    name = dtype.args[0]
    if not isinstance(name, str) or name not in _FLOATS or not _is_shape(shape):
        return None
    told = "a numpy array in the pickle: save it as a tensor"
    return TensorRecord(_FLOATS[name], (*shape,), unmeasured=told)


def _is_shape(shape: object) -> TypeGuard[tuple[int, ...]]:
    return (
        isinstance(shape, tuple)
        and len(shape) <= MAX_DIMENSIONS
        and all(type(size) is int and 0 <= size < 1 << 32 for size in shape)
    )
