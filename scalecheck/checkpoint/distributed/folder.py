"""A folder of torch.distributed.checkpoint as one dict: the one that was saved, each tensor put
together from its pieces."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scalecheck.checkpoint.distributed.index import Chunk, Index, ObjectEntry, Stored, TensorEntry
from scalecheck.checkpoint.distributed.items import Items
from scalecheck.checkpoint.distributed.nest import nested
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.torch_dtypes import dtype_of
from scalecheck.checkpoint.pieces import Piece, joined
from scalecheck.checkpoint.source import FileSource, Readers
from scalecheck.checkpoint.state_file import recorded
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.report.formatting import excerpt, listed

PACKED = "float4_e2m1fn_x2"  # torch counts pairs of its elements; safetensors, and so we, each


@dataclass
class Saved:
    """The dict that was saved. `objects` are the keys of what holds more than tensors; `lost` the
    keys of what lies in files that are missing, by file; `refused` what could not be read, with the
    reason; `files` those that were read, of `folders`. has_one_order: the dict is in the order in
    which every rank had it."""

    root: dict[object, object] = field(default_factory=dict)
    objects: list[str] = field(default_factory=list)
    lost: dict[Path, list[str]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    files: set[Path] = field(default_factory=set)
    folders: list[Path] = field(default_factory=list)
    has_one_order: bool = True

    def add(self, other: "Saved") -> None:
        """Takes in what another folder holds. Raises Malformed where both have one key."""
        if twice := self.root.keys() & other.root.keys():
            raise Malformed(f"holds {excerpt(str(min(twice, key=str)))} in two of its folders")
        self.root |= other.root
        self.objects += other.objects
        self.lost |= other.lost
        self.refused |= other.refused
        self.files |= other.files
        self.folders += other.folders
        self.has_one_order = self.has_one_order and other.has_one_order


def read_folder(folder: Path, index: Index) -> Saved:
    """What a folder with such an index holds. Raises Malformed, CheckpointError."""
    saved = Saved(folders=[folder])
    with Readers() as readers:
        items = Items(folder, readers)
        files = _checked_files(index, items)
        if files and not files - items.missing.keys():
            raise Malformed(f"has an index and none of its files: {listed(sorted(files))}")
        saved.files = {folder / file for file in index.files - items.missing.keys()}
        leaves = _objects(index, items, saved) | _tensors(index, items)
    for name, stored in _places(index):
        if stored.file in items.missing:
            saved.lost.setdefault(folder / stored.file, []).append(name)
    names = [name for name in index.in_order() if name in leaves]
    saved.root = nested((index.path(name), leaves[name]) for name in names)
    saved.has_one_order = _have_one_order(index)
    return saved


def _have_one_order(index: Index) -> bool:
    """Whether all ranks had the same dict: there is one rank, or there is a tensor of which each
    has a piece, as there is none where ranks hold different layers."""
    files = {stored.file for _, stored in _places(index)}
    ranks = {file.rpartition("_")[0] for file in files}
    return len(ranks) < 2 or any(
        {chunk.stored.file.rpartition("_")[0] for chunk in entry.chunks} == ranks
        for entry in index.entries.values()
        if isinstance(entry, TensorEntry) and len(entry.chunks) >= len(ranks)
    )


def _checked_files(index: Index, items: Items) -> set[str]:
    """The files that an index names, each looked for. Raises Malformed where items overlap, as what
    is read again and again would have no end."""
    places = sorted(_places(index), key=lambda place: (place[1].file, place[1].offset))
    file, end, before = "", 0, ""
    for name, stored in places:
        if stored.file != file:
            items.is_there(stored)
        elif stored.offset < end:
            raise Malformed(
                f"has items of {excerpt(before)} and {excerpt(name)} that overlap at byte"
                f" {stored.offset} of {excerpt(file)}"
            )
        file, end, before = stored.file, stored.offset + stored.nbytes, name
    return {stored.file for _, stored in places}


def _places(index: Index) -> Iterator[tuple[str, Stored]]:
    for name, entry in index.entries.items():
        if isinstance(entry, ObjectEntry):
            yield name, entry.stored
        else:
            yield from ((name, chunk.stored) for chunk in entry.chunks)


def _tensors(index: Index, items: Items) -> dict[str, object]:
    entries = {n: entry for n, entry in index.entries.items() if isinstance(entry, TensorEntry)}
    chunks = [(name, chunk) for name, entry in entries.items() for chunk in entry.chunks]
    held: dict[str, list[Piece]] = {name: [] for name in entries}
    # file by file, so that each is opened once
    for name, chunk in sorted(chunks, key=lambda one: (one[1].stored.file, one[1].stored.offset)):
        if chunk.stored.file in items.missing:
            continue
        dtype = entries[name].dtype
        try:
            tensor = items.tensor(name, chunk, dtype)
        except Malformed as error:
            raise Malformed(f"{excerpt(name)}: {error}") from error
        held[name].append(Piece(_counted(dtype, chunk.start), tensor))
    found: dict[str, object] = {}
    for name, entry in entries.items():
        lost = [chunk for chunk in entry.chunks if chunk.stored.file in items.missing]
        found[name] = recorded(_joined(name, entry, held[name], lost, items.folder))
    return found


def _joined(
    name: str, entry: TensorEntry, held: Sequence[Piece], lost: Sequence[Chunk], folder: Path
) -> Tensor:
    shape = _counted(entry.dtype, entry.shape)
    if held:
        tensor = joined(excerpt(name), shape, held, folder)
        return replace(tensor, name=name, unmeasured=_lost(entry, lost) or tensor.unmeasured)
    dtype, numel = dtype_of(entry.dtype), math.prod(shape)
    lacks = f"{numel} of {numel} elements are in no file" if numel else dtype.unmeasured
    return Tensor(
        name, dtype, shape, FileSource(folder, 0, 0, 0), 0, unmeasured=_lost(entry, lost) or lacks
    )


def _counted(dtype: str, sizes: tuple[int, ...]) -> tuple[int, ...]:
    return (*sizes[:-1], 2 * sizes[-1]) if dtype == PACKED and sizes else sizes


def _lost(entry: TensorEntry, lost: Sequence[Chunk]) -> str:
    """Which elements are not there, and why; empty where all are."""
    if not lost:
        return ""
    files = sorted({excerpt(chunk.stored.file, 40) for chunk in lost})
    numel, count = math.prod(entry.shape), sum(math.prod(chunk.sizes) for chunk in lost)
    are = "which is missing" if len(files) == 1 else "which are missing"
    return f"{count} of {numel} elements are in {listed(files)}, {are}"


def _objects(index: Index, items: Items, saved: Saved) -> dict[str, object]:
    entries = [(n, entry) for n, entry in index.entries.items() if isinstance(entry, ObjectEntry)]
    found: dict[str, object] = {}
    for name, entry in sorted(entries, key=lambda one: (one[1].stored.file, one[1].stored.offset)):
        if not items.is_there(entry.stored):
            continue
        try:
            found[name] = items.object(name, entry.stored)
        except Malformed as error:
            saved.refused[name] = str(error)
    saved.objects = [name for name, node in found.items() if not _is_of_tensors(node)]
    return found


def _is_of_tensors(root: object) -> bool:
    """Whether an object is dicts and lists of tensors and nothing else."""
    stack, seen = [root], set()
    while stack:
        node = stack.pop()
        if isinstance(node, TensorRecord) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, dict):
            stack += node.values()
        elif isinstance(node, list | tuple):
            stack += node
        else:
            return False
    return True
