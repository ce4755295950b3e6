"""Small reads of a source in rising order, each of which takes in what lies close behind it."""

from collections.abc import Callable

AHEAD_NBYTES = 4096


class Ahead:
    """Reads `nbytes` of a source by what fills a buffer from a byte offset."""

    def __init__(self, fill: Callable[[int, memoryview], None], nbytes: int) -> None:
        self._fill = fill
        self._nbytes = nbytes
        self._at = 0
        self._kept = bytearray()

    def read(self, offset: int, nbytes: int) -> bytearray:
        """So many bytes from an offset on. Raises CheckpointError where the source ends."""
        first = offset - self._at
        if not 0 <= first <= len(self._kept) - nbytes:
            self._kept = bytearray(max(nbytes, min(AHEAD_NBYTES, self._nbytes - offset)))
            self._fill(offset, memoryview(self._kept))
            self._at, first = offset, 0
        return self._kept[first : first + nbytes]
