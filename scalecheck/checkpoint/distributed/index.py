"""The `.metadata` of torch.distributed.checkpoint: which tensors there are, in which pieces, and in
which stretch of which file each piece lies. torch unpickles it; here it is read as inert data."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from scalecheck.checkpoint.keys import text_key
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.pickle.inert import Foreign, Key, Placeholder
from scalecheck.checkpoint.pickle.records import TorchDType
from scalecheck.checkpoint.pickle.torch_globals import Globals
from scalecheck.checkpoint.pickle.unpickle import MAX_PICKLE_NBYTES, unpickle
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS, MAX_NAME
from scalecheck.report.formatting import excerpt

MAX_PATH = 64  # parts of a key; those of an optimizer's state have four
MAX_COUNT = 1 << 63  # torch keeps sizes and offsets in signed 64-bit integers

_HELD = frozenset(("state_dict_metadata", "storage_data"))

Shape = tuple[int, ...]


class Stored(NamedTuple):
    """A stretch of a file of the checkpoint, and what its bytes went through on their way there."""

    file: str
    offset: int
    nbytes: int
    transforms: tuple[str, ...] = ()


class Chunk(NamedTuple):
    """A box of a tensor, and where it is stored."""

    start: Shape
    sizes: Shape
    stored: Stored


Places = dict[str, dict[str, Stored]]
"""Where items are stored, by their names and the texts of their offsets."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """A tensor: its type by torch's name, and the boxes of it that hold elements."""

    dtype: str
    shape: Shape
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """Anything but a tensor: a number, a list, a text."""

    stored: Stored


@dataclass
class Index:
    """What a checkpoint holds by its keys, and the path to each in the dict that was saved, where
    its writer kept it; files: all that it names, those of chunks without elements too."""

    entries: dict[str, TensorEntry | ObjectEntry] = field(default_factory=dict)
    paths: dict[str, tuple[str | int, ...]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)

    def in_order(self) -> list[str]:
        """The keys as the dict had them: an index lists those of one rank after another, and the
        paths as each rank has them."""
        with_path = [name for name in self.paths if name in self.entries]
        return [*with_path, *(name for name in self.entries if name not in self.paths)]

    def path(self, name: str) -> tuple[str | int, ...]:
        return self.paths.get(name, (name,))


def read_index(path: Path) -> Index:
    """The index in a file. Raises CheckpointError where it is none, damaged or hostile, and lets an
    OSError through."""
    with content_of(path), path.open("rb") as file:
        nbytes = path.stat().st_size
        if nbytes > MAX_PICKLE_NBYTES:
            raise Malformed(f"is an index of {nbytes} bytes, the limit is {MAX_PICKLE_NBYTES}")
        names, stream = Globals(), io.BytesIO(file.read(nbytes))
        return _index(unpickle(stream, names.known, names.persistent, nbytes=nbytes))


def merged(indexes: Sequence[Index]) -> Index:
    """The index of ranks that wrote one each: what several have stands once, and of a tensor all
    chunks. Raises Malformed where they differ on one."""
    whole = Index()
    for index in indexes:
        whole.paths |= index.paths
        whole.files |= index.files
        for name, entry in index.entries.items():
            before = whole.entries.get(name, entry)
            if isinstance(entry, TensorEntry) and isinstance(before, TensorEntry):
                if (entry.dtype, entry.shape) != (before.dtype, before.shape):
                    raise Malformed(
                        f"{excerpt(name)}: is {before.dtype} {list(before.shape)} in one index and"
                        f" {entry.dtype} {list(entry.shape)} in another"
                    )
                chunks = {text_key((c.start, c.sizes)): c for c in (*entry.chunks, *before.chunks)}
                before = replace(before, chunks=(*chunks.values(),))
            elif type(entry) is not type(before):
                raise Malformed(f"{excerpt(name)}: is a tensor in one index and none in another")
            whole.entries[name] = before
    return whole


def _index(root: object) -> Index:
    index = Index()
    held = _held(root)
    entries = _table(held.get("state_dict_metadata"), "state_dict_metadata")
    stored = _places(_table(held.get("storage_data"), "storage_data"))
    index.files = {place.file for own in stored.values() for place in own.values()}
    for name, entry in entries.items():
        if type(name) is not str or len(name) > MAX_NAME:
            raise Malformed(f"has a key that is no text of up to {MAX_NAME} characters")
        try:
            index.entries[name] = _entry(name, entry, stored)
        except Malformed as error:
            raise Malformed(f"{excerpt(name)}: {error}") from error
    planned = held.get("planner_data")
    for name, path in planned.items() if isinstance(planned, dict) else ():
        if type(name) is str and _is_path(path) and ".".join(map(str, path)) == name:
            index.paths[name] = path
    return index


def _held(root: object) -> Mapping[object, object]:
    """The attributes of the index, whose class Megatron-Core derives one from."""
    if (
        isinstance(root, Placeholder)
        and isinstance(root.state, dict)
        and root.state.keys() >= _HELD
    ):
        return root.state
    found = str(root) if isinstance(root, Placeholder) else f"a {type(root).__name__}"
    raise Malformed(f"holds {found}: it is no index of torch.distributed.checkpoint")


