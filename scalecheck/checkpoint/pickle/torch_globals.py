"""The short allow-list of globals in a torch pickle, each as a function that records what torch
would have built, or refuses what torch.save never writes. What torch copies is copied, within a
budget of the pickle's: two objects that are one here would change together."""

import math
from collections.abc import Callable
from dataclasses import replace

from scalecheck.checkpoint.kinds import FLAT
from scalecheck.checkpoint.malformed import Malformed, never_saved
from scalecheck.checkpoint.pickle.attributes import with_attributes
from scalecheck.checkpoint.pickle.copying import COPIES
from scalecheck.checkpoint.pickle.inert import Foreign, Known, Placeholder
from scalecheck.checkpoint.pickle.numpy_numbers import number_of
from scalecheck.checkpoint.pickle.records import (
    StorageRecord,
    StorageType,
    TensorRecord,
    TorchDType,
)
from scalecheck.checkpoint.pickle.sharded import is_flat_parameter, local_part
from scalecheck.checkpoint.pickle.torch_dtypes import OTHER_BITS, STORAGES
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS
from scalecheck.dtypes import BY_TORCH_NAME
from scalecheck.report.formatting import excerpt

MAX_COUNT = 1 << 63  # torch keeps counts in signed 64-bit integers


def _count(number: object, what: str) -> int:
    if type(number) is not int or not 0 <= number < MAX_COUNT:
        raise Malformed(f"holds a tensor whose {what} is no integer from 0 to 2^63")
    return number


def _counts(numbers: object, what: str) -> tuple[int, ...]:
    if not isinstance(numbers, (tuple, list)):
        raise Malformed(f"holds a tensor whose {what} is no list of numbers")
    if len(numbers) > MAX_DIMENSIONS:
        raise Malformed(f"holds a tensor whose {what} has {len(numbers)} dimensions")
    return tuple(_count(number, what) for number in numbers)


def _shape(sizes: object) -> tuple[int, ...]:
    shape = _counts(sizes, "shape")
    _count(math.prod(shape), "number of elements")
    return shape


def _storage(saved: tuple[object, ...]) -> StorageRecord:
    kind, key, whole = saved[1], saved[2], _count(saved[4], "storage size")
    if not isinstance(kind, StorageType) or type(key) is not str:
        raise Malformed("its pickle has a storage without a known type and a name")
    if len(saved) == 5 or saved[5] is None:
        return StorageRecord(key, kind.dtype, whole, 0, whole, kind.is_untyped)
    if not isinstance(saved[5], tuple) or len(saved[5]) != 3:
        raise Malformed("its pickle has a storage view that torch never writes")
    start, numel = _count(saved[5][1], "view's start"), _count(saved[5][2], "view's size")
    if start + numel > whole:
        raise Malformed(f"holds a storage view {start}..{start + numel} past its {whole} elements")
    return StorageRecord(key, kind.dtype, whole, start, numel, kind.is_untyped)


def _torch_dtype(dtype: object) -> str:
    if isinstance(dtype, TorchDType):
        return dtype.name
    if isinstance(dtype, Foreign):
        return str(dtype)
    raise Malformed("holds a tensor without a dtype")


def _tensor(storage: object, offset: object, size: object, stride: object) -> TensorRecord:
    if not isinstance(storage, StorageRecord):
        raise Malformed("holds a tensor without a storage")
    shape, strides = _shape(size), _counts(stride, "strides")
    if len(shape) != len(strides):
        raise Malformed(f"holds a tensor of {len(shape)} dimensions with {len(strides)} strides")
    return TensorRecord(storage.dtype, shape, storage, _count(offset, "offset"), strides)


def _require_no_hooks(hooks: object) -> None:
    """Raises Malformed where a tensor's hooks hold anything, such as another tensor. An object in
    their place is none that torch makes."""
    if hooks and isinstance(hooks, (dict, list, tuple, TensorRecord, StorageRecord)):
        raise never_saved("has a tensor with hooks")


