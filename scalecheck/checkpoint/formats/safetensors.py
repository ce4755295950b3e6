"""safetensors files. The header is judged here, to say what is wrong with its numbers, and by the
safetensors library; the bytes are read by position, since the library's numpy face has neither BF16
nor FP8."""

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.mlx_state import saved_by_mlx
from scalecheck.checkpoint.source import FileSource
from scalecheck.checkpoint.strict_json import in_words, parsed, require_few
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS, MAX_NAME, Checkpoint, Tensor
from scalecheck.dtypes import DTYPES, DType

MAX_HEADER_NBYTES = 16_000_000  # some 100 a tensor; the library's own limit is 100 million
MAX_HEADER_VALUES = 400_000  # some 8 a tensor; each is a few Python objects
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
        tensors, metadata = _listed(source)
        return Checkpoint(path, "safetensors", tensors, metadata, tree=saved_by_mlx(tensors))


def _listed(source: FileSource) -> tuple[tuple[Tensor, ...], dict[str, str]]:
    """The tensors and the metadata. Raises Malformed on a bad header."""
    text = _header(source)
    bad = f"has a bad header of {len(text)} bytes"
    refusal = ""
    try:
        require_few(text, MAX_HEADER_VALUES)
        # The library maps the file, which a limit on address space can forbid.
        with suppress(MemoryError), safe_open(source.path, framework="numpy"):
            pass
    except ValueError as error:
        raise Malformed(f"{bad}: {error}") from error
    except (SafetensorError, OSError) as error:
        refusal = str(error).removeprefix("Error while deserializing header: ")
    source.open().close()  # the library read what was read here
    try:
        header = parsed(text)
    except ValueError as error:
        raise Malformed(f"{bad}: {error}") from error
    start = 8 + len(text)
    _check(header, source.nbytes - start, bool(refusal))
    if refusal:
        raise Malformed(f"{bad}: {refusal}")
    metadata = header.pop("__metadata__", None) or {}
    if not header:
        raise Malformed(f"holds no tensor: a header of {len(text)} bytes names none")
    names = sorted(header, key=lambda name: header[name]["data_offsets"])
    return tuple(_tensor(name, header[name], source, start) for name in names), metadata


def _tensor(name: str, entry: dict[str, Any], source: FileSource, start: int) -> Tensor:
    dtype = DTYPES.get(entry["dtype"])
    begin, end = entry["data_offsets"]
    if dtype is None:  # a type younger than this program, which the library knows
        bits = 8 * (end - begin) // max(1, math.prod(entry["shape"]))
        unmeasured = "this version does not know its type"
        dtype = DType(entry["dtype"], bits, "other", None, unmeasured=unmeasured)
    shape = tuple(entry["shape"])
    return Tensor(name, dtype, shape, source, start + begin, unmeasured=dtype.unmeasured)


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


def _check(header: Any, nbytes: int, refused: bool) -> None:
    """Raises Malformed where a header over so many bytes of data is wrong, with its numbers. A
    storage type unknown here is a problem only where the library refused the file too."""
    if not isinstance(header, dict):
        raise Malformed(f"has a header that is {in_words(header)}, not an object")
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict | None):
        raise Malformed(f"__metadata__ is {in_words(metadata)}, not an object")
    for key, words in (metadata or {}).items():
        if not isinstance(words, str):
            raise Malformed(f"__metadata__: {key} is {in_words(words)}, not text")
    ranges = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if len(name) > MAX_NAME:
            raise Malformed(
                f"{name[:32]}…: a name of {len(name)} characters, the limit is {MAX_NAME}"
            )
        try:
            _check_entry(entry, nbytes, refused)
        except Malformed as error:
            raise Malformed(f"{name}: {error}") from error
        ranges.append((*entry["data_offsets"], name))
    at = 0
    for begin, end, name in sorted(ranges):
        if begin != at:
            matter = "overlaps" if begin < at else "leaves a hole after"
            raise Malformed(
                f"{name}: offset {begin} {matter} the tensor before, which ends at {at}"
            )
        at = end
    if at != nbytes:
        raise Malformed(f"{nbytes - at} of {nbytes} bytes of data belong to no tensor")


def _check_entry(entry: Any, nbytes: int, refused: bool) -> None:
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
    if begin > end or end > nbytes:
        raise Malformed(f"offsets {begin}..{end} do not lie in the {nbytes} bytes of data")
    known = DTYPES.get(dtype)
    if known is None:
        if refused:
            raise Malformed(f"storage type {dtype} is unknown")
        return
    bits = known.bits * math.prod(shape)
    if bits != 8 * (end - begin):
        needed = f"{bits // 8} bytes" if bits % 8 == 0 else f"{bits} bits"
        if bits // 8 >= MAX_COUNT:
            needed = "more than 2^64 bytes"
        raise Malformed(f"{dtype} {shape} needs {needed}, not {end - begin} bytes")
