"""Distributed tensors of a pickle, told by their types: the file of one rank holds a DTensor's or
ShardedTensor's part, and says how large the whole is."""

import math
from collections.abc import Sequence
from dataclasses import replace

from scalecheck.checkpoint.pickle.inert import Foreign, Placeholder
from scalecheck.checkpoint.pickle.records import TensorRecord

_SIZE = 2  # place of the whole's shape in the arguments of torch._utils._rebuild_wrapper_subclass
_LINES = ("rows", "columns")  # what the first two dimensions are called


def local_part(kind: object, args: object, state: object) -> object:
    """What a file holds of a distributed tensor: one record, or a list of them where it holds
    several parts. None of any other type, and where no part is a plain tensor.

    kind: the class; args: what its wrapper is made with; state: its attributes.
    """
    if not isinstance(kind, Foreign) or not kind.module.startswith("torch.distributed"):
        return None
    whole = _shape(args[_SIZE] if isinstance(args, tuple) and len(args) > _SIZE else None)
    if kind.name == "DTensor":
        attributes = _attributes(state)
        local = attributes.get("_local_tensor")
        if isinstance(local, TensorRecord):
            return _marked(local, kind.name, whole, None, _is_sum(attributes.get("_spec")))
    elif kind.name == "ShardedTensor" and isinstance(state, tuple) and state:
        parts = [_shard(shard, whole) for shard in _list(state[0])]
        found = [part for part in parts if part is not None]
        return found[0] if len(found) == 1 else found or None
    return None


def is_flat_parameter(state: object) -> bool:
    """Whether a parameter's attributes are those of FSDP's vector of many."""
    return _attributes(state).get("_is_flat_param") is True


def _shard(shard: object, whole: tuple[int, ...] | None) -> TensorRecord | None:
    attributes = _attributes(shard.state) if isinstance(shard, Placeholder) else {}
    tensor, metadata = attributes.get("tensor"), attributes.get("metadata")
    if not isinstance(tensor, TensorRecord):
        return None
    held = _attributes(metadata.state) if isinstance(metadata, Placeholder) else {}
    return _marked(tensor, "ShardedTensor", whole, _shape(held.get("shard_offsets")))


def _marked(
    local: TensorRecord,
    kind: str,
    whole: tuple[int, ...] | None,
    start: tuple[int, ...] | None,
    is_sum: bool = False,
) -> TensorRecord:
    """The local part, with the reason why it is a piece; as it is where it is all there is."""
    if is_sum:
        return replace(local, piece=f"one summand of a {kind}, whose ranks add up to the tensor")
    if whole is None or len(whole) != len(local.shape):
        return replace(local, piece=f"the local part of a {kind}")
    if local.shape == whole:
        return local
    share = 100 * local.numel / max(1, math.prod(whole))
    words = f"{share:.3g} % of a {kind} of {'×'.join(map(str, whole))}"
    cut = [
        d for d, (part, all_of) in enumerate(zip(local.shape, whole, strict=True)) if part < all_of
    ]
    if len(cut) == 1:
        words += f": {_stretch(cut[0], local.shape, whole, start)}"
    return replace(local, piece=words)


def _stretch(
    dimension: int, part: Sequence[int], whole: Sequence[int], start: Sequence[int] | None
) -> str:
    """What it holds of the one dimension that is cut: rows 0 to 49 of 100."""
    if len(whole) == 1:
        lines = "elements"
    else:
        lines = _LINES[dimension] if dimension < len(_LINES) else f"places in axis {dimension}"
    count, total = part[dimension], whole[dimension]
    if start is None or len(start) != len(part) or not count:
        return f"{count} of {total} {lines}"
    return f"{lines} {start[dimension]} to {start[dimension] + count - 1} of {total}"


def _is_sum(spec: object) -> bool:
    """Whether a placement of a DTensor says that its ranks hold summands."""
    placements = _attributes(spec.state).get("placements") if isinstance(spec, Placeholder) else ()
    makers = (one.maker for one in _list(placements) if isinstance(one, Placeholder))
    return any(isinstance(maker, Foreign) and "Partial" in maker.name for maker in makers)


def _attributes(state: object) -> dict[object, object]:
    """The attributes of an object; of a class with __slots__ there are two dictionaries."""
    states = state if isinstance(state, tuple) and len(state) <= 2 else (state,)
    tables = [table for table in states if isinstance(table, dict)]
    if len(tables) < 2:
        return tables[0] if tables else {}
    return {**tables[0], **tables[1]}


def _list(items: object) -> Sequence[object]:
    return items if isinstance(items, (list, tuple)) else ()


def _shape(sizes: object) -> tuple[int, ...] | None:
    """None where it is none; a file can hold anything."""
    if not isinstance(sizes, (list, tuple)) or len(sizes) > 64:
        return None
    if not all(type(size) is int and 0 <= size < 1 << 63 for size in sizes):
        return None
    return tuple(size for size in sizes if isinstance(size, int))
