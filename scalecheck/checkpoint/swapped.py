"""Words that a file keeps with their highest byte first, as they are read here: lowest first."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scalecheck.checkpoint.source import Reader, Readers, Source


@dataclass(frozen=True, eq=False)
class SwappedSource:
    """Another source, whose bytes `offset` to `offset + nbytes` are words of `itemsize` bytes, each
    with its bytes in the other order."""

    source: Source
    offset: int
    nbytes: int
    itemsize: int

    @property
    def path(self) -> Path:
        return self.source.path

    def open(self, readers: Readers) -> "SwappedReader":
        return SwappedReader(self, readers)


class SwappedReader:
    """Reads whole words and swaps the bytes of each."""

    has_file = False

    def __init__(self, source: SwappedSource, readers: Readers) -> None:
        self._source = source
        self._readers = readers

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from the start of a word on. Raises CheckpointError where the source
        ends."""
        inner: Reader = self._readers[self._source.source]
        inner.fill(self._source.offset + offset, buffer)
        np.frombuffer(buffer, f"V{self._source.itemsize}").view(
            f"<u{self._source.itemsize}"
        ).byteswap(inplace=True)

    def close(self) -> None:
        """Its readers are closed by whom they belong to."""
