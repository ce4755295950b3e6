"""OCDBT, the database that Orbax keeps arrays in: a B+tree of keys in files, whose small values lie
in its nodes and whose large ones are stretches of its files.

TensorStore reads values as a whole, some of a gigabyte; here they are found and read where they
lie, so that memory stays bounded. Checksums of nodes are not looked at. The format is described in
TensorStore's documentation of its driver.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from scalecheck.checkpoint.files.extras import library
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.source import FileSource, MemorySource
from scalecheck.checkpoint.zarr.stores import METADATA, Value
from scalecheck.report.formatting import excerpt

MANIFEST = "manifest.ocdbt"
READ_NBYTES = 1 << 18  # of a node at once
MAX_NODE_NBYTES = 1 << 26  # of a node, unpacked; TensorStore's own limit is some 100 million
MAX_TREE_NBYTES = 1 << 28  # of all nodes
MAX_KEYS = 1 << 20
MAX_KEY = 4096  # bytes
MAX_NAMES_NBYTES = 1 << 26  # of a node's names together, which share their starts
MAX_HEIGHT = 16  # of the tree; each level has hundreds of entries a node

_MANIFEST_MAGIC, _NODE_MAGIC = b"\x0c\xdb\x3a\x2a", b"\x0c\xdb\x20\xde"
_UNSAFE = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\\\0]")


class Place(NamedTuple):
    """Where a node lies: a file below the folder, the part of its path that its own files start
    with, and a stretch of it."""

    file: str
    base: str
    offset: int
    nbytes: int


class OcdbtStore:
    """The newest version of a database. Raises Malformed, CheckpointError. `missing` are the files
    of values that are not there, each with the first key that it takes along."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.missing: dict[str, str] = {}
        self._values: dict[str, Value] = {}
        self._files: dict[str, FileSource | None] = {}
        self._unpacked = 0
        self._seen: set[str] = set()
        root, height = self._root()
        if root is not None:
            self._add(root, height, b"")

    def get(self, key: str) -> Value | None:
        return self._values.get(key)

    def arrays(self) -> Iterator[tuple[str, str]]:
        for key in sorted(self._values):
            name, _, word = key.rpartition("/")
            if word in METADATA:
                yield name, word

    def _root(self) -> tuple[Place | None, int]:
        """The root of the newest version and its height; None where the database is empty."""
        source = FileSource.of(self.path / MANIFEST)
        whole = Value(source, 0, source.nbytes).read(MAX_NODE_NBYTES)
        body = _Fields(self._body(bytes(whole), _MANIFEST_MAGIC, MANIFEST), MANIFEST)
        body.take(16)  # the database's own identifier
        if (kind := body.number()) != 0:
            raise Malformed(f"{MANIFEST}: is of kind {kind}, and one whole manifest is read")
        body.number(), body.number(), body.byte()
        if body.number():
            body.take(4)  # the level of compression
        files = body.files("")
        versions = body.number()
        columns = [body.numbers(versions)]
        heights = [body.byte() for _ in range(versions)]
        columns += [body.numbers(versions) for _ in range(3)]
        if not versions:
            return None, 0
        generations, ids, offsets, sizes = columns
        newest = generations.index(max(generations))
        root = body.place(files, ids[newest], offsets[newest], sizes[newest])
        return (root if root.file else None), heights[newest]

    def _add(self, place: Place, height: int, prefix: bytes) -> None:
        """The values under a node, whose keys start with a prefix."""
        at = f"{place.file} at byte {place.offset}"
        if height > MAX_HEIGHT:
            raise Malformed(f"{at}: a tree {height} high, the limit is {MAX_HEIGHT}")
        if at in self._seen:
            raise Malformed(f"{at}: a node that is there twice in its tree")
        self._seen.add(at)
        file = self._file(place.file)
        if file is None:
            raise Malformed(f"{place.file} is not there, which keeps a part of its list of keys")
        if place.offset + place.nbytes > file.nbytes:
            end = place.offset + place.nbytes
            raise Malformed(f"{at}: a node to byte {end} in a file of {file.nbytes}")
        whole = Value(file, place.offset, place.nbytes).read(MAX_NODE_NBYTES)
        body = _Fields(self._body(bytes(whole), _NODE_MAGIC, at), at)
        if (own := body.byte()) != height:
            raise Malformed(f"{at}: a node of height {own} where one of {height} should be")
        files = body.files(place.base)
        count = body.number()
        keys = body.keys(count, is_leaf=height == 0)
        if height:
            ids, offsets, sizes = (body.numbers(count) for _ in range(3))
            for (key, common), *where in zip(keys, ids, offsets, sizes, strict=True):
                child = body.place(files, *where)
                self._add(child, height - 1, prefix + key[:common])
        else:
            self._add_values(body, files, [prefix + key for key, _ in keys])

    def _add_values(
        self, body: "_Fields", files: Sequence[tuple[str, str]], keys: list[bytes]
    ) -> None:
        lengths, kinds = body.numbers(len(keys)), body.numbers(len(keys))
        apart = sum(kind == 1 for kind in kinds)
        ids, offsets = iter(body.numbers(apart)), iter(body.numbers(apart))
        for key, nbytes, kind in zip(keys, lengths, kinds, strict=True):
            name = _text(key, body.at)
            if name in self._values or len(self._values) >= MAX_KEYS:
                raise Malformed(f"{body.at}: key {excerpt(name)} is there twice, or one too many")
            if kind == 0:
                data = memoryview(body.take(nbytes))
                self._values[name] = Value(MemorySource(self.path, data), 0, nbytes)
            elif kind == 1:
                place = body.place(files, next(ids), next(offsets), nbytes)
                self._add_value(name, place)
            else:
                raise Malformed(f"{body.at}: key {excerpt(name)} has a value of kind {kind}")

    def _add_value(self, name: str, place: Place) -> None:
        file = self._file(place.file)
        if file is None:
            self.missing.setdefault(place.file, name)
            return
        if place.offset + place.nbytes > file.nbytes:
            raise Malformed(
                f"{place.file}: {excerpt(name)} ends at byte {place.offset + place.nbytes}"
                f" of {file.nbytes}"
            )
        self._values[name] = Value(file, place.offset, place.nbytes)

    def _file(self, name: str) -> FileSource | None:
        """A file below the folder; None where it is not there."""
        if name not in self._files:
            path = self.path / name
            self._files[name] = FileSource.of(path) if path.is_file() else None
        return self._files[name]

    def _body(self, whole: bytes, magic: bytes, at: str) -> bytes:
        """What is inside of a node: behind its header, before its checksum, unpacked."""
        fields = _Fields(whole, at)
        if fields.take(4) != magic:
            raise Malformed(f"{at}: starts with {whole[:4]!r}, not {magic!r}")
        length = int.from_bytes(fields.take(8), "little")
        if length != len(whole):
            raise Malformed(f"{at}: says {length} bytes and has {len(whole)}")
        version, compression = fields.number(), fields.number()
        if version or compression > 1:
            raise Malformed(f"{at}: version {version}, compression {compression}: not read")
        body = fields.rest()[:-4]
        if compression:
            body = self._unzstd(body, at)
        self._unpacked += len(body)
        if self._unpacked > MAX_TREE_NBYTES:
            raise Malformed(f"has nodes of more than {MAX_TREE_NBYTES} bytes")
        return body

    def _unzstd(self, body: bytes, at: str) -> bytes:
        zstandard = library("zstandard", self.path, "an Orbax checkpoint")
        try:
            with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(body) as stream:
                unpacked = bytearray()
                while len(unpacked) <= MAX_NODE_NBYTES and (more := stream.read(READ_NBYTES)):
                    unpacked += more
        except zstandard.ZstdError as error:
            raise Malformed(f"{at}: {excerpt(str(error))}") from error
        if len(unpacked) > MAX_NODE_NBYTES:
            raise Malformed(f"{at}: a node of more than {MAX_NODE_NBYTES} bytes")
        return bytes(unpacked)


