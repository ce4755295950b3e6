"""The tensor of a zarr array: its chunks are put together, each read where it lies."""

import math
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np

from scalecheck.checkpoint.boxes import row_major_steps
from scalecheck.checkpoint.files.streams import Parked, StreamSource
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.source import Reader, Readers, Source
from scalecheck.checkpoint.swapped import SwappedSource
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.checkpoint.zarr.codecs import decoder_of
from scalecheck.checkpoint.zarr.fill import fill_word
from scalecheck.checkpoint.zarr.grid import FillSource, GridSource
from scalecheck.checkpoint.zarr.metadata import ArrayMetadata, Chunk, metadata_of
from scalecheck.checkpoint.zarr.stores import Store, Value
from scalecheck.dtypes import DType
from scalecheck.report.formatting import excerpt

MAX_CHUNKS = 1 << 18  # of all arrays together; each is a few Python objects
MAX_RATIO = 1 << 16  # of a compressed chunk; zstd packs zeros 32,768 times
MAX_FILLED_NBYTES = 1 << 30  # that were never written, where they are more than what was, 16 times
CHECKSUM_NBYTES = 4  # of crc32c, behind what it is of
NOWHERE = (1 << 64) - 1  # the place of a chunk of a shard that was never written

Missing = Literal["fill", "zeros", "lacking"]
"""What a chunk that is not there stands for: the fill value; that, or zeros where there is none;
or nothing, as whoever wrote the array writes all its chunks."""


@dataclass
class ArrayReader:
    """Lists the arrays of a store."""

    store: Store
    missing: Missing = "fill"
    parked: Parked = field(default_factory=Parked)
    chunks: int = 0

    def tensor(self, name: str, key: str, kind: str) -> Tensor:
        """The tensor of an array by its key in the store. Raises Malformed, CheckpointError."""
        value = self.store.get(f"{key}/{kind}" if key else kind)
        if value is None:
            raise Malformed(f"{excerpt(name)}: has no {kind}")
        try:
            told = metadata_of(value.read(), 2 if kind == ".zarray" else 3)
            return self._tensor(name, key, told, value)
        except Malformed as error:
            raise Malformed(f"{excerpt(name)}: {error}") from error

    def _tensor(self, name: str, key: str, told: ArrayMetadata, value: Value) -> Tensor:
        dtype, shape, whole = told.dtype, told.shape, told.chunk
        unmeasured = dtype.unmeasured or whole.unread or self._unread(whole, dtype)
        unmeasured = unmeasured or self._counted(told)
        if unmeasured or not math.prod(shape):
            return Tensor(name, dtype, shape, value.source, 0, unmeasured=unmeasured)
        fill = self._fill(told)
        chunks = []
        lacking = filled = 0
        for index in product(*map(range, told.grid)):
            at = told.key(index)
            sizes = tuple(
                min(size, n - at * size)
                for at, size, n in zip(index, whole.shape, shape, strict=True)
            )
            found = self.store.get(f"{key}/{at}" if key else at)
            if found is not None:
                chunks.append(self.chunk(found, whole, dtype, fill, sizes))
            elif fill is not None:
                filled += math.prod(sizes)
                chunks.append(self.filled(fill, dtype, sizes))
            else:
                lacking += math.prod(sizes)
        numel = math.prod(shape)
        if lacking:
            unmeasured = f"{lacking} of {numel} elements are in no file"
        elif filled * dtype.itemsize > MAX_FILLED_NBYTES and filled > 16 * (numel - filled):
            unmeasured = f"{filled} of {numel} elements were never written"
        if unmeasured:
            return Tensor(name, dtype, shape, value.source, 0, unmeasured=unmeasured)
        if len(chunks) == 1:
            [one] = chunks
            return Tensor(name, dtype, shape, one.source, one.offset, one.strides)
        return Tensor(
            name, dtype, shape, GridSource(self.store.path, shape, whole.shape, chunks), 0
        )

    def _counted(self, told: ArrayMetadata) -> str | None:
        """Counts the chunks of an array; a reason where they are too many."""
        count = math.prod(told.grid)
        if told.chunk.index is not None:
            count *= math.prod(told.chunk.index.shape) // 2
        if self.chunks + count > MAX_CHUNKS:
            return f"{count} chunks, the limit of all arrays is {MAX_CHUNKS}"
        self.chunks += count
        return None

    def _fill(self, told: ArrayMetadata) -> bytes | None:
        if self.missing == "lacking":
            return None
        if told.fill is None and self.missing == "zeros":
            return bytes(told.dtype.itemsize)
        return fill_word(told.fill, told.dtype)

    def filled(self, fill: bytes, dtype: DType, sizes: tuple[int, ...]) -> Tensor:
        source = FillSource(self.store.path, math.prod(sizes) * dtype.itemsize, fill)
        return Tensor("", dtype, sizes, source, 0)

    def _unread(self, chunk: Chunk, dtype: DType) -> str | None:
        """Why chunks cannot be read, by what compresses them."""
        if chunk.shard is not None:
            return self._unread(chunk.shard, dtype)
        nbytes = math.prod(chunk.shape) * dtype.itemsize
        compressions = [one for one in chunk.packed if one[0] != "crc32c"]
        if len(compressions) > 1:
            return f"its chunks are compressed {len(compressions)} times"
        for codec, config in compressions:
            if isinstance(why := decoder_of(codec, config, nbytes, self.store.path), str):
                return why
        return None

    def chunk(
        self,
        value: Value,
        chunk: Chunk,
        dtype: DType,
        fill: bytes | None,
        sizes: tuple[int, ...],
    ) -> Tensor:
        """A chunk, as large as it reaches into the array. Raises Malformed."""
        if chunk.shard is not None:
            source: Source = ShardSource(self, value, chunk, dtype, fill)
            at = 0
        else:
            source, at = self._unpacked(value, chunk, dtype)
        steps = dict(
            zip(chunk.order, row_major_steps([chunk.shape[a] for a in chunk.order]), strict=True)
        )
        strides = tuple(steps[axis] if n > 1 else 0 for axis, n in enumerate(sizes))
        usual = tuple(s if n > 1 else 0 for s, n in zip(row_major_steps(sizes), sizes, strict=True))
        return Tensor("", dtype, sizes, source, at, None if strides == usual else strides)

    def _unpacked(self, value: Value, chunk: Chunk, dtype: DType) -> tuple[Source, int]:
        """The bytes of a chunk, and at which of them it starts. Raises Malformed."""
        nbytes = math.prod(chunk.shape) * dtype.itemsize
        names = [name for name, _ in chunk.packed]
        places = [place for place, name in enumerate(names) if name != "crc32c"]
        source, at, has = value.source, value.offset, value.nbytes
        if places:
            codec, config = chunk.packed[places[0]]
            packed = has - CHECKSUM_NBYTES * (len(names) - 1 - places[0])
            has = nbytes + CHECKSUM_NBYTES * places[0]
            if packed <= 0 or has > MAX_RATIO * packed:
                raise Malformed(f"a chunk of {nbytes} bytes packed into {max(0, packed)}")
            decoder = decoder_of(codec, config, nbytes, self.store.path)
            assert not isinstance(decoder, str)
            place = f"chunk of {packed} bytes at byte {at}"
            source = StreamSource(source, at, packed, has, decoder, self.parked, place)
            at = 0
        needs = nbytes + CHECKSUM_NBYTES * (places[0] if places else len(names))
        if has != needs:
            raise Malformed(f"a chunk of {needs} bytes has {has} in {value.source.path.name}")
        if chunk.is_swapped and dtype.itemsize > 1:
            return SwappedSource(source, at, nbytes, dtype.itemsize), 0
        return source, at


