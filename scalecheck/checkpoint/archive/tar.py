"""A tar archive: its members and at which byte the content of each lies. Nothing is unpacked, and
no link is followed."""

from collections.abc import Iterator
from typing import NamedTuple

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.source import SourceReader
from scalecheck.checkpoint.tensor import MAX_NAME
from scalecheck.report.formatting import excerpt

BLOCK = 512
MAGIC = slice(257, 262)  # where a header says that it is one
MAX_MEMBERS = 100_000  # a folder of some hundred files is what people pack
MAX_EXTENDED_NBYTES = 1 << 16  # of a header's longer names and other attributes


class Member(NamedTuple):
    """A member: its content of `nbytes` lies at byte `start`."""

    name: str
    start: int
    nbytes: int
    kind: bytes

    @property
    def is_file(self) -> bool:
        return self.kind in (b"", b"\0", b"0", b"7")

    @property
    def is_link(self) -> bool:
        return self.kind in (b"1", b"2")

    @property
    def is_folder(self) -> bool:
        return self.kind == b"5"


def is_tar(head: bytes | bytearray) -> bool:
    """Whether a file that starts so is a tar archive."""
    return head[MAGIC] == b"ustar"


def members_of(reader: SourceReader) -> list[Member]:
    """The members up to the block of zeros that ends an archive. Raises Malformed where a header is
    damaged, where content reaches past the file's end, and for what readers of tars disagree on:
    two members of one name, sparse files."""
    found: dict[str, Member] = {}
    for member in _members(reader):
        if member.name in found and (member.is_file or found[member.name].is_file):
            raise Malformed(f"has 2 members named {excerpt(member.name)}")
        found[member.name] = member
        if len(found) > MAX_MEMBERS:
            raise Malformed(f"has more than {MAX_MEMBERS} members")
    return [*found.values()]


def _members(reader: SourceReader) -> Iterator[Member]:
    size = reader.source.nbytes
    at = 0
    said: dict[str, str] = {}  # of the next member, by the headers before it
    headers = 0
    while at + BLOCK <= size:
        header = bytearray(BLOCK)
        reader.fill(at, memoryview(header))
        if not any(header):
            break
        headers += 1
        if headers > 4 * MAX_MEMBERS:
            raise Malformed(f"has more than {4 * MAX_MEMBERS} headers")
        _check_sum(header, at)
        kind, nbytes = bytes(header[156:157]), _number(header[124:136], "size", at)
        start = at + BLOCK
        is_extension = kind in (b"x", b"g", b"L", b"K")
        if not is_extension and "size" in said:
            nbytes = _decimal(said["size"], at)
        if b"1" <= kind <= b"6":
            nbytes = 0  # links, devices and folders have no content
        at = start + -(-nbytes // BLOCK) * BLOCK
        if start + nbytes > size:
            name = excerpt(_text(header[:100]))
            raise Malformed(f"has member {name} of {nbytes} bytes at {start}, and ends at {size}")
        if is_extension:
            said |= _extension(reader, kind, start, nbytes)
            continue
        if kind == b"S" or any(key.startswith("GNU.sparse") for key in said):
            raise Malformed("has a sparse member, which is not read: pack it anew without --sparse")
        name = said.get("path") or _name(header)
        yield Member(_plain(name), start, nbytes, kind)
        said = {}
    else:
        if at < size:
            raise Malformed(f"ends within a header: {size - at} bytes at {at}")


def _extension(reader: SourceReader, kind: bytes, start: int, nbytes: int) -> dict[str, str]:
    """What a header in front of a member says of it. Raises Malformed."""
    if nbytes > MAX_EXTENDED_NBYTES:
        raise Malformed(f"has a header of {nbytes} bytes, the limit is {MAX_EXTENDED_NBYTES}")
    content = bytearray(nbytes)
    reader.fill(start, memoryview(content))
    if kind == b"L":
        return {"path": _text(content)}
    if kind == b"K":
        return {}
    said = {}
    at = 0
    while at < nbytes and content[at]:
        space = content.find(b" ", at, at + 8)
        digits = content[at:space] if space > at else b""
        length = int(digits) if digits.isdigit() else 0
        if length < space - at + 2 or at + length > nbytes:
            raise Malformed(f"has a damaged extended header at byte {start + at}")
        key, _, value = content[space + 1 : at + length - 1].partition(b"=")
        said[_text(key)] = _text(value)
        at += length
    if kind == b"g" and {"path", "size"} & said.keys():
        raise Malformed("has a header that gives all members one name or size")
    return said


def _check_sum(header: bytearray, at: int) -> None:
    """Raises Malformed where a header is not what its checksum is of, signed bytes or not."""
    blank = header[:148] + b" " * 8 + header[156:]
    high = sum(byte >= 128 for byte in blank)
    if _number(header[148:156], "checksum", at) not in (sum(blank), sum(blank) - 256 * high):
        raise Malformed(f"has a damaged header at byte {at}: its checksum does not fit")


def _number(field: bytearray, what: str, at: int) -> int:
    """A number in octal digits, or in bytes where the first bit says so."""
    if field[0] == 0x80:
        number = int.from_bytes(field[1:], "big")
    else:
        digits = field.replace(b"\0", b" ").strip()
        if digits and not (digits.isdigit() and not digits.strip(b"01234567")):
            raise Malformed(f"has a header at byte {at} whose {what} is no number")
        number = int(digits or b"0", 8)
    if number >= 1 << 63:
        raise Malformed(f"has a header at byte {at} whose {what} is past 63 bits")
    return number


def _decimal(digits: str, at: int) -> int:
    if not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise Malformed(f"has a header at byte {at} whose size is no number")
    return int(digits)


def _name(header: bytearray) -> str:
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[257:265] == b"ustar\x0000" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytearray) -> str:
    return bytes(field).partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _plain(name: str) -> str:
    """A name without `./` before it. Raises Malformed where it is too long to be printed."""
    if len(name) > MAX_NAME:
        raise Malformed(f"has a member with a name of {len(name)} characters")
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name.rstrip("/")
