"""The safetensors files of ranks that torch's HuggingFaceStorageWriter leaves where it does not put
them together: the same names in each, and in the metadata where each piece starts."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.files.strict_json import parsed
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.pieces import Piece, joined
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.report.formatting import excerpt, plural

SHARDED = "sharded"  # the folder of the pieces beside a model that was put together
_KEY, _START = "DCP_SHARDING_INFO", "saved_offsets"
_MAX_VALUES = 400_000  # some four a tensor
_SHARD = re.compile(r"shard-\d{1,9}-model-\d{1,9}-of-\d{1,9}\.safetensors")


def are_pieces(files: Sequence[str]) -> bool:
    """Whether all files are named as those of ranks are."""
    return bool(files) and all(map(_SHARD.fullmatch, files))


def put_together(path: Path, parts: Sequence[Checkpoint]) -> Checkpoint:
    """One checkpoint of the files of ranks. The shape of a tensor is as far as its pieces reach.

    Raises CheckpointError where they overlap, and where a file does not say where its pieces lie.
    """
    pieces: dict[str, list[Piece]] = {}
    with content_of(path):
        for part in parts:
            starts = _starts(part)
            for tensor in part.tensors:
                start = _start(tensor, starts)
                pieces.setdefault(tensor.name, []).append(Piece(start, replace(tensor, piece=None)))
        tensors = [joined(name, _shape(own), own, path) for name, own in pieces.items()]
    metadata = {k: text for part in parts for k, text in part.metadata.items() if k != _KEY}
    form = f"safetensors-dcp, {plural(len(parts), 'file')} of ranks"
    return Checkpoint(path, form, (*tensors,), metadata)


def _starts(part: Checkpoint) -> dict[str, Any]:
    text = part.metadata.get(_KEY)
    if text is None:
        raise Malformed(f"{part.path.name} has no {_KEY} that says where its pieces lie")
    try:
        starts = parsed(text.encode(), _MAX_VALUES)
    except ValueError as error:
        raise Malformed(f"{part.path.name} has a bad {_KEY}: {error}") from error
    if not isinstance(starts, dict):
        raise Malformed(f"{part.path.name} has a {_KEY} that is no object")
    return starts


def _start(tensor: Tensor, starts: dict[str, Any]) -> tuple[int, ...]:
    entry = starts.get(tensor.name)
    start = entry.get(_START) if isinstance(entry, dict) else None
    if (
        not isinstance(start, list)
        or len(start) != len(tensor.shape)
        or not all(type(at) is int and 0 <= at < 1 << 62 for at in start)
    ):
        file = tensor.source.path.name
        raise Malformed(f"{excerpt(tensor.name)}: {file} does not say where its piece starts")
    return (*start,)


def _shape(pieces: Sequence[Piece]) -> tuple[int, ...]:
    ends = [
        [at + n for at, n in zip(p.start, p.tensor.shape, strict=True)]
        for p in pieces
        if len(p.start) == len(pieces[0].start)
    ]
    return tuple(map(max, zip(*ends, strict=True)))
