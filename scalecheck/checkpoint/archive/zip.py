"""A zip archive: its members, at which byte each lies, and their content, all of it bounded."""

import struct
import zipfile
import zlib
from collections import Counter
from itertools import pairwise

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.tensor import Reader
from scalecheck.report.formatting import excerpt

MAX_DIRECTORY_NBYTES = 1 << 26  # of a zip; a member takes about 100: 600,000 tensors

_HEADER_NBYTES = 30  # of a member's own header, without its name
_END_NBYTES = 22  # of the record that ends a zip without a comment

_BROKEN = (
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile raises on garbage."""


class Zip:
    """An archive that is open: `members` by name.

    Raises Malformed where its directory is damaged, or where two members have one name.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        try:
            self._archive = zipfile.ZipFile(_BoundedReads(reader))
        except _BROKEN as error:
            raise Malformed(
                f"is truncated or damaged: its zip directory cannot be read ({excerpt(str(error))})"
            ) from error
        self.members = {member.filename: member for member in self._archive.infolist()}
        names = self._archive.namelist()
        if len(self.members) < len(names):
            name, count = Counter(names).most_common(1)[0]
            raise Malformed(f"has {count} members named {excerpt(name)}")

    def nbytes_before(self) -> int:
        """Bytes before the first member where another archive ends there, otherwise 0."""
        before = min((member.header_offset for member in self.members.values()), default=0)
        if before < _END_NBYTES:
            return 0
        magic = bytearray(4)
        self._reader.fill(before - _END_NBYTES, memoryview(magic))
        return before if magic == b"PK\x05\x06" else 0

    def check_apart(self) -> None:
        """Raises Malformed where members overlap: read one by one, they would have no end."""
        in_order = sorted(self.members.values(), key=lambda member: member.header_offset)
        for one, other in pairwise(in_order):
            nbytes = _HEADER_NBYTES + (one.file_size if is_stored(one) else one.compress_size)
            if one.header_offset + nbytes > other.header_offset:
                names = f"{excerpt(one.filename)} and {excerpt(other.filename)}"
                raise Malformed(f"has members {names} that overlap at byte {other.header_offset}")

    def position(self, member: zipfile.ZipInfo) -> int:
        """The byte at which the content of a stored member starts: its own header, and not the
        directory, says how long that header is. Raises Malformed where it is not in the file."""
        nbytes = self._reader.source.nbytes
        name = excerpt(member.filename)
        if member.flag_bits & 1:
            raise Malformed(f"has an encrypted member {name}")
        if not 0 <= member.header_offset <= nbytes - _HEADER_NBYTES:
            raise Malformed(f"has member {name} at byte {member.header_offset} of {nbytes}")
        header = bytearray(_HEADER_NBYTES)
        self._reader.fill(member.header_offset, memoryview(header))
        if header[:4] != b"PK\x03\x04":
            raise Malformed(f"has no member {name} at byte {member.header_offset}")
        name_nbytes, extra_nbytes = struct.unpack("<HH", header[26:])
        position: int = member.header_offset + _HEADER_NBYTES + name_nbytes + extra_nbytes
        if position + member.file_size > nbytes:
            raise Malformed(
                f"has member {name} of {member.file_size} bytes at {position} of {nbytes}"
            )
        return position

    def content(self, member: zipfile.ZipInfo, limit: int, max_ratio: int) -> bytes:
        """The bytes of a member, no more than `limit`, and beyond a mebibyte no more than
        `max_ratio` times those it is packed into. Raises Malformed.

        The checksum of a stored one is not looked at: torch can be told to write none.
        """
        name = excerpt(member.filename)
        if member.file_size > limit:
            raise Malformed(f"has member {name} of {member.file_size} bytes, the limit is {limit}")
        if is_stored(member):
            position = self.position(member)  # which makes sure that so many bytes are there
            content = bytearray(member.file_size)
            self._reader.fill(position, memoryview(content))
            return bytes(content)
        if member.compress_type != zipfile.ZIP_DEFLATED:  # zipfile does not bound other methods
            raise Malformed(f"has member {name} compressed by method {member.compress_type}")
        packed = min(member.compress_size, self._reader.source.nbytes)
        if member.file_size > max_ratio * packed + (1 << 20):
            raise Malformed(
                f"has member {name} of {member.file_size} bytes packed into {packed},"
                f" the limit is {max_ratio} times"
            )
        try:
            with self._archive.open(member) as file:
                return file.read(member.file_size)
        except _BROKEN as error:
            raise Malformed(f"has a damaged member {name} ({excerpt(str(error))})") from error


def is_stored(member: zipfile.ZipInfo) -> bool:
    """Whether its content lies in the file as it is, not compressed."""
    return member.compress_type == zipfile.ZIP_STORED


class _BoundedReads:
    """A file as zipfile reads it, no more at once than a directory may be long."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self.reader.seek(offset, whence))

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.reader.tell()

    def read(self, size: int = -1) -> bytes:
        if size > MAX_DIRECTORY_NBYTES:
            raise zipfile.BadZipFile(f"{size} bytes, the limit is {MAX_DIRECTORY_NBYTES}")
        return self.reader.read(size)
