"""The files of torch.save before 1.6, a row of pickles and then the storages: the object in them,
and at which byte each storage lies."""

import io
from pathlib import Path

from scalecheck.checkpoint.malformed import Malformed, NotTorchs
from scalecheck.checkpoint.pickle.opcodes import arguments_in
from scalecheck.checkpoint.pickle.records import Pickled, Stored
from scalecheck.checkpoint.pickle.torch_dtypes import itemsize_of
from scalecheck.checkpoint.pickle.torch_globals import Globals
from scalecheck.checkpoint.pickle.unpickle import BROKEN, MAX_PICKLE_NBYTES, unpickle
from scalecheck.checkpoint.source import FileReader, FileSource
from scalecheck.report.formatting import excerpt

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
_MOST_OPCODES = 10_000  # before the magic number
_MAGIC_NBYTES = 64  # more than the pickled magic number takes under any protocol


def read_legacy(reader: FileReader) -> Pickled:
    """The object in a file of torch.save before 1.6. Raises Malformed, CheckpointError."""
    reader.seek(0)
    stream = _Pickles(reader)
    names = Globals()
    try:
        stream.stop = min(stream.stop, _MAGIC_NBYTES)
        magic = unpickle(stream, names.known, names.persistent)
    except Malformed:
        magic = None
    if type(magic) is not int or magic != MAGIC:
        raise NotTorchs("is a pickle that torch.save did not write")
    stream.stop = min(reader.source.nbytes, MAX_PICKLE_NBYTES)
    version = unpickle(stream, names.known, names.persistent)
    if type(version) is not int or version != VERSION:
        raise Malformed(f"is torch's legacy format in a version other than {VERSION}")
    system = unpickle(stream, names.known, names.persistent)
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise Malformed("is big-endian, which is not read")
    tree = unpickle(stream, names.known, names.persistent)
    keys = unpickle(stream, names.known, names.persistent)
    stream.detach()  # or it would close the reader
    places, end = _places(reader, stream.position, keys, names)
    left = reader.source.nbytes - end

    def stored(key: str) -> Stored:
        if key not in places:
            raise Malformed(f"does not list storage {excerpt(key)}")
        return places[key]

    return Pickled("torch-legacy", tree, names.foreign.values(), stored, nbytes_left=left)


def starts_with_magic(path: Path) -> bool:
    """Whether torch.load takes a file for its own: it starts with a pickle, however far that
    reaches, of the magic number. A file of another format can. Of very many opcodes it is taken for
    granted: JSON is no pickle for long."""
    with FileSource.of(path).open() as reader:
        stream = _Pickles(reader)
        try:
            for count, argument in enumerate(arguments_in(stream)):
                if count == _MOST_OPCODES or (type(argument) is int and argument == MAGIC):
                    return True
            return False
        except (Malformed, *BROKEN):
            return False
        finally:
            stream.detach()  # or it would close the reader


class _Pickles(io.BufferedReader):
    """The start of a file as pickletools reads it, no further than byte `stop`."""

    def __init__(self, reader: FileReader) -> None:
        super().__init__(reader)
        self.position = 0
        self.stop = reader.source.nbytes

    def tell(self) -> int:
        return self.position

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= self.stop - self.position:
            raise EOFError(f"{size} bytes more are past byte {self.stop}")
        content = super().read(size)
        self.position += len(content)
        return content

    def readline(self, size: int | None = -1, /) -> bytes:
        most = self.stop - self.position
        line = super().readline(most if size is None or size < 0 else min(size, most))
        self.position += len(line)
        return line


def _places(
    reader: FileReader, position: int, keys: object, names: Globals
) -> tuple[dict[str, Stored], int]:
    """Where each storage lies, and where the last one ends: one after the other in the order of
    their keys, behind an int64 that counts their elements."""
    if not isinstance(keys, list):
        raise Malformed("has no list of storages behind its pickle")
    nbytes = reader.source.nbytes
    places = {}
    for key in keys:
        storage = names.storages.get(key) if type(key) is str else None
        if storage is None:
            raise Malformed("lists a storage that its pickle does not name")
        count = bytearray(8)
        if position + 8 > nbytes:
            raise Malformed(f"is truncated: storage {excerpt(key)} at byte {position} of {nbytes}")
        reader.fill(position, memoryview(count))
        numel = int.from_bytes(count, "little", signed=True)
        if numel != storage.whole:
            raise Malformed(
                f"has {numel} elements in storage {excerpt(key)}, its pickle says {storage.whole}"
            )
        places[key] = Stored(position + 8, numel * itemsize_of(storage.dtype))
        position += 8 + places[key].nbytes
        if position > nbytes:
            raise Malformed(
                f"is truncated: storage {excerpt(key)} ends at byte {position} of {nbytes}"
            )
    return places, position
