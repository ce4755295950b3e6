"""The zip of torch.save since 1.6 and of torch.jit.save: the object in it, and at which byte each
storage lies."""

import io
import struct
import zipfile
import zlib
from collections import Counter
from itertools import pairwise

from scalecheck.checkpoint.pickle.inert import Malformed
from scalecheck.checkpoint.pickle.records import Pickled, Stored
from scalecheck.checkpoint.pickle.torch_globals import Globals
from scalecheck.checkpoint.pickle.unpickle import MAX_PICKLE_NBYTES, unpickle
from scalecheck.checkpoint.tensor import Reader
from scalecheck.report.formatting import excerpt

MAX_RATIO = 64  # of a compressed pickle, beyond a mebibyte; those of tensors reach 5
MAX_DIRECTORY_NBYTES = 1 << 26  # of a zip; a member takes about 100: 600,000 tensors

_BROKEN_ZIP = (
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


_HEADER_NBYTES = 30  # of a member's own header, without its name
_END_NBYTES = 22  # of the record that ends a zip without a comment


def _is_end(reader: Reader, offset: int) -> bool:
    magic = bytearray(4)
    reader.fill(offset, memoryview(magic))
    return magic == b"PK\x05\x06"


def read_zip(reader: Reader) -> Pickled:
    """The object in a zip of torch.save or torch.jit.save. Raises Malformed, CheckpointError."""
    try:
        archive = zipfile.ZipFile(_BoundedReads(reader))
    except _BROKEN_ZIP as error:
        raise Malformed(
            f"is truncated or damaged: its zip directory cannot be read ({excerpt(str(error))})"
        ) from error
    members = {member.filename: member for member in archive.infolist()}
    before = min((member.header_offset for member in members.values()), default=0)
    if before >= _END_NBYTES and _is_end(reader, before - _END_NBYTES):
        raise Malformed(
            f"has {before} bytes before its zip archive: several archives in one file, as"
            " torch.distributed.checkpoint writes them, whose dcp_to_torch joins them"
        )
    if len(members) < len(archive.infolist()):
        name, count = Counter(archive.namelist()).most_common(1)[0]
        raise Malformed(f"has {count} members named {excerpt(name)}")
    pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl"]
    pickles = [name for name in pickles if name.count("/") < 2]
    if not pickles:
        first = ", ".join(
            [excerpt(name, 40) for name in [*members][:3]] + ["…"] * (len(members) > 3)
        )
        raise Malformed(
            f"is a zip of {len(members)} members that torch.save did not write"
            f": no data.pkl{' beside ' + first if first else ''}"
        )
    if len(pickles) > 1:
        raise Malformed(f"has {len(pickles)} members named data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    if byteorder := members.get(f"{root}byteorder"):
        order = _content(archive, reader, byteorder, 16)
        if order != b"little":
            raise Malformed(f"has a byte order that is not read: {excerpt(repr(order))}")
    names = Globals()
    content = _content(archive, reader, members[pickles[0]], MAX_PICKLE_NBYTES)
    _check_apart([*members.values()])
    tree = unpickle(io.BytesIO(content), names.known, names.persistent)

    def stored(key: str) -> Stored:
        member = members.get(f"{root}data/{key}")
        if member is None:
            raise Malformed(f"has no member data/{excerpt(key)}")
        if member.compress_type != zipfile.ZIP_STORED:
            return Stored(0, member.file_size, "its storage is compressed")
        return Stored(_position(reader, member), member.file_size)

    is_script = f"{root}constants.pkl" in members
    return Pickled(
        "torchscript" if is_script else "torch-zip", tree, names.foreign.values(), stored
    )


def _check_apart(members: list[zipfile.ZipInfo]) -> None:
    """Raises Malformed where members overlap: read one by one, a small file would have no end."""
    in_order = sorted(members, key=lambda member: member.header_offset)
    for one, other in pairwise(in_order):
        is_stored = one.compress_type == zipfile.ZIP_STORED
        nbytes = _HEADER_NBYTES + (one.file_size if is_stored else one.compress_size)
        if one.header_offset + nbytes > other.header_offset:
            names = f"{excerpt(one.filename)} and {excerpt(other.filename)}"
            raise Malformed(f"has members {names} that overlap at byte {other.header_offset}")


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


def _position(reader: Reader, member: zipfile.ZipInfo) -> int:
    """The byte at which the data of a stored member starts: its own header, and not the directory,
    says how long that header is."""
    nbytes = reader.source.nbytes
    name = excerpt(member.filename)
    if member.flag_bits & 1:
        raise Malformed(f"has an encrypted member {name}")
    if not 0 <= member.header_offset <= nbytes - _HEADER_NBYTES:
        raise Malformed(f"has member {name} at byte {member.header_offset} of {nbytes}")
    header = bytearray(_HEADER_NBYTES)
    reader.fill(member.header_offset, memoryview(header))
    if header[:4] != b"PK\x03\x04":
        raise Malformed(f"has no member {name} at byte {member.header_offset}")
    name_nbytes, extra_nbytes = struct.unpack("<HH", header[26:])
    position: int = member.header_offset + _HEADER_NBYTES + name_nbytes + extra_nbytes
    if position + member.file_size > nbytes:
        raise Malformed(f"has member {name} of {member.file_size} bytes at {position} of {nbytes}")
    return position


def _content(
    archive: zipfile.ZipFile, reader: Reader, member: zipfile.ZipInfo, limit: int
) -> bytes:
    """The bytes of a member, no more than `limit`. The checksum of a stored one is not looked at:
    torch can be told to write none."""
    name = excerpt(member.filename)
    if member.file_size > limit:
        raise Malformed(f"has member {name} of {member.file_size} bytes, the limit is {limit}")
    if member.compress_type == zipfile.ZIP_STORED:
        position = _position(reader, member)  # which makes sure that so many bytes are there
        content = bytearray(member.file_size)
        reader.fill(position, memoryview(content))
        return bytes(content)
    if member.compress_type != zipfile.ZIP_DEFLATED:  # zipfile does not bound what others unpack
        raise Malformed(f"has member {name} compressed by method {member.compress_type}")
    packed = min(member.compress_size, reader.source.nbytes)
    if member.file_size > MAX_RATIO * packed + (1 << 20):
        raise Malformed(
            f"has member {name} of {member.file_size} bytes packed into {packed}, as no pickle is"
        )
    try:
        with archive.open(member) as file:
            return file.read(member.file_size)
    except _BROKEN_ZIP as error:
        raise Malformed(f"has a damaged member {name} ({excerpt(str(error))})") from error