def _tensor_v2(
    storage: object, offset: object, size: object, stride: object, *others: object
) -> TensorRecord:
    """The others are: requires_grad, hooks, metadata."""
    if len(others) > 3:
        raise never_saved(f"has a tensor of {4 + len(others)} arguments")
    tensor = _tensor(storage, offset, size, stride)
    _require_no_hooks(others[1] if len(others) > 1 else None)
    metadata = others[2] if len(others) > 2 else None
    if metadata is None:
        return tensor
    if not isinstance(metadata, dict) or not all(type(flag) is bool for flag in metadata.values()):
        raise never_saved("has a tensor whose metadata are no flags")
    lazy = {"neg": "a lazily negated view", "conj": "a lazily conjugated view"}
    names = [lazy.get(name, f"a tensor marked {excerpt(str(name), 40)}") for name in metadata]
    set_ones = [name for name, flag in zip(names, metadata.values(), strict=True) if flag]
    return replace(tensor, unmeasured=set_ones[0]) if set_ones else tensor


def _tensor_v3(*saved: object) -> TensorRecord:
    """As `_tensor_v2`, with a dtype before the metadata, and a storage of bytes."""
    tensor, dtype = _tensor_v2(*saved[:6], *saved[7:]), _torch_dtype(saved[6])
    if tensor.dtype not in ("uint8", dtype):
        raise never_saved(f"has a tensor of {dtype} over a storage of {tensor.dtype}")
    return replace(tensor, dtype=dtype)


def _quantised(storage: object, offset: object, size: object, *_: object) -> TensorRecord:
    dtype = storage.dtype if isinstance(storage, StorageRecord) else "quint8"
    return TensorRecord(dtype, _shape(size), unmeasured="a quantised tensor")


def _sparse(layout: object, parts: object, *_: object) -> TensorRecord:
    """Of (indices, values, size, …) or (compressed indices, indices, values, size)."""
    if not isinstance(parts, tuple) or not 3 <= len(parts) <= 4:
        raise Malformed("holds a sparse tensor that torch never writes")
    *tensors, size = parts if isinstance(parts[-1], (tuple, list)) else parts[:-1]
    values = tensors[-1]
    dtype = values.dtype if isinstance(values, TensorRecord) else "float32"
    return TensorRecord(dtype, _shape(size), unmeasured="a sparse tensor")


def _nested(buffer: object, *_: object) -> TensorRecord:
    if not isinstance(buffer, TensorRecord):
        raise Malformed("holds a nested tensor without a buffer")
    return TensorRecord(buffer.dtype, buffer.shape, unmeasured="a nested tensor")


def _meta(dtype: object, size: object, *_: object) -> TensorRecord:
    return TensorRecord(_torch_dtype(dtype), _shape(size), unmeasured="a meta tensor without data")


def _from_numpy(array: object, dtype: object, *_: object) -> TensorRecord:
    """The state of a pickled numpy array is (version, shape, dtype, is_fortran, bytes)."""
    state = array.state if isinstance(array, Placeholder) else None
    shape = _shape(state[1]) if isinstance(state, tuple) and len(state) > 1 else ()
    return TensorRecord(_torch_dtype(dtype), shape, unmeasured="a tensor kept as a numpy array")


def _from_cpu(tensor: object, dtype: object, *_: object) -> object:
    """What a device without storages of its own is given, with the dtype that it had there."""
    if not isinstance(tensor, TensorRecord) or tensor.dtype != _torch_dtype(dtype):
        raise never_saved("has a tensor of a device that is converted to another type")
    return tensor


def _tensor_of_numbers(*_: object) -> object:
    raise never_saved("makes a tensor by calling its class")


def _parameter_class(data: object = None, *_: object) -> object:
    """torch.nn.Parameter itself, which torch before 0.4 named with a tensor."""
    return data if isinstance(data, (TensorRecord, Placeholder)) else _tensor_of_numbers()


def _first(inner: object, *_: object) -> object:
    """The argument that another one wraps."""
    return inner


def _parameter(
    tensor: object, requires_grad: object, hooks: object, state: object = None
) -> object:
    """An nn.Parameter, which says of itself whether it is trained, and whether it is FSDP's."""
    if not isinstance(tensor, (TensorRecord, Placeholder)):
        raise never_saved("makes a parameter of what is no tensor")
    _require_no_hooks(hooks)
    parameter = with_attributes(tensor, state)
    if not isinstance(parameter, TensorRecord):
        return parameter
    piece = FLAT if is_flat_parameter(state) else parameter.piece
    return replace(parameter, piece=piece, is_trained=requires_grad is True)


def _from_type(function: object, kind: object, args: object, state: object = None) -> object:
    if isinstance(function, Known) and isinstance(args, tuple):
        return with_attributes(function.build(*args), state)
    if (part := local_part(kind, args, state)) is not None:
        return part
    return Placeholder(kind, args, state=state)


