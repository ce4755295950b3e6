"""Where the local part of a DTensor lies in the whole, by its mesh and placements."""

from collections.abc import Sequence
from math import prod

from scalecheck.checkpoint.pickle.attributes import attributes_of, sequence_of, sizes_of
from scalecheck.checkpoint.pickle.inert import Foreign, Placeholder
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.share import MAX_NUMEL, Range, Share

MAX_MESH = 8  # dimensions of a mesh; those of real runs have up to five
MAX_STRETCHES = 1024  # of a dimension that a rank holds; strided shards have one or few


def share_of(spec: object, shape: tuple[int, ...], local: tuple[int, ...]) -> Share | None:
    """The share of a rank; None where its DTensorSpec does not say it for certain, or says another
    one than the local part has room for."""
    table = attributes_of(spec)
    mesh = attributes_of(table.get("mesh"))
    sizes = _mesh_sizes(mesh)
    at = sizes_of(mesh.get("_coordinate_on_dim"))
    placements = sequence_of(table.get("placements"))
    if sizes is None or at is None or not 0 < len(sizes) == len(at) == len(placements) <= MAX_MESH:
        return None
    if prod(shape) >= MAX_NUMEL or prod(sizes) >= MAX_NUMEL:
        return None
    if not all(place < size for place, size in zip(at, sizes, strict=True)):
        return None
    ranges: list[list[Range]] = [[(0, size)] for size in shape]
    is_cut = [False] * len(sizes)
    for number in _order(table.get("shard_order"), len(sizes)):
        cut = _cut(placements[number], len(shape))
        if cut is None:
            return None
        dimension, factor = cut
        if dimension is None:
            continue
        is_cut[number] = True
        held = ranges[dimension]
        if factor > MAX_STRETCHES or len(held) * factor > MAX_STRETCHES:
            return None
        ranges[dimension] = _chunk(held, sizes[number], at[number], factor)
    replica = tuple(place for place, cut_here in zip(at, is_cut, strict=True) if not cut_here)
    share = Share(shape, tuple(map(tuple, ranges)), replica, prod(sizes))
    return share if share.local_shape == local else None


def _mesh_sizes(mesh: dict[object, object]) -> tuple[int, ...] | None:
    """The sizes of a mesh: from its layout, as torch since 2.9 keeps it, or from the tensor of its
    ranks."""
    layout = attributes_of(mesh.get("_layout"))
    if axes := sequence_of(layout.get("axes")):
        found = [_product(attributes_of(axis).get("shape")) for axis in axes[: MAX_MESH + 1]]
    elif layout:
        shape = layout.get("shape")
        found = [_product(one) for one in (sequence_of(shape) or (shape,))[: MAX_MESH + 1]]
    else:
        ranks = mesh.get("mesh", mesh.get("_mesh"))
        return ranks.shape if isinstance(ranks, TensorRecord) else None
    return sizes_of(found)


def _product(shape: object) -> int | None:
    """The elements of a layout's axis, a number or a nest of them."""
    if type(shape) is int:
        return shape
    sizes = sizes_of(shape)
    return prod(sizes) if sizes else None


def _order(entries: object, count: int) -> list[int]:
    """The dimensions of the mesh in the order in which they cut the tensor: from left to right,
    where the file does not say another."""
    said = [
        number
        for entry in sequence_of(entries)
        for number in sizes_of(_mesh_dims(entry)) or ()
        if number < count
    ]
    return [*dict.fromkeys(said), *(n for n in range(count) if n not in said)]


def _mesh_dims(entry: object) -> object:
    """Those of a ShardOrderEntry, a pair that starts with the tensor's dimension."""
    pair = entry.args if isinstance(entry, Placeholder) else entry
    return pair[1] if isinstance(pair, tuple) and len(pair) == 2 else None


def _cut(placement: object, dimensions: int) -> tuple[int | None, int] | None:
    """Which dimension of the tensor a placement cuts, and into how many parts it is cut before;
    no dimension where each rank holds it all. None of a placement that is not known."""
    if not isinstance(placement, Placeholder) or not isinstance(placement.maker, Foreign):
        return None
    kind = placement.maker.name.rpartition(".")[2]
    if kind == "Replicate":
        return None, 1
    attributes = attributes_of(placement)
    dimension, factor = attributes.get("dim"), attributes.get("split_factor", 1)
    if kind not in ("Shard", "_StridedShard") or (kind == "Shard" and factor != 1):
        return None
    if type(dimension) is not int or type(factor) is not int or factor < 1:
        return None
    dimension += dimensions if dimension < 0 else 0
    return (dimension, factor) if 0 <= dimension < dimensions else None


def _chunk(ranges: Sequence[Range], count: int, at: int, factor: int) -> list[Range]:
    """What a rank holds of some stretches: they are cut into `factor` parts, and each of these into
    `count`, of which it has the one at its place. Parts are as torch.chunk makes them: all of
    one size, rounded up, but the last, and those behind it empty."""
    total = sum(n for _, n in ranges)
    part = -(-total // factor)
    found: list[Range] = []
    for number in range(factor):
        first, last = min(number * part, total), min((number + 1) * part, total)
        size = -(-(last - first) // count)
        start = min(first + at * size, last)
        found += _stretches(ranges, start, min(start + size, last))
    return _merged(found)


def _stretches(ranges: Sequence[Range], first: int, last: int) -> list[Range]:
    """The stretches that hold the places `first` to `last`, counted through all."""
    found, before = [], 0
    for start, count in ranges:
        low, high = max(first, before), min(last, before + count)
        if low < high:
            found.append((start + low - before, high - low))
        before += count
    return found


def _merged(ranges: Sequence[Range]) -> list[Range]:
    """The same with those as one that follow each other."""
    found: list[Range] = []
    for start, count in ranges:
        if found and sum(found[-1]) == start:
            found[-1] = (found[-1][0], found[-1][1] + count)
        else:
            found.append((start, count))
    return found
