"""Where bytes come from: a file, a buffer in memory, or what is put together from others. All are
read by position."""

import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import ClassVar, Protocol, Self

from scalecheck.errors import CheckpointError, reason

MAX_OPEN = 128  # files that are kept open, where the system allows a process four times as many
_MAX_MADE = 8  # readers of sources made of others that are kept, with what they hold


class Source(Protocol):
    """Bytes that can be read by position; a key of dictionaries.

    `path` is named where it cannot be read; `nbytes` is its length.
    """

    @property
    def path(self) -> Path: ...

    @property
    def nbytes(self) -> int: ...

    def open(self, readers: "Readers", /) -> "Reader":
        """A reader of its bytes, which reads other sources by these readers. Raises
        CheckpointError where it changed or is out of reach."""
        ...


class Reader(Protocol):
    """Positioned reads of one source, by one thread at a time. has_file: it holds a file open."""

    @property
    def has_file(self) -> bool: ...

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset. Raises CheckpointError where the source ends."""
        ...

    def close(self) -> None: ...


class SourceReader(Reader, Protocol):
    """A reader that says what it reads."""

    @property
    def source(self) -> Source: ...


def most_open() -> int:
    """How many files may be kept open."""
    try:
        from resource import RLIMIT_NOFILE, getrlimit
    except ImportError:  # Windows
        return MAX_OPEN
    allowed, _ = getrlimit(RLIMIT_NOFILE)
    return max(1, min(MAX_OPEN, allowed // 4)) if allowed > 0 else MAX_OPEN


class Readers:
    """The readers of sources, opened when asked for; the last files that were used stay open. As a
    context manager it closes them. One thread uses it, of so many that share in the open files."""

    def __init__(self, threads: int = 1) -> None:
        self._most = max(1, most_open() // threads)
        self._files: dict[Source, Reader] = {}
        self._made: dict[Source, Reader] = {}

    def __getitem__(self, source: Source) -> Reader:
        reader = self._files.pop(source, None) or self._made.pop(source, None)
        if reader is None:
            reader = source.open(self)
        kept, most = (self._files, self._most) if reader.has_file else (self._made, _MAX_MADE)
        kept[source] = reader  # the last that was used stands last
        if len(kept) > most:
            kept.pop(next(iter(kept))).close()
        return reader

    def renew(self) -> None:
        """Closes what is open but the files, each of which is looked at again when it is read."""
        for kept in (self._files, self._made):
            for source, reader in [*kept.items()]:
                if isinstance(reader, FileReader):
                    reader.is_checked = False
                else:
                    kept.pop(source).close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes all that is open."""
        for kept in (self._files, self._made):
            for reader in kept.values():
                reader.close()
            kept.clear()


@dataclass(frozen=True)
class FileSource:
    """A file as it was when its checkpoint was opened; a later change of it is an error."""

    path: Path
    nbytes: int
    inode: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """The file's identity. Raises CheckpointError where it cannot be had."""
        try:
            status = path.stat()
        except OSError as error:
            raise CheckpointError(path, reason(error)) from error
        return cls(path, status.st_size, status.st_ino, status.st_mtime_ns)

    def open(self, _: Readers | None = None, /) -> "FileReader":
        """A reader of its bytes. Raises CheckpointError where it changed or is out of reach."""
        try:
            reader = FileReader(self)
        except OSError as error:
            raise CheckpointError(self.path, reason(error)) from error
        try:
            self.check(os.fstat(reader.fileno()))
        except CheckpointError:
            reader.close()
            raise
        return reader

    def check(self, status: os.stat_result) -> None:
        """Raises CheckpointError where that is of a file which changed."""
        own = self.nbytes, self.inode, self.modified_ns
        if (status.st_size, status.st_ino, status.st_mtime_ns) != own:
            raise CheckpointError(
                self.path,
                f"changed while it was read ({status.st_size} bytes, {self.nbytes} at the start)",
            )


class FileReader(FileIO):
    """Positioned reads of one file. A mapping would be as fast and would let a file that shrinks
    kill the process. is_checked: no new look at it is needed before it is read."""

    has_file = True
    is_checked = True

    def __init__(self, source: FileSource) -> None:
        super().__init__(source.path, "rb")
        self.source = source

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset. Raises CheckpointError where the file ends."""
        done = 0
        try:
            if not self.is_checked:
                self.source.check(os.stat(self.source.path))
                self.is_checked = True
            self.seek(offset)
            while done < len(buffer):
                count = self.readinto(buffer[done:])
                if not count:
                    raise CheckpointError(
                        self.source.path,
                        f"ends at byte {offset + done} and had {self.source.nbytes} at the start",
                    )
                done += count
        except OSError as error:
            raise CheckpointError(self.source.path, reason(error)) from error


@dataclass(frozen=True, slots=True)
class SliceSource:
    """A stretch of a file, or of what one holds, read as if it were one."""

    file: Source
    start: int
    nbytes: int

    @property
    def path(self) -> Path:
        return self.file.path

    def open(self, readers: Readers, /) -> "SliceReader":
        return SliceReader(self, readers)


class SliceReader:
    """Positioned reads of a stretch of a file."""

    has_file = False

    def __init__(self, source: SliceSource, readers: Readers) -> None:
        self.source = source
        self._readers = readers

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset. Raises CheckpointError where the stretch ends."""
        end, nbytes = offset + len(buffer), self.source.nbytes
        if offset < 0 or end > nbytes:
            problem = f"is read to byte {end} of a stretch of {nbytes} bytes"
            raise CheckpointError(self.source.path, problem)
        self._readers[self.source.file].fill(self.source.start + offset, buffer)

    def close(self) -> None:
        """Its readers are closed by whom they belong to."""


def identity(source: Source) -> object:
    """What is equal for two sources of one file, by whatever path."""
    return source.inode if isinstance(source, FileSource) else id(source)


@dataclass(frozen=True, eq=False)
class MemorySource:
    """Bytes in memory. `path` is what an error names."""

    path: Path
    data: memoryview
    has_file: ClassVar[bool] = False

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def open(self, _: Readers | None = None, /) -> "MemorySource":
        return self

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset. Raises CheckpointError where the bytes end."""
        found = self.data[offset : offset + len(buffer)]
        if len(found) < len(buffer):
            end = offset + len(found)
            raise CheckpointError(self.path, f"ends at byte {end} and has {self.nbytes}")
        buffer[:] = found

    def close(self) -> None:
        """Nothing is open."""
