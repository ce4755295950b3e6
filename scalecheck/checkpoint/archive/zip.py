"""A zip archive: its members, at which byte each lies, and their content, all of it bounded.

Readers of zips disagree on archives that contradict themselves, so only a canonical one is read:
members side by side from its first byte on, then the directory that says of each what its own
header says, then the end. All of them find the same members in it.
"""

import struct
import zlib
from array import array
from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

import numpy as np

from scalecheck.checkpoint.ahead import Ahead
from scalecheck.checkpoint.archive.directory import find_directory
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.source import SourceReader
from scalecheck.report.formatting import excerpt

STORED, DEFLATED = 0, 8
ENCRYPTED, HAS_DESCRIPTOR = 1, 8  # bits of the flags
IS_FOLDER = 0x10  # bit of the attributes: torch reads nothing of such a member
MAX_WORD = 0xFFFFFFFF  # of a number that is kept in the extra field of 64-bit numbers

_AT_ONCE = 1 << 23  # bytes that are unpacked at once

_ENTRY = struct.Struct("<4s4x2H4x3L3H4x2L")
_DESCRIPTOR, _WIDE_DESCRIPTOR = struct.Struct("<4sLLL"), struct.Struct("<4sLQQ")
_HEADER = struct.Struct("<4s2x2H4x3L2H")


class Member(NamedTuple):
    """A file in the archive as its directory has it: `nbytes` of content, `packed` in the file, its
    own header `at` a byte."""

    name: str
    flags: int
    method: int
    checksum: int
    packed: int
    nbytes: int
    at: int

    @property
    def is_stored(self) -> bool:
        """Whether its content lies in the file as it is, not compressed."""
        return self.method == STORED


