"""Where the directory of a zip archive lies, as its last record says it."""

import struct
from typing import NamedTuple

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.source import SourceReader

MAX_DIRECTORY_NBYTES = 1 << 26  # of a zip; a member takes about 100: 600,000 tensors
MAX_COMMENT_NBYTES = 0xFFFF

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_WIDE_END = struct.Struct("<4sQ2H2L4Q")


class Directory(NamedTuple):
    """So many bytes from a start on, with an entry for each of so many members."""

    start: int
    nbytes: int
    members: int


def find_directory(reader: SourceReader) -> Directory:
    """The directory that ends where the end records start. Raises Malformed where they contradict
    each other: readers differ in which of them they believe."""
    size = reader.source.nbytes
    tail = bytearray(min(size, MAX_COMMENT_NBYTES + _END.size))
    reader.fill(size - len(tail), memoryview(tail))
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise Malformed("is truncated or damaged: its zip archive has no end")
    _, *disks, here, count, nbytes, start, comment = _END.unpack_from(tail, at)
    end = size - len(tail) + at
    if end + _END.size + comment != size:
        raise Malformed(
            f"has {size - end - _END.size} bytes behind its zip archive, its comment has {comment}"
        )
    told = (*disks, here, count, nbytes, start)
    if end >= _LOCATOR.size + _WIDE_END.size:
        told, end = _wide(reader, told, end)
    *disks, here, count, nbytes, start = told
    if any(disks) or here != count:
        raise Malformed("is one of several parts of a zip archive")
    if before := end - nbytes - start:
        _check_alone(reader, before)
        raise Malformed(
            f"is truncated or damaged: its zip directory ends at byte {start + nbytes},"
            f" its end is at {end}"
        )
    if nbytes > MAX_DIRECTORY_NBYTES:
        raise Malformed(
            f"has a zip directory of {nbytes} bytes, the limit is {MAX_DIRECTORY_NBYTES}"
        )
    return Directory(start, nbytes, count)


def _wide(reader: SourceReader, told: tuple[int, ...], end: int) -> tuple[tuple[int, ...], int]:
    """What the 64-bit end record says, where there is one, and where the end records start."""
    content = bytearray(_WIDE_END.size + _LOCATOR.size)
    reader.fill(end - len(content), memoryview(content))
    magic, disk, place, disks = _LOCATOR.unpack_from(content, _WIDE_END.size)
    if magic != b"PK\x06\x07":
        return told, end
    at = end - len(content)
    magic, nbytes, _, _, *wide = _WIDE_END.unpack_from(content)
    _check_alone(reader, at - place)
    if place != at or magic != b"PK\x06\x06" or nbytes != _WIDE_END.size - 12:
        raise Malformed(
            f"has a zip directory that is looked for at byte {place}, its 64-bit end is at {at}"
        )
    widths = (16, 16, 16, 16, 32, 32)
    if (
        disk
        or disks > 1
        or any(
            narrow not in (full, (1 << bits) - 1)
            for narrow, full, bits in zip(told, wide, widths, strict=True)
        )
    ):
        raise Malformed("has two end records of its zip archive that contradict each other")
    return (*wide,), at


def _check_alone(reader: SourceReader, before: int) -> None:
    """Raises Malformed where another archive ends so many bytes before, as the start that a record
    tells shows."""
    magic = bytearray(4)
    if before >= _END.size:
        reader.fill(before - _END.size, memoryview(magic))
    if magic == b"PK\x05\x06":
        raise Malformed(
            f"has {before} bytes before its zip archive: several archives in one file, as"
            " torch.distributed.checkpoint writes them beside the .metadata that says what they are"
        )
