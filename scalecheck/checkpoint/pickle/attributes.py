"""What Python keeps beside a tensor: attributes that leave its elements alone, or a refusal."""

from collections.abc import Sequence
from dataclasses import replace

from scalecheck.checkpoint.malformed import never_saved
from scalecheck.checkpoint.pickle.inert import Foreign, LongText, Placeholder
from scalecheck.checkpoint.pickle.records import TensorRecord, TorchDType
from scalecheck.report.formatting import excerpt

MAX_ATTRIBUTES = 1000  # of a tensor, and what they hold; those that trainers set are a handful


def with_attributes(tensor: object, state: object) -> object:
    """A tensor with the attributes that Python keeps beside it: of a class with __slots__ there are
    two dicts. Raises Malformed where one of them would be torch's own, such as `data`."""
    parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    attributes = [part for part in parts if isinstance(part, dict)]
    for name in (name for part in attributes for name in part):
        if type(name) is not str or name in _OF_TENSORS or name.startswith("__"):
            raise never_saved(f"has a tensor whose attributes set its {excerpt(str(name), 40)}")
    if not isinstance(tensor, TensorRecord):
        return Placeholder(Foreign("torch", "Tensor"), (tensor,), state=state)
    if _is_plain(parts):
        return tensor
    return replace(tensor, unmeasured="a tensor with attributes that are not read")


_OF_TENSORS = frozenset(
    (
        *("H", "T", "_backward_hooks", "_base", "_cdata", "_grad", "_grad_fn"),
        *("_post_accumulate_grad_hooks", "_version", "data", "device", "dtype", "grad"),
        *("grad_dtype", "grad_fn", "imag", "itemsize", "layout", "mH", "mT", "name", "names"),
        *("nbytes", "ndim", "real", "requires_grad", "retains_grad", "shape", "volatile"),
    )
)
"""Attributes that torch.Tensor itself has: those that can be set change its elements, or what it
is."""


def attributes_of(node: object) -> dict[object, object]:
    """The attributes of an object that was set aside, or those that a state holds; of a class with
    __slots__ there are two dictionaries."""
    state = node.state if isinstance(node, Placeholder) else node
    states = state if isinstance(state, tuple) and len(state) <= 2 else (state,)
    tables = [table for table in states if isinstance(table, dict)]
    if len(tables) < 2:
        return tables[0] if tables else {}
    return {**tables[0], **tables[1]}


def sequence_of(items: object) -> Sequence[object]:
    """A list or tuple; an empty one where it is none."""
    return items if isinstance(items, (list, tuple)) else ()


def sizes_of(sizes: object) -> tuple[int, ...] | None:
    """Counts that a tensor's shape can have; None where they are none: a file can hold anything."""
    if not isinstance(sizes, (list, tuple)) or len(sizes) > 64:
        return None
    if not all(type(size) is int and 0 <= size < 1 << 63 for size in sizes):
        return None
    return tuple(size for size in sizes if isinstance(size, int))


def _is_plain(node: object) -> bool:
    """Whether nothing in it is a tensor or an object, as far as it has few entries in all."""
    todo = [node]
    for _ in range(MAX_ATTRIBUTES):
        if not todo:
            return True
        one = todo.pop()
        if isinstance(one, (dict, list, tuple)):
            todo += [*(one.values() if isinstance(one, dict) else one)][:MAX_ATTRIBUTES]
        elif not (one is None or isinstance(one, _PLAIN)):
            return False
    return not todo


_PLAIN = (bool, bytes, float, int, str, TorchDType, Foreign, LongText)


def is_flags(state: object) -> bool:
    """What a variable of torch before 0.4 kept: requires_grad, volatile, hooks."""
    return isinstance(state, tuple) and len(state) == 3 and all(map(_is_flag, state))


def _is_flag(flag: object) -> bool:
    return flag is None or isinstance(flag, bool) or flag == {}