class Zip:
    """An archive that is open. is_case_kept: names that differ in case only are different ones,
    as they are not to torch. Raises Malformed where it is not canonical."""

    def __init__(self, reader: SourceReader, *, is_case_kept: bool = False) -> None:
        self._reader = reader
        self._ahead = Ahead(reader.fill, reader.source.nbytes)
        self._key = str if is_case_kept else str.lower
        place = find_directory(reader)
        self._start = place.start
        self._directory = bytearray(place.nbytes)
        reader.fill(place.start, memoryview(self._directory))
        self._numbers: dict[str, int] = {}
        self._places = array("Q")  # of each member's entry in the directory
        self._contents = array("Q")  # where the content of each starts
        self._index(place.members)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        """The names of its members, in the order of the directory."""
        return map(self._name, self._places)

    def find(self, name: str) -> Member | None:
        """The member of a name."""
        number = self._numbers.get(self._key(name))
        return None if number is None else self._member(self._places[number])[0]

    def checksums(self) -> Iterator[int]:
        """Where the checksums of all members stand: in the directory, in their own headers, and
        behind their content."""
        for place, start in zip(self._places, self._contents, strict=True):
            member, _ = self._member(place)
            yield self._start + place + 16
            yield member.at + 14
            if self._end(member, start) > (end := start + member.packed):
                yield end + 4

    def position(self, member: Member) -> int:
        """The byte at which the content of a member starts."""
        return self._contents[self._numbers[self._key(member.name)]]

    def content(self, member: Member, limit: int, max_ratio: int) -> bytes:
        """The bytes of a member, no more than `limit`, and beyond a mebibyte no more than
        `max_ratio` times those it is packed into. Raises Malformed.

        The checksum of a stored one is not looked at: torch can be told to write none.
        """
        name = excerpt(member.name)
        if member.nbytes > limit:
            raise Malformed(f"has member {name} of {member.nbytes} bytes, the limit is {limit}")
        if member.nbytes > max_ratio * member.packed + (1 << 20):
            raise Malformed(
                f"has member {name} of {member.nbytes} bytes packed into {member.packed},"
                f" the limit is {max_ratio} times"
            )
        packed = bytearray(member.packed)
        self._reader.fill(self.position(member), memoryview(packed))
        if member.is_stored:
            return bytes(packed)
        unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
        unpacked = BytesIO()  # zlib would hold its pieces beside the whole
        try:
            piece, rest = b"", bytes(packed)
            while not unpacking.eof and unpacked.tell() <= member.nbytes and (piece or rest):
                left = member.nbytes + 1 - unpacked.tell()
                piece = unpacking.decompress(rest, min(_AT_ONCE, left))
                rest = unpacking.unconsumed_tail
                unpacked.write(piece)
        except zlib.error as error:
            raise Malformed(f"has a damaged member {name} ({excerpt(str(error))})") from error
        content = unpacked.getvalue()
        if len(content) != member.nbytes or zlib.crc32(content) != member.checksum:
            raise Malformed(f"has a damaged member {name}: its content is not what its header says")
        return content

    def _index(self, count: int) -> None:
        """Finds every entry of the directory. Raises Malformed where they are not as many as the
        end record counts, where two names differ in case only, and as `_check_layout` does."""
        place = before = 0
        for number in range(count):
            member, end = self._member(place)
            key = self._key(member.name)
            if key in self._numbers:
                other = self._name(self._places[self._numbers[key]])
                if other == member.name:
                    raise Malformed(f"has 2 members named {excerpt(member.name)}")
                raise Malformed(
                    f"has members {excerpt(other)} and {excerpt(member.name)},"
                    " whose names differ in case only"
                )
            self._numbers[key] = number
            self._places.append(place)
            self._contents.append(0)
            if member.at == before:  # in order, as all that is written by torch
                before = self._laid(member, number)
            place = end
        if place != len(self._directory):
            raise Malformed(
                f"has a zip directory of {len(self._directory)} bytes, of which its {count} members"
                f" take {place}"
            )
        if before != self._start or not all(self._contents):
            self._check_layout()

    def _name(self, place: int) -> str:
        """The name in an entry that was looked into."""
        start = place + _ENTRY.size
        nbytes = _ENTRY.unpack_from(self._directory, place)[6]
        return self._directory[start : start + nbytes].decode()

    def _member(self, place: int) -> tuple[Member, int]:
        """The entry at a place of the directory, and where the next one starts."""
        if place + _ENTRY.size > len(self._directory):
            raise Malformed("has a zip directory that ends before its last member")
        magic, flags, method, checksum, packed, nbytes, *lengths, kind, at = _ENTRY.unpack_from(
            self._directory, place
        )
        name_end = place + _ENTRY.size + lengths[0]
        extra_end = name_end + lengths[1]
        if magic != b"PK\x01\x02" or (end := extra_end + lengths[2]) > len(self._directory):
            raise Malformed(f"has a damaged zip directory at byte {self._start + place}")
        name = _decoded(self._directory[place + _ENTRY.size : name_end])
        extra = self._directory[name_end:extra_end]
        if extra or MAX_WORD in (nbytes, packed, at):
            nbytes, packed, at = _wide((nbytes, packed, at), extra, name)
        if flags & ENCRYPTED:
            raise Malformed(f"has an encrypted member {excerpt(name)}")
        if method not in (STORED, DEFLATED):
            raise Malformed(f"has member {excerpt(name)} compressed by method {method}")
        if method == STORED and packed != nbytes:
            raise Malformed(f"has member {excerpt(name)} of {nbytes} bytes stored in {packed}")
        if nbytes and (kind & IS_FOLDER or name.endswith("/")):
            raise Malformed(f"has member {excerpt(name)} of {nbytes} bytes that is marked a folder")
        if at + packed > self._start:
            raise Malformed(
                f"has member {excerpt(name)} of {packed} bytes at {at},"
                f" its directory starts at {self._start}"
            )
        return Member(name, flags, method, checksum, packed, nbytes, at), end

    def _check_layout(self) -> None:
        """Raises Malformed where members overlap or leave gaps: read one by one, those that overlap
        would have no end, and in a gap a reader might find another archive."""
        starts = np.array([self._member(place)[0].at for place in self._places], np.uint64)
        before, last = 0, "its start"
        for number in starts.argsort(kind="stable"):
            member, _ = self._member(self._places[number])
            name = excerpt(member.name)
            if member.at != before:
                if member.at < before:
                    raise Malformed(
                        f"has members {last} and {name} that overlap at byte {member.at}"
                    )
                raise Malformed(
                    f"has {member.at - before} bytes between {last} and member {name}"
                    " that belong to none"
                )
            before, last = self._laid(member, number), name
        if before != self._start:
            raise Malformed(
                f"has {self._start - before} bytes between {last} and its zip directory"
                " that belong to none"
            )

    def _laid(self, member: Member, number: int) -> int:
        """Where a member ends, once where its content starts is kept. Raises Malformed."""
        start = self._contents[number] = self._header_end(member)
        return self._end(member, start)

    def _header_end(self, member: Member) -> int:
        """Where the header of a member ends, which says what the directory does. Raises
        Malformed."""
        name = member.name.encode()
        nbytes = _HEADER.size + len(name)
        if member.at + nbytes > self._start:
            raise Malformed(f"has no member {excerpt(member.name)} at byte {member.at}")
        content = self._ahead.read(member.at, nbytes)
        magic, flags, method, checksum, packed, nbytes, *lengths = _HEADER.unpack_from(content)
        if magic != b"PK\x03\x04":
            raise Malformed(f"has no member {excerpt(member.name)} at byte {member.at}")
        end: int = member.at + _HEADER.size + sum(lengths)
        if end + member.packed > self._start:
            raise Malformed(
                f"has member {excerpt(member.name)} of {member.packed} bytes at {end},"
                f" its directory starts at {self._start}"
            )
        said = (flags, method, checksum, packed, nbytes)
        told = (member.flags, member.method, member.checksum, member.packed, member.nbytes)
        if MAX_WORD in (packed, nbytes):
            extra = self._ahead.read(end - lengths[1], lengths[1])
            nbytes, packed, _ = _wide((nbytes, packed, 0), extra, member.name)
            said = (flags, method, checksum, packed, nbytes)
        if flags & HAS_DESCRIPTOR and (checksum, packed, nbytes) == (0, 0, 0):
            said = (flags, method, *told[2:])
        if said != told or content[_HEADER.size :] != name or lengths[0] != len(name):
            raise Malformed(
                f"has member {excerpt(member.name)}, of which its own header at byte"
                f" {member.at} says something else than the directory"
            )
        return end

    def _end(self, member: Member, start: int) -> int:
        """Where a member ends with the sizes that may follow its content, of 32 or 64 bits."""
        end = start + member.packed
        if not member.flags & HAS_DESCRIPTOR:
            return end
        content = self._ahead.read(end, min(_WIDE_DESCRIPTOR.size, self._start - end))
        for layout in (_DESCRIPTOR, _WIDE_DESCRIPTOR):
            if len(content) >= layout.size and layout.unpack_from(content) == (
                b"PK\x07\x08",
                member.checksum,
                member.packed,
                member.nbytes,
            ):
                return end + layout.size
        return end


