"""A file compressed with gzip, read by position: where the decompressor stood is kept every so many
bytes, so that a stretch costs no more than what lies between two of these places."""

import zlib
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.source import FileSource, Readers
from scalecheck.errors import CheckpointError

MAGIC = b"\x1f\x8b"
MAX_RATIO = 20  # of what it holds; weights hardly shrink, and the pickles of some reach 12
_EVERY = 1 << 23  # bytes between places that are kept: each takes some 50 kB
_CHUNK = 1 << 14  # no more than 16 MiB are made of so many
_WBITS = 16 + zlib.MAX_WBITS  # with gzip's header and checksum


def start_of(head: bytes, nbytes: int) -> bytes:
    """The first bytes of what is compressed, as far as its first bytes say them; none where it is
    not gzip's, or damaged."""
    try:
        return zlib.decompressobj(_WBITS).decompress(head, nbytes)
    except zlib.error:
        return b""


@dataclass(frozen=True)
class _Place:
    """The decompressor after so many bytes of the file, with `at` bytes made of them."""

    at: int
    read: int
    decompressor: Any = field(repr=False)


@dataclass(frozen=True, eq=False)
class GzipSource:
    """What a gzip file holds. `places` are in order."""

    file: FileSource
    nbytes: int
    places: tuple[_Place, ...] = field(repr=False)

    @property
    def path(self) -> Path:
        return self.file.path

    @classmethod
    def of(cls, path: Path) -> "GzipSource":
        """Goes through the file once. Raises Malformed where it is damaged, or holds more than
        MAX_RATIO times its bytes."""
        file = FileSource.of(path)
        limit = MAX_RATIO * file.nbytes + (1 << 20)
        unpacking = zlib.decompressobj(_WBITS)
        places = [_Place(0, 0, unpacking.copy())]
        made = read = 0
        with file.open() as reader:
            while not unpacking.eof:
                chunk = bytearray(min(_CHUNK, file.nbytes - read))
                if not chunk:
                    raise Malformed(f"is cut off: its gzip stream does not end ({read} bytes)")
                reader.fill(read, memoryview(chunk))
                read += len(chunk)
                made += len(_unpacked(unpacking, chunk, limit - made))
                if unpacking.unconsumed_tail:
                    words = f"{file.nbytes} bytes that unpack to more than {limit}"
                    raise Malformed(f"is a gzip file of {words}, the limit is {MAX_RATIO} times")
                if made - places[-1].at >= _EVERY and not unpacking.eof:
                    places.append(_Place(made, read, unpacking.copy()))
        if rest := len(unpacking.unused_data) + file.nbytes - read:
            raise Malformed(f"has {rest} bytes behind the end of its gzip stream")
        return cls(file, made, (*places,))

    def open(self, readers: Readers, /) -> "GzipReader":
        return GzipReader(self, readers)


class GzipReader:
    """Positioned reads of what is compressed; those that follow each other cost nothing twice."""

    has_file = False

    def __init__(self, source: GzipSource, readers: Readers) -> None:
        self.source = source
        self._readers = readers
        self._starts = [place.at for place in source.places]
        self._held = b""
        self._go_to(source.places[0])

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset. Raises CheckpointError where the content ends."""
        end = offset + len(buffer)
        if not 0 <= offset <= end <= self.source.nbytes:
            problem = f"is read to byte {end} of {self.source.nbytes} that it holds"
            raise CheckpointError(self.source.path, problem)
        place = self.source.places[bisect_right(self._starts, offset) - 1]
        if offset < self._at or place.at > self._at + len(self._held):
            self._go_to(place)
        done = 0
        while done < len(buffer):
            skip = offset + done - self._at
            if skip >= len(self._held):
                self._at += len(self._held)
                self._held = self._unpack()
                continue
            part = self._held[skip : skip + len(buffer) - done]
            buffer[done : done + len(part)] = part
            done += len(part)

    def close(self) -> None:
        """Its readers are closed by whom they belong to."""

    def _go_to(self, place: _Place) -> None:
        self._decompressor = place.decompressor.copy()
        self._at, self._read, self._held = place.at, place.read, b""

    def _unpack(self) -> bytes:
        """What comes next, which may be nothing yet."""
        chunk = bytearray(min(_CHUNK, self.source.file.nbytes - self._read))
        if not chunk:
            raise CheckpointError(self.source.path, "ends before what it holds")
        self._readers[self.source.file].fill(self._read, memoryview(chunk))
        self._read += len(chunk)
        try:
            return _unpacked(self._decompressor, chunk, self.source.nbytes)
        except Malformed as error:
            raise CheckpointError(self.source.path, str(error)) from error


def _unpacked(decompressor: Any, chunk: bytearray, most: int) -> bytes:
    try:
        unpacked: bytes = decompressor.decompress(chunk, max(1, most))
    except zlib.error as error:
        raise Malformed(f"has a damaged gzip stream ({error})") from error
    return unpacked
