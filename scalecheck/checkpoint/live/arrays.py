"""A torch tensor or an array of another library as a Tensor. None of its elements is read, and none
is copied."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.live.objects import is_tensor, torch
from scalecheck.checkpoint.live.sources import ArraySource, StorageSource
from scalecheck.checkpoint.pickle.torch_dtypes import dtype_of
from scalecheck.checkpoint.source import Source
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.checkpoint.views import is_contiguous, is_overlapping, span, steps
from scalecheck.dtypes import BY_TORCH_NAME, DType

MAX_REPEATED = 16  # times its memory; a view that is expanded to more is not gone through

_LAZY = ("UninitializedParameter", "UninitializedBuffer")


def tensor_of(name: str, value: Any, path: Path) -> Tensor:
    """The tensor of an object that `is_tensor` or `is_array` holds of; `path` is what an error
    names. Where its elements cannot be read, `unmeasured` says why."""
    return _of_torch(name, value, path) if is_tensor(value) else _of_array(name, value, path)


def view_of(tensor: Tensor) -> object:
    """What is equal for two tensors that are the same view of the same memory; None for one that
    is not in memory. What has no elements there is told by the object that it is."""
    return getattr(tensor.source, "view", None)


def _of_torch(name: str, value: Any, path: Path) -> Tensor:
    value, piece = _local_part(value)
    dtype = dtype_of(str(value.dtype).removeprefix("torch."))
    if why := _without_storage(value):
        shape = _shape(value)
        return Tensor(name, dtype, shape, _nothing(path, value), 0, unmeasured=why, piece=piece)
    shape, strides = tuple(value.shape), tuple(value.stride())
    unmeasured = dtype.unmeasured
    if dtype.name == "F4" and shape:  # torch counts pairs of them, and so do we each
        shape = (*shape[:-1], 2 * shape[-1])
    try:
        words = torch().empty(0, dtype=torch().uint8, device=value.device)
        words = words.set_(value.untyped_storage())
        address = value.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError) as error:  # a device without storages, such as xla
        why = f"its memory on {value.device} cannot be read: {str(error).partition(chr(10))[0]}"
        return Tensor(name, dtype, shape, _nothing(path, value), 0, unmeasured=why, piece=piece)
    offset = value.storage_offset() * dtype.itemsize
    held = span(shape, strides)
    if value.numel() and offset + held * dtype.itemsize > words.numel():
        unmeasured = f"its memory was freed: its storage has {words.numel()} bytes"
    view: object = (str(value.device), address + offset, shape, steps(shape, strides), dtype.name)
    view = view if value.numel() else id(value)
    negated = dtype.bits if value.is_neg() else 0
    storage = StorageSource(path, words, view, negated)
    if unmeasured or is_contiguous(shape, strides):
        return Tensor(name, dtype, shape, storage, offset, unmeasured=unmeasured, piece=piece)
    if not is_overlapping(shape, strides):
        return Tensor(name, dtype, shape, storage, offset, steps(shape, strides), piece=piece)
    if math.prod(shape) > MAX_REPEATED * held:
        unmeasured = f"an expanded view: {math.prod(shape)} elements over {held} in memory"
    array = partial(_strided, storage, dtype, offset, shape, strides)
    nbytes = math.prod(shape) * dtype.itemsize
    source = ArraySource(path, array, dtype.words or "", nbytes, view)
    return Tensor(name, dtype, shape, source, 0, unmeasured=unmeasured, piece=piece)


def _local_part(value: Any) -> tuple[Any, str | None]:
    """What this process holds of a distributed tensor, and the reason why it is a piece; the tensor
    itself where it is all there is. Nothing is sent between processes."""
    local: Any = getattr(value, "_local_tensor", None)
    if is_tensor(local) and hasattr(value, "placements"):
        if any(placement.is_partial() for placement in value.placements):
            return local, "one summand of a DTensor, whose ranks add up to the tensor"
        whole = tuple(value.shape)
        piece = None if local.shape == whole else share_of(local.numel(), "DTensor", whole)
        return local, piece
    partition: Any = getattr(value, "ds_tensor", None)
    if is_tensor(partition) and not value.numel():
        whole = tuple(value.ds_shape)
        return partition, share_of(partition.numel(), "parameter of ZeRO 3", whole)
    return value, None


def share_of(numel: int, what: str, whole: Sequence[int]) -> str:
    """How much of a larger tensor so many elements are."""
    share = 100 * numel / max(1, math.prod(whole))
    return f"{share:.3g} % of a {what} of {'×'.join(map(str, whole))}"


def _without_storage(value: Any) -> str | None:
    """Why a tensor has no plain memory to read its elements from."""
    kind = type(value).__name__
    if kind in _LAZY:
        return "a lazy parameter, which gets its shape and numbers when the module is first called"
    if value.is_nested:
        return "a nested tensor, whose rows differ in length"
    if value.layout is not torch().strided:
        return f"a sparse tensor ({str(value.layout).removeprefix('torch.')}), which has no strides"
    if hasattr(value, "__tensor_flatten__"):
        return f"a {kind}, which makes its numbers of codes and factors when it is used"
    if value.is_meta:
        return "on the meta device: it has no numbers"
    return None


def _shape(value: Any) -> tuple[int, ...]:
    """Its sizes; that of a vector where a nested tensor has none, and no elements where a lazy one
    has none."""
    if type(value).__name__ in _LAZY:
        return (0,)
    return (int(value.numel()),) if value.is_nested else tuple(map(int, value.shape))


def _nothing(path: Path, value: object) -> Source:
    """The source of an object that has no elements to read."""
    return ArraySource(path, partial(np.empty, 0, np.uint8), "<u1", 0, id(value))


def _strided(
    source: StorageSource, dtype: DType, offset: int, shape: Sequence[int], strides: Sequence[int]
) -> NDArray[Any]:
    """A view of a stretch of a storage, in words of the type."""
    words = np.empty(span(shape, strides), dtype.words)
    source.open().fill(offset, words.view(np.uint8).data)
    in_bytes = [stride * words.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(words, shape, in_bytes, writeable=False)


def _of_array(name: str, value: Any, path: Path) -> Tensor:
    shape = tuple(map(int, value.shape))
    dtype = _array_type(value.dtype)
    if dtype.unmeasured:
        return Tensor(name, dtype, shape, _nothing(path, value), 0, unmeasured=dtype.unmeasured)
    view: object = id(value)
    if isinstance(value, np.ndarray):
        value = np.asarray(value)
        if value.size:
            own = tuple(
                stride if n > 1 else 0 for n, stride in zip(shape, value.strides, strict=True)
            )
            view = ("cpu", value.__array_interface__["data"][0], shape, own, value.dtype.str)
    elif not isinstance(value.dtype, np.dtype) and (why := _refusal(value)):
        return Tensor(name, dtype, shape, _nothing(path, value), 0, unmeasured=why)
    nbytes = math.prod(shape) * dtype.itemsize
    source = ArraySource(path, partial(_converted, value), dtype.words or "", nbytes, view)
    return Tensor(name, dtype, shape, source, 0)


def _array_type(dtype: Any) -> DType:
    """The storage type by its name, as numpy, JAX, MLX and TensorFlow have it."""
    name = str(getattr(dtype, "name", dtype)).rpartition(".")[2]
    if (known := BY_TORCH_NAME.get(name)) is not None:
        return known
    bits = 8 * int(getattr(dtype, "itemsize", 1))
    return DType(name, bits, "other", None, unmeasured=f"elements of type {name} are not read")


def _converted(value: Any) -> NDArray[Any]:
    if isinstance(value, np.ndarray) or hasattr(value, "__array__"):
        return np.asarray(value)
    return np.from_dlpack(value)


def _refusal(value: Any) -> str | None:
    """Why numpy cannot read an array of another library."""
    try:
        _converted(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        return f"numpy cannot read a {type(value).__name__}: {str(error).partition(chr(10))[0]}"
    return None