class ShardSource:
    """A chunk that consists of smaller ones in one file, with a list of their places that is read
    when the chunk is."""

    def __init__(
        self, array: ArrayReader, value: Value, chunk: Chunk, dtype: DType, fill: bytes | None
    ) -> None:
        self._array, self._value, self._chunk = array, value, chunk
        self._dtype, self._fill = dtype, fill
        self._grid: GridSource | None = None
        self._lock = Lock()

    @property
    def path(self) -> Path:
        return self._value.source.path

    @property
    def nbytes(self) -> int:
        return math.prod(self._chunk.shape) * self._dtype.itemsize

    def open(self, readers: Readers) -> Reader:
        with self._lock, content_of(self.path):
            if self._grid is None:
                self._grid = self._listed(readers)
        return self._grid.open(readers)

    def _listed(self, readers: Readers) -> GridSource:
        """The chunks that the list has. Raises Malformed."""
        inner, index = self._chunk.shard, self._chunk.index
        assert inner is not None
        assert index is not None
        count = math.prod(index.shape) // 2
        nbytes = 16 * count + CHECKSUM_NBYTES * len(index.packed)
        has = self._value.nbytes
        if has < nbytes:
            raise Malformed(f"a shard of {has} bytes has no list of {count} chunks")
        content = bytearray(16 * count)
        at = 0 if self._chunk.is_index_first else has - nbytes
        readers[self._value.source].fill(self._value.offset + at, memoryview(content))
        places = np.frombuffer(content, ">u8" if index.is_swapped else "<u8").reshape(-1, 2)
        found = []
        end = 0
        for start, size in sorted(places.tolist()):
            if start == NOWHERE:
                continue
            if start < end or start + size > has:
                raise Malformed(f"a shard of {has} bytes has a chunk at {start} to {start + size}")
            end = start + size
        for start, size in places.tolist():
            if start != NOWHERE:
                value = Value(self._value.source, self._value.offset + start, size)
                found.append(self._array.chunk(value, inner, self._dtype, None, inner.shape))
            elif self._fill is not None:
                found.append(self._array.filled(self._fill, self._dtype, inner.shape))
            else:
                raise Malformed(f"a shard lacks one of its {count} chunks")
        return GridSource(self.path, self._chunk.shape, inner.shape, found)
