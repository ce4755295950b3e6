"""MessagePack as flax writes it: maps and arrays with at which byte of the file each array's
elements lie.

The msgpack library gives the bytes of an array, not their place, and needs a whole array in memory:
a gigabyte for flax's chunks. So the markers are read here, and the elements passed over.
"""

import struct
from dataclasses import dataclass

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.source import FileReader
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS, MAX_NAME
from scalecheck.report.formatting import excerpt

MAX_DEPTH = 200  # of maps in maps; real ones nest some ten deep
MAX_ENTRIES = 400_000  # of all maps; those of a large model and its optimizer have some thousands
BUFFER_NBYTES = 1 << 16

ARRAY, COMPLEX, SCALAR = 1, 2, 3  # flax's types of extension


@dataclass(frozen=True)
class Packed:
    """An array: numpy's name of its type, its shape, and where its bytes lie."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


Map = dict[str, "Node"]
Node = Map | Packed | int | float | str | bool | None

_NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    **{0xCC + n: f">{kind}" for n, kind in enumerate("BHIQ")},
    **{0xD0 + n: f">{kind}" for n, kind in enumerate("bhiq")},
}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_TEXT = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_LISTS = {0xDC: 2, 0xDD: 4}
_MAPS = {0xDE: 2, 0xDF: 4}


def starts_map(head: bytes) -> bool:
    """Whether it starts with a map that has entries, the first of which has a text for its key."""
    if not head:
        return False
    size = {0xDE: 2, 0xDF: 4}.get(head[0], 0)
    is_map = 0x81 <= head[0] <= 0x8F or (size and any(head[1 : 1 + size]))
    key = head[1 + size : 3 + size]
    if not is_map or len(key) < 2:
        return False
    start, length = (2 + size, key[0] & 31) if 0xA0 < key[0] <= 0xBF else (3 + size, key[1])
    if key[0] not in range(0xA1, 0xC0) and key[0] != 0xD9:
        return False
    word = head[start : start + length]
    return word.decode(errors="replace").isprintable() and len(head) > start + length


def unpacked(reader: FileReader) -> Node:
    """What a file holds: all of it is one value. Raises Malformed."""
    scanner = _Scanner(reader)
    node = scanner.value()
    if left := scanner.end - scanner.at:
        raise Malformed(f"has {left} bytes behind its MessagePack, of {scanner.end}")
    return node


class _Scanner:
    """Reads markers and small values, and passes over the rest."""

    def __init__(self, reader: FileReader) -> None:
        self._reader = reader
        self.at = 0
        self.end = reader.source.nbytes
        self._entries = 0
        self._buffer = bytearray()
        self._start = 0

    def value(self, depth: int = 0) -> Node:
        """The value that comes next. Raises Malformed."""
        if depth > MAX_DEPTH:
            raise Malformed(f"has maps more than {MAX_DEPTH} deep")
        marker = self._byte()
        if marker < 0x80:
            return marker
        if marker >= 0xE0:
            return marker - 0x100
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker in _NUMBERS:
            return self._number(_NUMBERS[marker])
        if 0x80 <= marker <= 0x8F or marker in _MAPS:
            return self._map(self._count(marker, 0x80, _MAPS), depth)
        if 0x90 <= marker <= 0x9F or marker in _LISTS:
            return self._list(self._count(marker, 0x90, _LISTS), depth)
        if 0xA0 <= marker <= 0xBF or marker in _TEXT:
            return self._text(self._count(marker, 0xA0, _TEXT))
        if marker in _BYTES:
            self._pass(self._count(marker, 0, _BYTES))
            return None
        if 0xD4 <= marker <= 0xD8 or marker in _EXTENSIONS:
            nbytes = 1 << (marker - 0xD4) if marker >= 0xD4 else self._count(marker, 0, _EXTENSIONS)
            return self._extension(nbytes)
        raise Malformed(f"has no MessagePack at byte {self.at - 1}: {marker:#x}")

    def _map(self, count: int, depth: int) -> Map:
        found: Map = {}
        for _ in range(self._entered(count, 2)):
            key = self.value(MAX_DEPTH)
            if type(key) is int:
                key = str(key)
            if not isinstance(key, str):
                raise Malformed(f"has a map with a key that is no text, before byte {self.at}")
            if key in found:
                raise Malformed(f"has a map with two entries named {excerpt(key)}")
            found[key] = self.value(depth + 1)
        return found

    def _list(self, count: int, depth: int) -> Map:
        """A list, by the numbers of its places."""
        places = range(self._entered(count, 1))
        return {str(place): self.value(depth + 1) for place in places}

    def _entered(self, count: int, nbytes: int) -> int:
        """A count of entries of so many bytes at least, if there is room for them."""
        self._entries += count
        if count * nbytes > self.end - self.at:
            raise Malformed(f"is truncated: {count} entries at byte {self.at} of {self.end}")
        if self._entries > MAX_ENTRIES:
            raise Malformed(f"has more than {MAX_ENTRIES} entries")
        return count

    def _extension(self, nbytes: int) -> Node:
        """What flax keeps in a type of its own: an array, a number of numpy's, a complex one."""
        kind = self._byte()
        start, end = self.at, self.at + nbytes
        if end > self.end:
            raise Malformed(f"is truncated: {nbytes} bytes at byte {start} of {self.end}")
        if kind not in (ARRAY, SCALAR):
            self._pass(nbytes)
            return Packed("complex128", (), start, 16) if kind == COMPLEX else None
        try:
            array = self._array()
        except Malformed as error:
            raise Malformed(f"has a damaged array at byte {start}: {error}") from error
        if self.at != end:
            raise Malformed(f"has an array of {self.at - start} bytes in {nbytes} at byte {start}")
        return array

    def _array(self) -> Packed:
        """A list of its shape, the name of its type, and its bytes."""
        if self._byte() != 0x93:
            raise Malformed("no shape, type and bytes")
        marker = self._byte()
        if not 0x90 <= marker <= 0x9F and marker not in _LISTS:
            raise Malformed("no shape")
        dimensions = self._count(marker, 0x90, _LISTS)
        if dimensions > MAX_DIMENSIONS:
            raise Malformed(f"{dimensions} dimensions, the limit is {MAX_DIMENSIONS}")
        shape = [self.value(MAX_DEPTH) for _ in range(dimensions)]
        sizes = tuple(size for size in shape if type(size) is int and size >= 0)
        dtype = self.value(MAX_DEPTH)
        if len(sizes) != dimensions or not isinstance(dtype, str):
            raise Malformed("no shape of whole numbers, or no name of a type")
        marker = self._byte()
        if marker not in _BYTES:
            raise Malformed("no bytes")
        nbytes = self._count(marker, 0, _BYTES)
        start = self.at
        self._pass(nbytes)
        return Packed(dtype, sizes, start, nbytes)

    def _count(self, marker: int, base: int, sizes: dict[int, int]) -> int:
        """How many bytes or entries a marker says that follow."""
        if marker in sizes:
            return int.from_bytes(self._take(sizes[marker]))
        return marker - base

    def _number(self, form: str) -> int | float:
        number: int | float
        (number,) = struct.unpack(form, self._take(struct.calcsize(form)))
        return number

    def _text(self, nbytes: int) -> str | None:
        """A text; None for one that is longer than names are."""
        if nbytes > MAX_NAME:
            self._pass(nbytes)
            return None
        try:
            return self._take(nbytes).decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"has a text that is no UTF-8 before byte {self.at}") from error

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, nbytes: int) -> bytes:
        """The next bytes, few of them."""
        self._check(nbytes)
        first = self.at - self._start
        if not 0 <= first <= len(self._buffer) - nbytes:
            self._buffer = bytearray(min(BUFFER_NBYTES, self.end - self.at))
            self._reader.fill(self.at, memoryview(self._buffer))
            self._start, first = self.at, 0
        self.at += nbytes
        return bytes(self._buffer[first : first + nbytes])

    def _pass(self, nbytes: int) -> None:
        self._check(nbytes)
        self.at += nbytes

    def _check(self, nbytes: int) -> None:
        if self.at + nbytes > self.end:
            raise Malformed(f"is truncated: {nbytes} bytes at byte {self.at} of {self.end}")
