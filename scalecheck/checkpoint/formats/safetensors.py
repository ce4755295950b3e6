"""safetensors files. The safetensors library judges the header; the bytes are read by position,
since the library's numpy face has neither BF16 nor FP8."""

import json
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from scalecheck.checkpoint.dtypes import DTYPES, DType
from scalecheck.checkpoint.tensor import Checkpoint, Source, Tensor
from scalecheck.errors import CheckpointError

MAX_HEADER_NBYTES = 100_000_000  # the library's own limit, kept here so that nothing larger is read


def recognises(path: Path, head: bytes) -> bool:
    """A header of JSON behind its length; or the name, so that a damaged file is named as one."""
    return head[8:9] == b"{" or path.suffix == ".safetensors"


def load(path: Path) -> Checkpoint:
    """Lists the tensors in the order of their bytes. Raises CheckpointError on a bad header."""
    source = Source.of(path)
    header, start = _header(source)
    metadata = header.pop("__metadata__", {})
    try:
        with safe_open(path, framework="numpy") as file:
            names = file.offset_keys()
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            path, _culprit(header, source.nbytes - start) or str(error)
        ) from error
    return Checkpoint(
        path,
        "safetensors",
        tuple(_tensor(name, header[name], source, start) for name in names),
        metadata,
    )


def _tensor(name: str, entry: dict[str, Any], source: Source, start: int) -> Tensor:
    dtype = DTYPES.get(entry["dtype"])
    if dtype is None:  # a type younger than this program, which the library knows
        begin, end = entry["data_offsets"]
        bits = 8 * (end - begin) // max(1, math.prod(entry["shape"]))
        dtype = DType(entry["dtype"], bits, "other", None, "this version does not know its type")
    return Tensor(
        name,
        dtype,
        tuple(entry["shape"]),
        source,
        start + entry["data_offsets"][0],
        unmeasured=dtype.unmeasured,
    )


def _header(source: Source) -> tuple[dict[str, Any], int]:
    """The header's entries by name and the byte at which the data starts."""
    with source.open() as reader:
        if source.nbytes < 8:
            raise CheckpointError(source.path, f"is truncated: {source.nbytes} bytes, no header")
        length = bytearray(8)
        reader.fill(0, memoryview(length))
        nbytes = int.from_bytes(length, "little")
        if nbytes > MAX_HEADER_NBYTES:
            raise CheckpointError(
                source.path,
                f"claims a header of {nbytes} bytes, the limit is {MAX_HEADER_NBYTES}",
            )
        if 8 + nbytes > source.nbytes:
            raise CheckpointError(
                source.path,
                f"is truncated: a header of {nbytes} bytes in a file of {source.nbytes}",
            )
        text = bytearray(nbytes)
        reader.fill(8, memoryview(text))
    try:
        header = json.loads(text.decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(source.path, f"has a bad header: {error}") from error
    if not isinstance(header, dict):
        raise CheckpointError(source.path, "has a header that is no JSON object")
    return header, 8 + nbytes


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice} is there {names.count(twice)} times")
    return entries


def _culprit(header: dict[str, Any], nbytes: int) -> str | None:
    """The first entry that the library can have refused the file for, said with its numbers."""
    ranges = []
    for name, entry in header.items():
        try:
            dtype, shape = entry["dtype"], entry["shape"]
            begin, end = entry["data_offsets"]
            if begin > end or end > nbytes:
                return f"{name}: offsets {begin}..{end} do not lie in the {nbytes} bytes of data"
            if dtype not in DTYPES:
                return f"{name}: storage type {dtype} is unknown"
            expected = DTYPES[dtype].bits
            for size in shape:
                expected *= size
            if expected != 8 * (end - begin):
                return f"{name}: {dtype} {shape} needs {expected / 8:.15g} bytes, not {end - begin}"
        except (KeyError, TypeError, ValueError):
            return f"{name}: dtype, shape and data_offsets are not all there"
        ranges.append((begin, end, name))
    at = 0
    for begin, end, name in sorted(ranges):
        if begin != at:
            matter = "overlaps the tensor before" if begin < at else "leaves a hole before it"
            return f"{name}: offset {begin} {matter}, which ends at {at}"
        at = end
    if at != nbytes:
        return f"{nbytes - at} of {nbytes} bytes of data belong to no tensor"
    return None
