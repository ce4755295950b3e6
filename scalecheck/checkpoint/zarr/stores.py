"""What zarr's metadata and chunks are looked up in by their keys: a folder of files, or a database
in one."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.source import FileSource, Readers, Source

METADATA = (".zarray", "zarr.json")
"""The keys of an array's metadata, of version 2 and 3."""
MAX_METADATA_NBYTES = 1 << 20  # of an array: a few hundred bytes and its attributes
MAX_DEPTH = 16  # of groups in groups
MAX_FOLDERS = 100_000  # that are looked into


class Value(NamedTuple):
    """So many bytes of a source, from an offset on."""

    source: Source
    offset: int
    nbytes: int

    def read(self, limit: int = MAX_METADATA_NBYTES) -> bytearray:
        """All of them. Raises Malformed where they are more than the limit."""
        if self.nbytes > limit:
            raise Malformed(f"{self.source.path}: {self.nbytes} bytes, the limit is {limit}")
        content = bytearray(self.nbytes)
        if content:
            with Readers() as readers:
                readers[self.source].fill(self.offset, memoryview(content))
        return content


class Store(Protocol):
    """Values by keys such as `params.up.kernel/0.0`."""

    @property
    def path(self) -> Path: ...

    def get(self, key: str) -> Value | None:
        """The value of a key; None where there is none."""
        ...

    def arrays(self) -> Iterator[tuple[str, str]]:
        """The name of each array, and which of METADATA it has; empty for an array at the root."""
        ...


class FolderStore:
    """A folder, whose files are the values."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, key: str) -> Value | None:
        path = self.path / key
        if not path.is_file():
            return None
        source = FileSource.of(path)
        return Value(source, 0, source.nbytes)

    def arrays(self) -> Iterator[tuple[str, str]]:
        """Sorted by name, looked for in groups; an array's own folders are not looked into."""
        stack = [("", 0)]
        looked = 0
        while stack:
            name, depth = stack.pop()
            looked += 1
            if looked > MAX_FOLDERS or depth > MAX_DEPTH:
                limit = f"{MAX_FOLDERS} folders, {MAX_DEPTH} deep"
                raise Malformed(f"has more folders than are looked into ({limit})")
            folder = self.path / name
            held = sorted(os.scandir(folder), key=lambda entry: entry.name)
            files = {entry.name for entry in held if not entry.is_dir()}
            kind = next((kind for kind in METADATA if kind in files), None)
            if kind == ".zarray" or (kind and _is_array(folder / kind)):
                yield name, kind
                continue
            inside = [e.name for e in held if e.is_dir(follow_symlinks=False)]
            stack += [(f"{name}/{one}" if name else one, depth + 1) for one in reversed(inside)]


def _is_array(path: Path) -> bool:
    """Whether the metadata of version 3 are an array's and not a group's."""
    with path.open("rb") as file:
        return b'"array"' in file.read(MAX_METADATA_NBYTES)