def _entry(name: str, entry: object, stored: Places) -> TensorEntry | ObjectEntry:
    if _is_made_by(entry, "BytesStorageMetadata"):
        return ObjectEntry(_place(name, text_key(None), stored))
    held = _attributes(entry, "TensorStorageMetadata", "its entry")
    shape = _shape(held.get("size"), "size")
    chunks = held.get("chunks")
    if not isinstance(chunks, list):
        raise Malformed("has no list of chunks")
    found: dict[str, Chunk] = {}
    for chunk in chunks:
        told = _attributes(chunk, "ChunkStorageMetadata", "a chunk")
        start, sizes = _shape(told.get("offsets"), "offset"), _shape(told.get("sizes"), "size")
        # a chunk without elements may share the entry of its neighbour
        if math.prod(sizes):
            place = text_key(start)
            is_other = place in found and found[place].sizes != sizes
            key = text_key((start, sizes)) if is_other else place
            found[key] = Chunk(start, sizes, _place(name, place, stored))
    return TensorEntry(_dtype(held.get("properties")), shape, (*found.values(),))


def _dtype(properties: object) -> str:
    """TensorProperties keep a tuple, the type first."""
    if _is_made_by(properties, "TensorProperties") and isinstance(properties, Placeholder):
        state = properties.state
        kept = state.get("dtype") if isinstance(state, dict) else state
        first = kept[0] if isinstance(kept, tuple) and kept else kept
        if isinstance(first, (TorchDType, Foreign)):
            return first.name
    raise Malformed("has no type")


def _places(storage: Mapping[object, object]) -> Places:
    found: Places = {}
    for key, info in storage.items():
        told = _attributes(key.original if isinstance(key, Key) else key, "MetadataIndex", "a key")
        name, start = told.get("fqn"), told.get("offset")
        if type(name) is not str:
            raise Malformed("has a storage entry without a name")
        own = found.setdefault(name, {})
        place = text_key(None if start is None else _shape(start, "offset"))
        if place in own:
            raise Malformed(f"{excerpt(name)}: has two storage entries for one chunk")
        own[place] = _stored(name, info)
    return found


def _stored(name: str, info: object) -> Stored:
    told = _attributes(info, "_StorageInfo", "a storage entry")
    file, numbers = told.get("relative_path"), (told.get("offset"), told.get("length"))
    if type(file) is not str or not file or len(file) > MAX_NAME or "\0" in file:
        raise Malformed(f"{excerpt(name)}: has a storage entry without a file name")
    for number in numbers:
        if type(number) is not int or not 0 <= number < MAX_COUNT:
            raise Malformed(f"{excerpt(name)}: its place in {excerpt(file)} is no byte range")
    transforms = told.get("transform_descriptors") or ()
    if not isinstance(transforms, (list, tuple)) or any(type(t) is not str for t in transforms):
        raise Malformed(f"{excerpt(name)}: its transforms are no list of names")
    offset, nbytes = numbers
    assert isinstance(offset, int)
    assert isinstance(nbytes, int)
    return Stored(file, offset, nbytes, (*map(str, transforms),))


def _place(name: str, start: str, stored: Places) -> Stored:
    place = stored[name].get(start) if name in stored else None
    if place is None:
        what = "it" if start == text_key(None) else f"its chunk at [{start.strip('(),')}]"
        raise Malformed(f"no storage entry says where {what} lies")
    return place


def _shape(sizes: object, what: str) -> Shape:
    if not isinstance(sizes, (tuple, list)) or len(sizes) > MAX_DIMENSIONS:
        raise Malformed(f"has a {what} that is no list of up to {MAX_DIMENSIONS} numbers")
    for size in sizes:
        if type(size) is not int or not 0 <= size < MAX_COUNT:
            raise Malformed(f"has a {what} with a number that is none from 0 to 2^63")
    if what == "size" and math.prod(sizes) >= MAX_COUNT:
        raise Malformed("has 2^63 elements or more")
    return (*sizes,)


def _is_path(path: object) -> bool:
    return (
        isinstance(path, tuple)
        and 0 < len(path) <= MAX_PATH
        and type(path[0]) is str
        and all(type(part) is int or (type(part) is str and len(part) <= MAX_NAME) for part in path)
    )


def _is_made_by(node: object, name: str) -> bool:
    """Whether a node is an object of a class of this name: of torch's, or of a program's own."""
    return (
        isinstance(node, Placeholder)
        and isinstance(node.maker, Foreign)
        and node.maker.name == name
    )


def _attributes(node: object, name: str, what: str) -> Mapping[object, object]:
    if (
        isinstance(node, Placeholder)
        and isinstance(node.maker, Foreign)
        and node.maker.name == name
        and isinstance(node.state, dict)
    ):
        return node.state
    found = str(node) if isinstance(node, Placeholder) else f"a {type(node).__name__}"
    raise Malformed(f"{what} is {found}, where torch.distributed.checkpoint has {name}")


def _table(table: object, what: str) -> Mapping[object, object]:
    if not isinstance(table, dict):
        raise Malformed(f"has no {what}: it is no index of torch.distributed.checkpoint")
    return table
