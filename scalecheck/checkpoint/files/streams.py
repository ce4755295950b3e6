"""Bytes that are compressed in a file: read as a stream, of which only what the decoder needs is in
memory, whatever their length.

A stream can only be read forwards. A reader that is closed leaves its decoder behind, and the next
one that starts at or after its place goes on with it: a large array that threads take stretch by
stretch is decompressed once by each thread, not once for each stretch.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Protocol

from scalecheck.checkpoint.source import Readers, Source
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import excerpt

PACKED_NBYTES = 1 << 17  # of compressed bytes that are read at a time
SKIPPED_NBYTES = 1 << 18  # of decompressed bytes that are passed over at a time
MAX_PARKED_NBYTES = 64 << 20  # of decoders that wait for their next reader
MAX_WINDOW = 1 << 27  # of zstandard: the most that it takes by itself
ZLIB_NBYTES = 48 << 10  # what zlib keeps of a stream


class Damaged(Exception):
    """A stream that is not what its compression says."""


Pull = Callable[[], bytes]
"""Gives the packed bytes that come next, some at a time; none where there are no more."""


class Decoder(Protocol):
    """What decompresses a stream. held: the bytes that it takes in memory."""

    held: int

    def read(self, most: int, pull: Pull) -> bytes:
        """At most so many bytes more, none at the end of the stream. Raises Damaged."""
        ...


class Inflate:
    """zlib's streams: bare as in a zip, or in the envelope of zlib or gzip."""

    held = ZLIB_NBYTES

    def __init__(self, window_bits: int) -> None:
        self._inner = zlib.decompressobj(window_bits)

    def read(self, most: int, pull: Pull) -> bytes:
        inner = self._inner
        while not inner.eof:
            packed = inner.unconsumed_tail or pull()
            try:
                content = inner.decompress(packed, most)
            except zlib.error as error:
                raise Damaged(str(error)) from error
            if content:
                return content
            if not packed:
                raise Damaged("is cut off")
        return b""


class Unpacked:
    """bz2's and lzma's streams, by a decompressor of the standard library."""

    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor, held: int) -> None:
        self._inner = inner
        self.held = held

    def read(self, most: int, pull: Pull) -> bytes:
        inner = self._inner
        while not inner.eof:
            packed = pull() if inner.needs_input else b""
            if inner.needs_input and not packed:
                raise Damaged("is cut off")
            try:
                content = inner.decompress(packed, most)
            except (OSError, lzma.LZMAError) as error:
                raise Damaged(str(error)) from error
            if content:
                return content
        return b""


class Zstd:
    """Zstandard's streams, by the zstandard library."""

    def __init__(self) -> None:
        import zstandard

        self._packed = _Pulled()
        self._refusal = zstandard.ZstdError
        inner = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
        self._stream = inner.stream_reader(self._packed)  # type: ignore[arg-type] # only read() is called
        self.held = 0

    def read(self, most: int, pull: Pull) -> bytes:
        self._packed.pull = pull
        try:
            return self._stream.read(most)
        except self._refusal as error:
            raise Damaged(str(error)) from error
        finally:
            self._packed.pull = bytes  # which holds the reader no longer
            self.held = self._packed.window + ZLIB_NBYTES


class _Pulled:
    """The packed bytes as the file that zstandard reads, and the window that their first say."""

    pull: Pull = bytes
    window = 0

    def read(self, _: int) -> bytes:
        packed = self.pull()
        if not self.window and packed:
            from zstandard import get_frame_parameters

            self.window = min(MAX_WINDOW, get_frame_parameters(packed).window_size)
        return packed


class Whole:
    """A codec that has no stream: all `nbytes` of it are decompressed at once."""

    def __init__(self, nbytes: int, codec: Callable[[bytes], bytes]) -> None:
        self.held = nbytes
        self._codec = codec
        self._content: bytes | None = None
        self._at = 0

    def read(self, most: int, pull: Pull) -> bytes:
        if self._content is None:
            packed = bytearray()
            while chunk := pull():
                packed += chunk
            self._content = self._codec(bytes(packed))
        content = self._content[self._at : self._at + most]
        self._at += len(content)
        return content


@dataclass(eq=False)
class Cursor:
    """A decoder and where it is: in the decompressed bytes and in the packed ones, with the
    checksum of what came out so far."""

    decoder: Decoder
    at: int = 0
    packed_at: int = 0
    checksum: int = 0