class _Fields:
    """The fields of a node, one after another."""

    def __init__(self, content: bytes, at: str) -> None:
        self._content = content
        self._next = 0
        self.at = at

    def take(self, nbytes: int) -> bytes:
        if nbytes > len(self._content) - self._next:
            raise Malformed(f"{self.at}: ends at byte {len(self._content)} of its node")
        self._next += nbytes
        return self._content[self._next - nbytes : self._next]

    def rest(self) -> bytes:
        return self._content[self._next :]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        """A number in sevenths of bytes, the lowest first."""
        found = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
        raise Malformed(f"{self.at}: a number of more than 64 bits")

    def numbers(self, count: int) -> list[int]:
        if count > len(self._content) - self._next:
            raise Malformed(f"{self.at}: {count} numbers in {len(self._content)} bytes")
        return [self.number() for _ in range(count)]

    def texts(self, prefixes: Sequence[int], suffixes: Sequence[int], limit: int) -> list[bytes]:
        """Texts that share their starts with those before."""
        found: list[bytes] = []
        last = b""
        nbytes = sum(prefixes) + sum(suffixes)
        if nbytes > MAX_NAMES_NBYTES or len(suffixes) > MAX_KEYS:
            raise Malformed(f"{self.at}: {len(suffixes)} names of {nbytes} bytes")
        for prefix, suffix in zip([0, *prefixes], suffixes, strict=True):
            if prefix > len(last) or prefix + suffix > limit:
                raise Malformed(
                    f"{self.at}: a name of {prefix + suffix} bytes, the limit is {limit}"
                )
            last = last[:prefix] + self.take(suffix)
            found.append(last)
        return found

    def files(self, base: str) -> list[tuple[str, str]]:
        """The files that a node names, each with what the files of its own nodes start with."""
        count = self.number()
        prefixes, suffixes = self.numbers(max(0, count - 1)), self.numbers(count)
        bases = self.numbers(count)
        paths = self.texts(prefixes if count else [], suffixes, MAX_KEY) if count else []
        found = []
        for path, length in zip(paths, bases, strict=True):
            whole = base + _text(path, self.at)
            # a version of no keys has a root in a file of no name
            if whole and (_UNSAFE.search(whole) or len(whole) > MAX_KEY):
                raise Malformed(f"{self.at}: names {excerpt(whole)}, no file below its folder")
            found.append((whole, base + _text(path[:length], self.at)))
        return found

    def keys(self, count: int, *, is_leaf: bool) -> list[tuple[bytes, int]]:
        """The keys of a node, of an inner one with how much of each is common to all below."""
        prefixes, suffixes = self.numbers(max(0, count - 1)), self.numbers(count)
        common = [0] * count if is_leaf else self.numbers(count)
        if not count:
            return []
        return [*zip(self.texts(prefixes, suffixes, MAX_KEY), common, strict=True)]

    def place(self, files: Sequence[tuple[str, str]], number: int, at: int, nbytes: int) -> Place:
        if number >= len(files):
            raise Malformed(f"{self.at}: names file {number} of {len(files)}")
        file, base = files[number]
        return Place(file, base, at, nbytes)


def _text(name: bytes, at: str) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"{at}: a name that is no UTF-8: {excerpt(repr(name))}") from error
