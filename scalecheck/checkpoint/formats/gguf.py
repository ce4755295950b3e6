"""GGUF files, as llama.cpp reads them. Plain types are read by their place in the file; the numbers
of quantised ones are the gguf library's, which is needed for them alone."""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.files.extras import library
from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.source import FileSource, Readers, Source
from scalecheck.checkpoint.swapped import SwappedSource
from scalecheck.checkpoint.tensor import MAX_NAME, Checkpoint, Tensor
from scalecheck.dtypes import DTYPES, DType, decoded_type
from scalecheck.report.formatting import excerpt

MAX_TENSORS = 1 << 20
MAX_KEYS = 1 << 16  # of metadata; real files have some 40
MAX_HEADER_NBYTES = 1 << 28  # a vocabulary of a million tokens takes 30 MB
DIMENSIONS = 4  # as many as a tensor of ggml has

_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_VALUE_NBYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_PLAIN = {0: "F32", 1: "F16", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16"}
_INNER = frozenset((9, 15, 41))  # of sums and of tests: no library decodes them
_AT_ONCE = 1 << 17  # numbers that are decoded at once
_SEEN = 1 << 10  # bytes that tell the order of words


class Blocks(NamedTuple):
    """A quantised type: its name, the elements of a block, and the bytes that they take."""

    name: str
    numel: int
    nbytes: int


_BLOCKS = {
    number: Blocks(*words)
    for number, words in {
        2: ("Q4_0", 32, 18),
        3: ("Q4_1", 32, 20),
        6: ("Q5_0", 32, 22),
        7: ("Q5_1", 32, 24),
        8: ("Q8_0", 32, 34),
        9: ("Q8_1", 32, 40),
        10: ("Q2_K", 256, 84),
        11: ("Q3_K", 256, 110),
        12: ("Q4_K", 256, 144),
        13: ("Q5_K", 256, 176),
        14: ("Q6_K", 256, 210),
        15: ("Q8_K", 256, 292),
        16: ("IQ2_XXS", 256, 66),
        17: ("IQ2_XS", 256, 74),
        18: ("IQ3_XXS", 256, 98),
        19: ("IQ1_S", 256, 50),
        20: ("IQ4_NL", 32, 18),
        21: ("IQ3_S", 256, 110),
        22: ("IQ2_S", 256, 82),
        23: ("IQ4_XS", 256, 136),
        29: ("IQ1_M", 256, 56),
        34: ("TQ1_0", 256, 54),
        35: ("TQ2_0", 256, 66),
        39: ("MXFP4", 32, 17),
        40: ("NVFP4", 64, 36),
        41: ("Q1_0", 128, 18),
    }.items()
}


def recognises(path: Path, head: bytes) -> Evidence:
    """Its first four bytes."""
    if head.startswith(b"GGUF"):
        return Evidence.CONTENT
    return Evidence.NAME if path.suffix == ".gguf" else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the tensors of a GGUF file, in the order of the file. Raises CheckpointError."""
    source = FileSource.of(path)
    with content_of(path), source.open() as reader:
        header = _Header(reader, source.nbytes)
        entries = [*header.tensors()]
        start = -(-header.at // header.alignment) * header.alignment
        held = source.nbytes - start
        tensors = tuple(_tensor(entry, source, start, held, header.order) for entry in entries)
        _check_apart(entries, tensors)
    return Checkpoint(path, "gguf", tensors, header.words)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the header says of a tensor. shape: outermost first, as rows are counted elsewhere."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int


class _Header:
    """The header, read value by value: metadata, and what it says of tensors."""

    def __init__(self, reader: Any, nbytes: int) -> None:
        self._reader = reader
        self._end = min(nbytes, MAX_HEADER_NBYTES)
        self._buffered = memoryview(b"")
        self.at = 4
        self.order = "<"
        self.alignment = 32
        self.words: dict[str, str] = {}
        version = self._number("I")
        if version >> 16:  # of a machine that keeps the highest byte first
            self.order = ">"
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in _VERSIONS:
            raise Malformed(f"is GGUF of version {version}; versions 2 and 3 are read")
        self._tensors = self._count("Q", MAX_TENSORS, "tensors")
        for _ in range(self._count("Q", MAX_KEYS, "values of metadata")):
            self._metadata()
        if not self._tensors:
            raise Malformed("holds no tensor")

    def tensors(self) -> Iterator[_Entry]:
        """What it says of each tensor. Raises Malformed."""
        names: set[str] = set()
        for _ in range(self._tensors):
            name = self._text(MAX_NAME, "a tensor's name")
            if name in names:
                raise Malformed(f"holds two tensors named {excerpt(name)}")
            names.add(name)
            dimensions = self._count("I", DIMENSIONS, f"dimensions of {excerpt(name)}")
            sizes = [self._number("Q") for _ in range(dimensions)]
            yield _Entry(name, (*reversed(sizes),), self._number("I"), self._number("Q"))

    def _metadata(self) -> None:
        key = self._text(MAX_NAME, "a key of metadata")
        kind = self._number("I")
        if kind == _STRING:
            words = self._text(MAX_HEADER_NBYTES, excerpt(key))
            if key.startswith("general.") and len(words) <= MAX_NAME:
                self.words[key] = words
        elif kind == _ARRAY:
            self._skip_array(key, self._number("I"), self._number("Q"))
        elif kind == 4 and key == "general.alignment":
            self.alignment = self._number("I")
            if not 0 < self.alignment <= 1 << 20 or self.alignment & (self.alignment - 1):
                raise Malformed(f"general.alignment is {self.alignment}, no power of two")
        else:
            self._skip(self._value_nbytes(kind, key))

    def _skip_array(self, key: str, kind: int, count: int) -> None:
        if kind != _STRING:
            self._skip(count * self._value_nbytes(kind, key))
            return
        for _ in range(self._within(count * 8, key) // 8):
            self._skip(self._number("Q"))

    def _value_nbytes(self, kind: int, key: str) -> int:
        if kind not in _VALUE_NBYTES:
            raise Malformed(f"{excerpt(key)}: a value of type {kind}, which GGUF does not have")
        return _VALUE_NBYTES[kind]

    def _number(self, form: str) -> int:
        size = struct.calcsize(f"<{form}")
        (number,) = struct.unpack(self.order + form, self._take(size))
        return int(number)

    def _count(self, form: str, limit: int, what: str) -> int:
        count = self._number(form)
        if count > limit:
            raise Malformed(f"claims {count} {what}, the limit is {limit}")
        return count

    def _text(self, limit: int, what: str) -> str:
        count = self._number("Q")
        if count > limit:
            raise Malformed(f"{what} has {count} bytes, the limit is {limit}")
        try:
            return str(self._take(self._within(count, what)), "utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(f"{what} is not UTF-8 at byte {self.at}") from error

    def _within(self, count: int, what: str) -> int:
        if count > self._end - self.at:
            left = self._end - self.at
            raise Malformed(f"is truncated: {what} claims {count} bytes, {left} are left")
        return count

    def _skip(self, count: int) -> None:
        self._within(count, "its header")
        self.at += count
        self._buffered = self._buffered[count:]

    def _take(self, count: int) -> memoryview:
        if count > len(self._buffered):
            self._within(count, "its header")
            size = min(max(count, 1 << 16), self._end - self.at)
            block = memoryview(bytearray(size))
            self._reader.fill(self.at, block)
            self._buffered = block
        taken, self._buffered = self._buffered[:count], self._buffered[count:]
        self.at += count
        return taken


def _tensor(entry: _Entry, source: FileSource, start: int, held: int, order: str) -> Tensor:
    """The tensor of an entry, whose bytes lie among so many from `start` on. Raises Malformed."""
    name, shape, numel = entry.name, entry.shape, math.prod(entry.shape)
    blocks = _BLOCKS.get(entry.type)
    plain = DTYPES[_PLAIN[entry.type]] if entry.type in _PLAIN else None
    if plain is None and blocks is None:
        unmeasured = f"its type is number {entry.type} of ggml, which this version does not know"
        dtype = DType(f"ggml {entry.type}", 8, "other", None, unmeasured=unmeasured)
        return Tensor(name, dtype, shape, source, start, unmeasured=unmeasured)
    columns = shape[-1] if shape else 1
    if blocks is not None and columns % blocks.numel:
        raise Malformed(
            f"{excerpt(name)}: rows of {columns} elements are no whole blocks of {blocks.name},"
            f" which has {blocks.numel}"
        )
    per, each = blocks[1:] if blocks else (1, plain.itemsize if plain else 0)
    nbytes = numel // per * each
    if entry.offset + nbytes > held:
        raise Malformed(
            f"{excerpt(name)}: bytes {entry.offset}..{entry.offset + nbytes} do not lie in the"
            f" {held} bytes of data"
        )
    at = start + entry.offset
    if plain is not None:
        inner: Source = source
        is_swapped = order == ">" and plain.itemsize > 1
        if is_swapped and plain.name == "BF16":
            is_swapped = not _is_low_first(source, at, min(nbytes, _SEEN))
        if is_swapped:
            inner, at = SwappedSource(source, at, nbytes, plain.itemsize), 0
        return Tensor(name, plain, shape, inner, at)
    assert blocks is not None
    dtype = decoded_type(blocks.name)
    if order == ">" or entry.type in _INNER:
        highest, unknown = "with the highest byte first", "which the library does not decode"
        unmeasured = f"blocks of {blocks.name}, {highest if order == '>' else unknown}"
        return Tensor(name, dtype, shape, source, at, unmeasured=unmeasured, stored_nbytes=nbytes)
    decoded = DecodedBlocks(source, at, numel, entry.type)
    return Tensor(name, dtype, shape, decoded, 0, stored_nbytes=nbytes)


def _is_low_first(source: FileSource, at: int, nbytes: int) -> bool:
    """Whether words of bfloat16 are usual numbers with the lowest byte first alone."""
    words = np.empty(nbytes // 2, "<u2")
    with source.open() as reader:
        reader.fill(at, words.view(np.uint8).data)
    return _are_usual(words) and not _are_usual(words.byteswap())


def _are_usual(words: NDArray[np.uint16]) -> bool:
    """Whether each is 0 or a number of bfloat16 from 2^-63 to 2^33."""
    exponents = words >> 7 & 0xFF
    return bool(((words & 0x7FFF == 0) | (exponents >= 64) & (exponents <= 160)).all())


def _check_apart(entries: list[_Entry], tensors: tuple[Tensor, ...]) -> None:
    """Raises Malformed where two tensors share bytes."""
    stretches = sorted(
        (entry.offset, entry.offset + tensor.nbytes, entry.name)
        for entry, tensor in zip(entries, tensors, strict=True)
        if tensor.nbytes and tensor.dtype.kind != "other"
    )
    for (_, end, first), (begin, _, second) in pairwise(stretches):
        if begin < end:
            raise Malformed(
                f"{excerpt(second)}: starts at {begin} of the data, where {excerpt(first)}"
                f" ends at {end}"
            )


@dataclass(frozen=True, eq=False)
class DecodedBlocks:
    """The numbers of blocks of a quantised type, as float64."""

    source: FileSource
    offset: int
    numel: int
    type: int

    @property
    def path(self) -> Path:
        return self.source.path

    @property
    def nbytes(self) -> int:
        return 8 * self.numel

    def open(self, readers: Readers) -> "DecodedBlocksReader":
        return DecodedBlocksReader(self, readers)


class DecodedBlocksReader:
    """Decodes the blocks that a stretch lies in."""

    has_file = False

    def __init__(self, source: DecodedBlocks, readers: Readers) -> None:
        self._source = source
        self._readers = readers
        self._blocks = _BLOCKS[source.type]
        self._quants = library("gguf", source.path, f"a tensor of type {self._blocks.name}")

    def fill(self, offset: int, buffer: memoryview) -> None:
        """Fills the buffer from a byte offset. Raises CheckpointError."""
        numbers = np.frombuffer(buffer, "<f8")
        start, stop = offset // 8, offset // 8 + len(numbers)
        size = self._blocks.numel
        step = max(size, _AT_ONCE // size * size)
        for first in range(start // size * size, stop, step):
            last = min(-(-stop // size) * size, first + step)
            decoded = self._decoded(first // size, last // size)
            begin, end = max(start, first), min(stop, last)
            numbers[begin - start : end - start] = decoded[begin - first : end - first]

    def _decoded(self, first: int, last: int) -> NDArray[np.float32]:
        """The numbers of blocks from the first to below the last."""
        nbytes = self._blocks.nbytes
        words = np.empty((last - first, nbytes), np.uint8)
        reader = self._readers[self._source.source]
        reader.fill(self._source.offset + first * nbytes, words.reshape(-1).data)
        kind = self._quants.GGMLQuantizationType(self._source.type)
        with np.errstate(all="ignore"):
            numbers: NDArray[np.float32] = _dequantize()(words, kind)
        return numbers.reshape(-1)

    def close(self) -> None:
        """Its readers are closed by whom they belong to."""


@cache
def _dequantize() -> Any:
    from importlib import import_module

    return import_module("gguf.quants").dequantize