class Parked:
    """The decoders of all streams of a checkpoint that wait for a reader. The oldest are dropped
    where they take more than MAX_PARKED_NBYTES."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held = 0
        self._waiting: dict[object, list[Cursor]] = {}  # by the keys of the streams

    def take(self, source: "StreamSource", offset: int) -> Cursor | None:
        """The cursor of a stream that is nearest before an offset; None where all are behind."""
        with self._lock:
            own = self._waiting.get(source.key, [])
            before = [cursor for cursor in own if cursor.at <= offset]
            nearest = max(before, key=lambda cursor: cursor.at, default=None)
            if nearest is not None:
                own.remove(nearest)
                self._held -= nearest.decoder.held
            return nearest

    def put(self, source: "StreamSource", cursor: Cursor) -> None:
        """Keeps a cursor; of a stream that was read to its end none is kept."""
        with self._lock:
            own = self._waiting.pop(source.key, [])
            if cursor.at >= source.nbytes:
                self._held -= sum(one.decoder.held for one in own)
                return
            own.append(cursor)
            self._waiting[source.key] = own  # the last that was used stands last
            self._held += cursor.decoder.held
            while self._held > MAX_PARKED_NBYTES:
                oldest = next(iter(self._waiting))
                dropped = self._waiting.pop(oldest)
                self._held -= sum(one.decoder.held for one in dropped)


@dataclass(frozen=True, eq=False)
class StreamSource:
    """`nbytes` that are compressed into `packed_nbytes` of another source, from an offset on.

    name: what an error calls it. checksum: the CRC-32 of all of it, where that is known. key: what
    its decoders wait under; the source itself would hold them in a circle, and what a decoder has
    in memory would stay until a garbage collection.
    """

    source: Source
    offset: int
    packed_nbytes: int
    nbytes: int
    new_decoder: Callable[[], Decoder]
    parked: Parked
    name: str
    checksum: int | None = None
    key: object = field(default_factory=object, repr=False)

    @property
    def path(self) -> Path:
        return self.source.path

    def open(self, readers: Readers) -> "StreamReader":
        return StreamReader(self, readers)


class StreamReader:
    """Reads a stream forwards; what lies before needs a decoder from an earlier place."""

    has_file = False

    def __init__(self, source: StreamSource, readers: Readers) -> None:
        self._source = source
        self._readers = readers
        self._cursor: Cursor | None = None

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset. Raises CheckpointError where the stream is damaged
        or ends."""
        try:
            cursor = self._moved(offset)
            self._read(cursor, buffer)
            if cursor.at == self._source.nbytes:
                self._check_end(cursor)
        except Damaged as error:
            self._cursor = None
            source = self._source
            problem = f"has damaged {source.name} ({excerpt(str(error))})"
            raise CheckpointError(source.path, problem) from error

    def close(self) -> None:
        """Leaves its decoder to the next reader."""
        if self._cursor is not None:
            self._source.parked.put(self._source, self._cursor)
            self._cursor = None

    def _moved(self, offset: int) -> Cursor:
        """The cursor, at an offset."""
        cursor = self._cursor
        if cursor is not None and cursor.at > offset:
            self.close()
            cursor = None
        if cursor is None:
            cursor = self._source.parked.take(self._source, offset)
        self._cursor = cursor = cursor or Cursor(self._source.new_decoder())
        skipped = memoryview(bytearray(min(SKIPPED_NBYTES, offset - cursor.at)))
        while cursor.at < offset:
            self._read(cursor, skipped[: offset - cursor.at])
        return cursor

    def _read(self, cursor: Cursor, buffer: memoryview) -> None:
        done = 0
        while done < len(buffer):
            content = cursor.decoder.read(len(buffer) - done, self._pull)
            if not content:
                raise Damaged(f"ends at byte {cursor.at} and should have {self._source.nbytes}")
            buffer[done : done + len(content)] = content
            done += len(content)
            cursor.at += len(content)
            if self._source.checksum is not None:
                cursor.checksum = zlib.crc32(content, cursor.checksum)

    def _pull(self) -> bytes:
        source, cursor = self._source, self._cursor
        assert cursor is not None
        packed = bytearray(min(PACKED_NBYTES, source.packed_nbytes - cursor.packed_at))
        if packed:
            self._readers[source.source].fill(source.offset + cursor.packed_at, memoryview(packed))
            cursor.packed_at += len(packed)
        return bytes(packed)

    def _check_end(self, cursor: Cursor) -> None:
        """Raises Damaged where more follows than there should be, or something else came out."""
        if cursor.decoder.read(1, self._pull):
            raise Damaged(f"has more than its {self._source.nbytes} bytes")
        if self._source.checksum not in (None, cursor.checksum):
            raise Damaged("its content is not what its checksum says")
