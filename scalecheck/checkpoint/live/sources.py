"""The elements of tensors in memory as sources of bytes. A block at a time is copied, and nothing
before: values are those of the moment when they are read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.source import Readers
from scalecheck.errors import CheckpointError


@dataclass(frozen=True, eq=False)
class StorageSource:
    """The storage of a torch tensor: `words` are its bytes, as a tensor on its own device.

    view: what is equal for two tensors that are the same view of the same memory. negated_bits: of
    the elements, where they are those of the storage with the other sign, else 0.
    """

    path: Path
    words: Any
    view: object
    negated_bits: int = 0

    @property
    def nbytes(self) -> int:
        return int(self.words.numel())

    def open(self, _: Readers | None = None, /) -> "StorageReader":
        return StorageReader(self)


class StorageReader:
    """Reads a stretch of a storage; of another device that stretch alone is copied to memory."""

    has_file = False

    def __init__(self, source: StorageSource) -> None:
        self._path, self._words = source.path, source.words
        self._bits = source.negated_bits
        self._memory = source.words.numpy() if source.words.device.type == "cpu" else None

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset. Raises CheckpointError where memory was freed."""
        stop = offset + len(buffer)
        words = np.frombuffer(buffer, np.uint8)
        if stop > self._words.untyped_storage().nbytes():
            raise CheckpointError(self._path, "the memory of one of its tensors was freed")
        if self._memory is not None:
            words[:] = self._memory[offset:stop]
        else:
            words[:] = self._words[offset:stop].cpu().numpy()
        if self._bits:
            unsigned = words.view(f"<u{self._bits // 8}")
            unsigned ^= unsigned.dtype.type(1 << (self._bits - 1))

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, eq=False)
class ArraySource:
    """The elements of an array in row-major order, however they lie in memory; `array` gives it,
    and `words` is the little-endian type in which its elements are read."""

    path: Path
    array: Callable[[], NDArray[Any]]
    words: str
    nbytes: int
    view: object
    has_file: ClassVar[bool] = False

    def open(self, _: Readers | None = None, /) -> "ArrayReader":
        return ArrayReader(self)


class ArrayReader:
    """Reads a stretch of an array."""

    has_file = False

    def __init__(self, source: ArraySource) -> None:
        self._type = np.dtype(source.words)
        array = source.array()
        is_swapped = array.dtype.newbyteorder("=") != array.dtype and array.dtype.itemsize > 1
        self._array = array if is_swapped else array.view(self._type)
        self._is_contiguous = self._array.flags.c_contiguous

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset."""
        words = np.frombuffer(buffer, self._type)
        start = offset // self._type.itemsize
        stop = start + len(words)
        if self._is_contiguous:
            part = self._array.reshape(-1)[start:stop]
        else:
            part = self._array.flat[start:stop]
        words[:] = part.astype(part.dtype.newbyteorder("<"), copy=False).view(self._type)

    def close(self) -> None:
        """Nothing is open."""