def first_name(head: bytes) -> str:
    """The name of the first member of the zip that starts so; empty where there is none."""
    if not head.startswith(b"PK\x03\x04") or len(head) < _HEADER.size:
        return ""
    length = _HEADER.unpack_from(head)[-2]
    return head[_HEADER.size : _HEADER.size + length].decode(errors="replace")


def _decoded(name: bytearray) -> str:
    """A name as torch compares it, whatever a bit of the flags says of its encoding."""
    try:
        decoded = name.decode()
    except UnicodeDecodeError as error:
        stored = excerpt(repr(bytes(name)))
        raise Malformed(f"has a member whose name is no UTF-8: {stored}") from error
    if "\0" in decoded:
        raise Malformed(f"has a member with a zero byte in its name: {excerpt(repr(decoded))}")
    return decoded


def _wide(words: tuple[int, int, int], extra: bytearray, name: str) -> tuple[int, int, int]:
    """Content's bytes, packed bytes and place, of which 64 bits are in an extra field where 32 do
    not suffice. Raises Malformed."""
    fields = []
    at = 0
    while at + 4 <= len(extra):
        kind, nbytes = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            fields.append(extra[at + 4 : at + 4 + nbytes])
        at += 4 + nbytes
    needed = words.count(MAX_WORD)
    if len(fields) > 1 or (needed and (not fields or len(fields[0]) < 8 * needed)):
        raise Malformed(f"has member {excerpt(name)} without the 64-bit sizes that it needs")
    if not needed:
        return words
    numbers = iter(struct.unpack_from(f"<{needed}Q", fields[0]))
    content, packed, at = (next(numbers) if word == MAX_WORD else word for word in words)
    return content, packed, at
