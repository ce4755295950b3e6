"""The ends of an item, in which the archive of a tensor has all but its elements: they are kept, as
archives are read there again and again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from scalecheck.checkpoint.files.streams import Damaged, Parked, StreamSource, Zstd
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.source import Readers, SliceSource, Source
from scalecheck.report.formatting import excerpt

END_NBYTES = 4096  # of an item in a file
_HEAD_NBYTES = 1 << 14  # of one that is compressed, and where it ends as much as is ever asked for
_TAIL_NBYTES = 1 << 17
_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class EndsReader:
    """Positioned reads of a source, some stretches of which are in memory, each from a byte on."""

    source: Source
    kept: Sequence[tuple[int, bytes | bytearray]]
    readers: Readers
    has_file: ClassVar[bool] = False

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset. Raises CheckpointError where the source ends."""
        for at, kept in self.kept:
            if at <= offset and offset + len(buffer) <= at + len(kept):
                buffer[:] = memoryview(kept)[offset - at : offset - at + len(buffer)]
                return
        self.readers[self.source].fill(offset, buffer)

    def close(self) -> None:
        """Its readers are closed by whom they belong to."""


def read_ends(source: SliceSource, readers: Readers) -> EndsReader:
    """A reader of an item that lies in a file as it is."""
    last = source.nbytes - END_NBYTES
    kept = []
    for at, stop in ((0, END_NBYTES), (last, source.nbytes)) if last > 0 else ((0, source.nbytes),):
        end = bytearray(stop - at)
        readers[source.file].fill(source.start + at, memoryview(end))
        kept.append((at, end))
    return EndsReader(source, kept, readers)


def unpacked_ends(source: SliceSource, most: int, readers: Readers) -> EndsReader:
    """A reader of an item that zstandard compressed into a stretch of a file, decompressed once to
    see how long it is. Raises Malformed where it is damaged, or longer than `most`."""
    decoder, at, nbytes = Zstd(), 0, 0
    head, tail = bytearray(), bytearray()

    def pull() -> bytes:
        nonlocal at
        packed = bytearray(min(_AT_ONCE, source.nbytes - at))
        readers[source.file].fill(source.start + at, memoryview(packed))
        at += len(packed)
        return bytes(packed)

    try:
        while content := decoder.read(_AT_ONCE, pull):
            nbytes += len(content)
            if nbytes > most:
                raise Malformed(f"decompresses to more than {most} bytes")
            head += content[: _HEAD_NBYTES - len(head)]
            tail = (tail + content)[-_TAIL_NBYTES:]
    except Damaged as error:
        raise Malformed(f"is damaged: {excerpt(str(error))}") from error
    name = f"bytes {source.start} to {source.start + source.nbytes}"
    stream = StreamSource(source, 0, source.nbytes, nbytes, Zstd, Parked(), name)
    return EndsReader(stream, [(0, head), (nbytes - len(tail), tail)], readers)