_BUILDERS: dict[str, Callable[..., object]] = {
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _from_cpu,
    "torch.nn.parameter.Parameter": _parameter_class,
    "torch.jit._pickle.restore_type_tag": _first,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_qtensor": _quantised,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_sparse_csr_tensor": _sparse,
    "torch._utils._rebuild_nested_tensor": _nested,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_device_tensor_from_numpy": _from_numpy,
    "torch._utils._rebuild_xla_tensor": _from_numpy,
    "torch._tensor._rebuild_from_type": _from_type,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.tensor._rebuild_from_type": _from_type,
    "numpy.core.multiarray.scalar": number_of,
    "numpy._core.multiarray.scalar": number_of,
}

_KNOWN = {
    (module, name): Known(build, copies)
    for builders, copies in ((_BUILDERS, False), (COPIES, True))
    for path, build in builders.items()
    for module, _, name in [path.rpartition(".")]
}

_TENSOR_CLASS = Known(_tensor_of_numbers)

_PLAIN_TYPES = """bool bytearray bytes complex dict float int list object range slice str tuple
    xrange"""

_NAMES_ONLY = {
    (module, name): Foreign(module, name)
    for module, names in {
        "torch": """device per_tensor_affine per_tensor_symmetric per_channel_affine
            per_channel_symmetric per_channel_affine_float_qparams strided sparse_coo
            contiguous_format preserve_format channels_last channels_last_3d""",
        "torch.serialization": "_get_layout",
        "torch.nn.parameter": "Buffer",
        "torch._utils": "_rebuild_wrapper_subclass",
        "builtins": _PLAIN_TYPES,
        "__builtin__": _PLAIN_TYPES,
        "numpy": "dtype",
    }.items()
    for name in names.split()
}
"""What tensors are rebuilt with, and Python's plain types: no news to anybody."""


class Globals:
    """What the global names and persistent ids of a pickle stand for.

    `foreign` collects the names that are not on the allow-list, `storages` the storages by key.
    torch keeps the first one of a key and takes it for all others, whatever they say.
    """

    def __init__(self) -> None:
        self.foreign: dict[tuple[str, str], Foreign] = {}
        self.storages: dict[str, StorageRecord] = {}
        self.views: dict[str, StorageRecord] = {}

    def known(self, module: str, name: str) -> object:
        """A Known, a constant, or a Foreign."""
        if known := _KNOWN.get((module, name)) or _NAMES_ONLY.get((module, name)):
            return known
        if module == "torch" and (name in BY_TORCH_NAME or name in OTHER_BITS):
            return TorchDType(name)
        if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGES:
            return StorageType(STORAGES[name], name == "UntypedStorage")
        if module in ("torch", "torch.cuda", "torch.sparse", "torch.cuda.sparse") and (
            name.endswith("Tensor")
        ):
            return _TENSOR_CLASS
        return self.foreign.setdefault((module, name), Foreign(module, name))

    def persistent(self, saved: object) -> object:
        """A storage, or the class of a module saved beside its source. Raises Malformed."""
        if not isinstance(saved, tuple) or not saved:
            raise Malformed("its pickle has a persistent id that torch never writes")
        if saved[0] == "module" and len(saved) == 4:
            return saved[1]
        if saved[0] != "storage" or len(saved) not in (5, 6):
            raise Malformed("its pickle has a persistent id that is no storage")
        storage = _storage(saved)
        first = self.storages.setdefault(storage.key, storage)
        if (first.dtype, first.whole) != (storage.dtype, storage.whole):
            raise never_saved(
                f"has storage {excerpt(storage.key)} as {first.whole} of {first.dtype}"
                f" and as {storage.whole} of {storage.dtype}"
            )
        if len(saved) == 6 and isinstance(saved[5], tuple):
            self.check_view(saved[5][0], storage)
        return storage

    def check_view(self, key: object, view: StorageRecord) -> None:
        """Raises Malformed where one name is given to two stretches of storages."""
        if type(key) is not str:
            raise never_saved("has a storage view without a name")
        first = self.views.setdefault(key, view)
        if key in self.storages or (
            (first.key, first.start, first.numel) != (view.key, view.start, view.numel)
        ):
            raise never_saved(f"has two stretches of storages named {excerpt(key)}")
