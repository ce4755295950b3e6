"""Zarr arrays of version 2 and 3, alone or in groups, in a folder. zstd needs the library
zstandard, blosc TensorStore. Checksums are not looked at."""

from pathlib import Path

from scalecheck.checkpoint.arrays.array_tree import Leaf, checkpoint_of
from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.checkpoint.zarr.arrays import ArrayReader
from scalecheck.checkpoint.zarr.stores import FolderStore

_MARKS = (".zgroup", ".zarray", "zarr.json")


def recognises(path: Path, head: bytes) -> Evidence:
    is_zarr = not head and any((path / mark).is_file() for mark in _MARKS)
    return Evidence.CONTENT if is_zarr else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the arrays under their paths below the folder; one alone is called as the folder is.

    Raises CheckpointError where an array is damaged or there is none.
    """
    with content_of(path):
        store = FolderStore(path)
        arrays = ArrayReader(store)
        leaves = [
            Leaf(name or path.stem, arrays.tensor(name or path.stem, name, kind))
            for name, kind in store.arrays()
        ]
        if not leaves:
            raise Malformed("is a zarr group without arrays")
        return checkpoint_of(path, "zarr", leaves)
