"""The tree of names that Orbax keeps beside arrays, and the arrays of it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.arrays.array_tree import Leaf
from scalecheck.checkpoint.files.strict_json import parsed
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.source import FileSource
from scalecheck.checkpoint.tensor import MAX_NAME
from scalecheck.checkpoint.zarr.arrays import ArrayReader
from scalecheck.checkpoint.zarr.ocdbt import MANIFEST, OcdbtStore
from scalecheck.checkpoint.zarr.stores import FolderStore, Store, Value
from scalecheck.report.formatting import excerpt, listed, plural

TREE = "_METADATA"
MARKS = (TREE, MANIFEST)
"""The files by which a folder is known to hold arrays of Orbax."""
MAX_TREE_NBYTES = 1 << 26  # some 400 an array
MAX_TREE_VALUES = 2_000_000

_MERGED = "ocdbt.process_"  # the folders of a database's parts, of which the merged one tells all
_NO_ARRAYS = frozenset(("string", "None", "Dict", "List", "Tuple", "NamedTuple", "empty"))

Keys = tuple[str, ...]


def item_leaves(path: Path) -> tuple[str, list[Leaf], list[str]]:
    """The format of an item, its arrays by their keys, and notes. Raises Malformed,
    CheckpointError."""
    told = _told(path)
    store: Store
    if (path / MANIFEST).exists():
        format, store = "orbax-ocdbt", OcdbtStore(path)
    else:
        if parts := sorted(path.glob(f"{_MERGED}*")):
            problem = f"{len(parts)} parts such as {parts[0].name} were not merged"
            raise Malformed(f"is unfinished: it has no {MANIFEST}, as {problem}")
        format, store = "orbax-zarr", FolderStore(path)
    # since 2024 Orbax writes what is equal to the fill value, too, and says so
    is_whole = told.get("store_array_data_equal_to_fill_value") is True
    reader = ArrayReader(store, "lacking" if is_whole else "zeros")
    held = dict(store.arrays())
    keys = _keys(told) if "tree_metadata" in told else [(*name.split("."),) for name in held]
    leaves = []
    lacking = []
    for one in keys:
        name = ".".join(one)
        if len(name) > MAX_NAME:
            raise Malformed(f"{excerpt(name)}: a name of {len(name)} characters")
        if name not in held:
            lacking.append(name)
            continue
        leaves.append(Leaf(name, reader.tensor(name, name, held.pop(name)), one))
    if lacking:
        missing = f"{len(lacking)} of {len(lacking) + len(leaves)} arrays are not there"
        raise Malformed(f"{missing}: {listed([excerpt(name, 60) for name in lacking])}")
    notes = []
    if held:
        names = listed([excerpt(name, 60) for name in held])
        notes.append(f"not read, as its {TREE} does not name them: {names}")
    if isinstance(store, OcdbtStore) and store.missing:
        files = [f"{file} (of {excerpt(key, 60)})" for file, key in store.missing.items()]
        notes.append(f"{plural(len(files), 'file')} not there: {listed(files)}")
    return format, leaves, notes


def _told(path: Path) -> Mapping[str, Any]:
    """What an item's metadata say; nothing where it has none. Raises Malformed."""
    file = path / TREE
    if not file.exists():
        return {}
    source = FileSource.of(file)
    text = Value(source, 0, source.nbytes).read(MAX_TREE_NBYTES)
    try:
        told = parsed(text, MAX_TREE_VALUES)
    except ValueError as error:
        raise Malformed(f"has a bad {TREE}: {error}") from error
    if not isinstance(told, dict):
        raise Malformed(f"has a {TREE} that is no object")
    return told


def _keys(told: Mapping[str, Any]) -> Iterator[Keys]:
    """The keys that lead to each array. Raises Malformed."""
    tree = told["tree_metadata"]
    if not isinstance(tree, dict):
        raise Malformed(f"has a {TREE} whose tree_metadata is no object")
    for label, entry in tree.items():
        keys = entry.get("key_metadata") if isinstance(entry, dict) else None
        about = entry.get("value_metadata") if isinstance(entry, dict) else None
        if not isinstance(keys, list) or not isinstance(about, dict):
            raise Malformed(f"has a {TREE} without the keys of {excerpt(label)}")
        if about.get("skip_deserialize") or str(about.get("value_type", "")) in _NO_ARRAYS:
            continue
        words = [key.get("key") if isinstance(key, dict) else None for key in keys]
        if not words or not all(isinstance(word, (str, int)) for word in words):
            raise Malformed(f"has a {TREE} with keys that are no names: {excerpt(label)}")
        yield tuple(map(str, words))
