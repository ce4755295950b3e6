"""Distributed tensors of a pickle, told by their types: the file of one rank holds a DTensor's or
ShardedTensor's part, and says how large the whole is."""

import math
from collections.abc import Sequence
from dataclasses import replace

from scalecheck.checkpoint.pickle.attributes import attributes_of, sequence_of, sizes_of
from scalecheck.checkpoint.pickle.inert import Foreign, Placeholder
from scalecheck.checkpoint.pickle.placements import share_of
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.share import MAX_NUMEL, Share

_SIZE = 2  # place of the whole's shape in the arguments of torch._utils._rebuild_wrapper_subclass
_LINES = ("rows", "columns")  # what the first two dimensions are called


def local_part(kind: object, args: object, state: object) -> object:
    """What a file holds of a distributed tensor: one record, or a list of them where it holds
    several parts. None of any other type, and where no part is a plain tensor.

    kind: the class; args: what its wrapper is made with; state: its attributes.
    """
    if not isinstance(kind, Foreign) or not kind.module.startswith("torch.distributed"):
        return None
    whole = sizes_of(args[_SIZE] if isinstance(args, tuple) and len(args) > _SIZE else None)
    if kind.name == "DTensor":
        attributes = attributes_of(state)
        local = attributes.get("_local_tensor")
        if isinstance(local, TensorRecord):
            spec = attributes.get("_spec")
            marked = _marked(local, kind.name, whole, None, _is_sum(spec))
            return replace(marked, share=share_of(spec, whole, local.shape) if whole else None)
    elif kind.name == "ShardedTensor" and isinstance(state, tuple) and state:
        parts = [_shard(shard, whole) for shard in sequence_of(state[0])]
        found = [part for part in parts if part is not None]
        if len(found) != 1:
            return [replace(part, share=None) for part in found] or None
        own = found[0].share
        ranks = _ranks(state[1]) if len(state) > 1 else 0
        return replace(found[0], share=replace(own, ranks=ranks) if own and ranks else own)
    return None


def _ranks(metadata: object) -> int:
    """How many shards a ShardedTensor has, as its metadata lists them."""
    return len(sequence_of(attributes_of(metadata).get("shards_metadata")))


def is_flat_parameter(state: object) -> bool:
    """Whether a parameter's attributes are those of FSDP's vector of many."""
    return attributes_of(state).get("_is_flat_param") is True


def _shard(shard: object, whole: tuple[int, ...] | None) -> TensorRecord | None:
    attributes = attributes_of(shard) if isinstance(shard, Placeholder) else {}
    tensor, metadata = attributes.get("tensor"), attributes.get("metadata")
    if not isinstance(tensor, TensorRecord):
        return None
    held = attributes_of(metadata) if isinstance(metadata, Placeholder) else {}
    start = sizes_of(held.get("shard_offsets"))
    marked = _marked(tensor, "ShardedTensor", whole, start)
    if whole is None or start is None or not len(start) == len(tensor.shape) == len(whole):
        return marked
    if math.prod(whole) >= MAX_NUMEL:
        return marked
    ranges = tuple(((at, n),) for at, n in zip(start, tensor.shape, strict=True))
    return replace(marked, share=Share(whole, ranges))


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
    placements = attributes_of(spec).get("placements")
    makers = (one.maker for one in sequence_of(placements) if isinstance(one, Placeholder))
    return any(isinstance(maker, Foreign) and "Partial" in maker.name for maker in makers)
