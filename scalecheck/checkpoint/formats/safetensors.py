"""safetensors files. The header is judged here, to say what is wrong with its numbers, and by the
safetensors library; the bytes are read by position, since the library's numpy face has neither BF16
nor FP8."""

import math
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from scalecheck.checkpoint.arrays.mlx_state import saved_by_mlx
from scalecheck.checkpoint.files.json_members import Members
from scalecheck.checkpoint.files.strict_json import in_words
from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.source import FileSource
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS, MAX_NAME, Checkpoint, Tensor
from scalecheck.dtypes import DTYPES, DType

MAX_HEADER_NBYTES = 100_000_000  # as the library has it; a tensor takes some 100
MAX_TENSORS = 150_000  # the largest models have 140,000
MAX_METADATA_NBYTES = 16_000_000
MAX_METADATA = 1 << 16
_LARGE_NBYTES = 1 << 20  # of a header, from which on it matters what the library leaves behind
MAX_COUNT = 1 << 64  # the library keeps sizes and offsets in 64 bits


def recognises(path: Path, head: bytes) -> Evidence:
    """A header of JSON behind its length, which has a zero byte where text has none."""
    if head[8:9] == b"{" and 0 in head[:8]:
        return Evidence.CONTENT
    return Evidence.NAME if path.suffix == ".safetensors" else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the tensors in the order of their bytes. Raises CheckpointError on a bad header."""
    source = FileSource.of(path)
    with content_of(path):
        if path.suffix != ".safetensors":
            _require_no_pickle(path)
        tensors, metadata = _listed(source)
        return Checkpoint(path, "safetensors", tensors, metadata, tree=saved_by_mlx(tensors))


def _require_no_pickle(path: Path) -> None:
    """Raises Malformed where torch.load would find other tensors in the file."""
    from scalecheck.checkpoint.pickle.legacy_file import starts_with_magic  # few files need it

    if starts_with_magic(path):
        raise Malformed("is a file of safetensors and one of torch.save, with other tensors")


def _listed(source: FileSource) -> tuple[tuple[Tensor, ...], dict[str, str]]:
    """The tensors and the metadata. Raises Malformed on a bad header."""
    text = _header(source)
    nbytes = len(text)
    bad = f"has a bad header of {nbytes} bytes"
    header = _Header(source, 8 + nbytes)
    try:
        members = Members(text)
        del text  # as large as what is made of it
        header.read(members)
    except ValueError as error:
        raise Malformed(f"{bad}: {error}") from error
    del members
    refusal = ""
    try:
        # The library maps the file, which a limit on address space can forbid.
        with suppress(MemoryError), safe_open(source.path, framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        refusal = str(error).removeprefix("Error while deserializing header: ")
    if nbytes > _LARGE_NBYTES:
        _return_freed()
    source.open().close()  # the library read what was read here
    if refusal and header.unknown:
        raise Malformed(header.unknown)
    if header.problem is not None:
        raise Malformed(header.problem)
    if header.past_end is not None:
        sizes = f"{8 + nbytes + header.end:,} bytes expected, {source.nbytes:,} present"
        raise Malformed(f"is truncated: {sizes}; {header.past_end}")
    tensors = header.in_order()
    if refusal:
        raise Malformed(f"{bad}: {refusal}")
    if not tensors:
        raise Malformed(f"holds no tensor: a header of {nbytes} bytes names none")
    return tensors, header.metadata


def _return_freed() -> None:
    """Has glibc return what the library freed: some 700 bytes a tensor, which Python, whose objects
    lie elsewhere, would not use again. Other systems need no telling, or have no way to be told."""
    from ctypes import CDLL  # here, as few files need it

    with suppress(OSError, AttributeError, TypeError):
        CDLL(None).malloc_trim(0)


class _PastEnd(Malformed):
    """The entry of a tensor is right, and its bytes end at `end`, behind those of the file."""

    def __init__(self, words: str, end: int) -> None:
        super().__init__(words)
        self.end = end


class _Header:
    """What a header says, whose data start at a byte of its file. `problem` is the first that it
    has; `unknown` the first storage type unknown here, before any: a problem only where the library
    refuses the file too; `past_end` the first tensor that is right but ends behind the file, and
    `end` where the last of these ends."""

    def __init__(self, source: FileSource, start: int) -> None:
        self.problem: str | None = None
        self.unknown: str | None = None
        self.past_end: str | None = None
        self.end = 0
        self.metadata: dict[str, str] = {}
        self._source = source
        self._start = start
        self._nbytes = source.nbytes - start
        self._tensors: list[Tensor] = []
        self._begins, self._ends = array("Q"), array("Q")

    def read(self, members: Members) -> None:
        """Reads it to its end. Raises ValueError where it is no JSON or too much of it."""
        if members.mark() != "{":
            words = in_words(members.value())
            raise Malformed(f"has a header that is {words}, not an object")
        for count, name in enumerate(members.names()):
            if count > MAX_TENSORS:
                raise ValueError(f"it has more than {MAX_TENSORS} tensors, the limit")
            if len(name) > MAX_NAME:
                raise Malformed(
                    f"{name[:32]}…: a name of {len(name)} characters, the limit is {MAX_NAME}"
                )
            if name == "__metadata__":
                self._read_metadata(members)
                continue
            entry = members.value()
            if self.problem is None:  # what is no JSON is told first, wherever it is
                try:
                    self._add(name, entry)
                except _PastEnd as error:
                    self.past_end = self.past_end or f"{name}: {error}"
                    self.end = max(self.end, error.end)
                except Malformed as error:
                    self.problem = f"{name}: {error}"
        members.end()

    def in_order(self) -> tuple[Tensor, ...]:
        """The tensors in the order of their bytes. Raises Malformed where these are not side by
        side."""
        order = np.lexsort((self._ends, self._begins)).tolist()
        at = 0
        for place in order:
            begin, name = self._begins[place], self._tensors[place].name
            if begin != at:
                matter = "overlaps" if begin < at else "leaves a hole after"
                raise Malformed(
                    f"{name}: offset {begin} {matter} the tensor before, which ends at {at}"
                )
            at = self._ends[place]
        if at != self._nbytes:
            raise Malformed(
                f"{self._nbytes - at} of {self._nbytes} bytes of data belong to no tensor"
            )
        return tuple(self._tensors[place] for place in order)

    def _note(self, problem: str) -> None:
        if self.problem is None:
            self.problem = problem

    def _read_metadata(self, members: Members) -> None:
        """Reads the metadata. Raises ValueError where they are no JSON or too much of it."""
        if members.mark() != "{":
            if (metadata := members.value()) is not None:
                self._note(f"__metadata__ is {in_words(metadata)}, not an object")
            return
        start = members.at
        for count, key in enumerate(members.names()):
            words = members.value()
            if isinstance(words, str):
                self.metadata[key] = words
            else:
                self._note(f"__metadata__: {key} is {in_words(words)}, not text")
            if members.at - start > MAX_METADATA_NBYTES or count > MAX_METADATA:
                raise ValueError(
                    f"its __metadata__ has more than {MAX_METADATA_NBYTES} bytes or {MAX_METADATA}"
                    " entries, the limits"
                )

    def _add(self, name: str, entry: Any) -> None:
        """Takes in a tensor. Raises Malformed where its entry is wrong."""
        _check_entry(entry, self._nbytes)
        dtype = DTYPES.get(entry["dtype"])
        begin, end = entry["data_offsets"]
        if dtype is None:  # a type younger than this program, which the library may know
            self.unknown = self.unknown or f"{name}: storage type {entry['dtype']} is unknown"
            bits = 8 * (end - begin) // max(1, math.prod(entry["shape"]))
            unmeasured = "this version does not know its type"
            dtype = DType(entry["dtype"], bits, "other", None, unmeasured=unmeasured)
        offset = self._start + begin
        self._tensors.append(
            Tensor(
                name,
                dtype,
                tuple(entry["shape"]),
                self._source,
                offset,
                unmeasured=dtype.unmeasured,
            )
        )
        self._begins.append(begin)
        self._ends.append(end)


def _header(source: FileSource) -> bytearray:
    """The text of the header, bounded before it is read. Raises Malformed."""
    with source.open() as reader:
        if source.nbytes < 8:
            raise Malformed(f"is truncated: {source.nbytes} bytes, no header")
        start = bytearray(min(9, source.nbytes))
        reader.fill(0, memoryview(start))
        nbytes = int.from_bytes(start[:8], "little")
        if start[8:].strip() not in b"{":
            raise Malformed(f"is no safetensors file: it starts with {bytes(start)!r}")
        if nbytes > MAX_HEADER_NBYTES:
            raise Malformed(f"claims a header of {nbytes} bytes, the limit is {MAX_HEADER_NBYTES}")
        if 8 + nbytes > source.nbytes:
            raise Malformed(
                f"is truncated: a header of {nbytes} bytes in a file of {source.nbytes}"
            )
        text = bytearray(nbytes)
        reader.fill(8, memoryview(text))
    return text


def _check_entry(entry: Any, nbytes: int) -> None:
    """Raises Malformed where the entry of a tensor among so many bytes of data is wrong, with its
    numbers; a storage type unknown here may be right."""
    if not isinstance(entry, dict):
        raise Malformed(f"its entry is {in_words(entry)}, not an object")
    for key in ("dtype", "shape", "data_offsets"):
        if key not in entry:
            raise Malformed(f"its entry has no {key}")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str):
        raise Malformed(f"dtype: {in_words(dtype)} is no text")
    for key, counts in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(counts, list):
            raise Malformed(f"{key}: {in_words(counts)} is no list")
        for number in counts:
            if type(number) is not int or not 0 <= number < MAX_COUNT:
                raise Malformed(f"{key}: {in_words(number)} is no count below 2^64")
    if len(offsets) != 2:
        raise Malformed(f"data_offsets: {len(offsets)} numbers, not 2")
    if len(shape) > MAX_DIMENSIONS:
        raise Malformed(f"has {len(shape)} dimensions, the limit is {MAX_DIMENSIONS}")
    begin, end = offsets
    outside = f"offsets {begin}..{end} do not lie in the {nbytes} bytes of data"
    known = DTYPES.get(dtype)
    if begin > end or (known is None and end > nbytes):
        raise Malformed(outside)
    if known is None:
        return
    bits = known.bits * math.prod(shape)
    if bits != 8 * (end - begin):
        needed = f"{bits // 8} bytes" if bits % 8 == 0 else f"{bits} bits"
        if bits // 8 >= MAX_COUNT:
            needed = "more than 2^64 bytes"
        raise Malformed(f"{dtype} {shape} needs {needed}, not {end - begin} bytes")
    if end > nbytes:
        raise _PastEnd(outside, end)
