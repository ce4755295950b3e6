"""A shard index (`*.index.json`, of a variant `*.index.fp16.json`): which file of its directory
holds which tensor."""

import re
from collections.abc import Iterable
from dataclasses import replace
from os.path import exists
from pathlib import Path

from scalecheck.checkpoint.files.strict_json import in_words, parsed, text_of
from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.open import open_part
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError, Fix

MAX_INDEX_NBYTES = 32_000_000  # a hundred bytes a tensor; the largest models have 140,000
MAX_INDEX_VALUES = 500_000

_NAME = re.compile(r".*\.index(?:\.[^.]+)?\.json", re.DOTALL)


def recognises(path: Path, head: bytes) -> Evidence:
    """The name says it, as it does for the libraries that write one."""
    return Evidence.NAME if _NAME.fullmatch(path.name) else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Joins the shards that an index names, in the order of their names.

    Raises CheckpointError where the index is damaged, a shard is missing, or a shard lacks a tensor
    the index names in it.
    """
    files = _weight_map(path)
    shards = sorted(set(files.values()))
    missing = [shard for shard in shards if not exists(path.parent / shard)]
    if missing:
        raise CheckpointError(
            path, f"{len(missing)} of {len(shards)} shards missing: {_some(missing)}"
        )
    checkpoint = join(path, [open_shard(path.parent / shard) for shard in shards])
    held = {(tensor.name, tensor.source.path.name) for tensor in checkpoint.tensors}
    lacking = [f"{name} in {file}" for name, file in files.items() if (name, file) not in held]
    if lacking:
        raise CheckpointError(
            path,
            f"{len(lacking)} of {len(files)} tensors not where the index has them:"
            f" {_some(lacking)}",
        )
    tensors = tuple(
        tensor
        if tensor.name in files
        else replace(tensor, unmeasured=f"in {tensor.source.path.name} but not in the index")
        for tensor in checkpoint.tensors
    )
    return replace(checkpoint, tensors=tensors)


def _weight_map(path: Path) -> dict[str, str]:
    """The shard's file name of each tensor, every one a plain name beside the index."""
    text = text_of(path, MAX_INDEX_NBYTES)
    if text is None:
        raise CheckpointError(path, f"is an index of over {MAX_INDEX_NBYTES} bytes, the limit")
    try:
        index = parsed(text, MAX_INDEX_VALUES)
    except ValueError as error:
        raise CheckpointError(path, f"has bad JSON in {len(text)} bytes: {error}") from error
    files = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(files, dict):
        raise CheckpointError(path, "has no weight_map from tensors to files")
    if not files:
        raise CheckpointError(path, "names no tensor: its weight_map is empty")
    for name, file in files.items():
        if not isinstance(file, str):
            raise CheckpointError(path, f"{name}: shard {in_words(file)} is no file name")
        if Path(file).name != file or file in {"", ".", ".."}:
            raise CheckpointError(path, f"{name}: shard {file!r} is not beside the index")
    return files


def join(path: Path, parts: Iterable[Checkpoint]) -> Checkpoint:
    """One checkpoint of several. Raises CheckpointError where two hold the same name."""
    parts = [*parts]
    held: dict[str, Path] = {}
    for part in parts:
        for tensor in part.tensors:
            if tensor.name in held:
                first = held[tensor.name]
                problem = f"{tensor.name} is in {first.name} and in {part.path.name}"
                fix = Fix(str(first), str(path))
                raise CheckpointError(path, problem, "one of them", fix)
            held[tensor.name] = part.path
    formats = sorted({part.format for part in parts})
    shape = f", {len(parts)} shards" if len(parts) > 1 else ""
    return Checkpoint(
        path,
        " and ".join(formats) + shape,
        tuple(tensor for part in parts for tensor in part.tensors),
        {key: text for part in parts for key, text in part.metadata.items()},
        frozenset(name for part in parts for name in part.non_model),
        tuple(tensor for part in parts for tensor in part.optimizer),
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        in_order=len(parts) == 1 and parts[0].in_order,
        layout=tuple(dict.fromkeys(note for part in parts for note in part.layout)),
    )


def renamed(part: Checkpoint, prefix: str) -> Checkpoint:
    """The checkpoint with its names, and its notes, under a prefix such as `unet/`."""
    if not prefix:
        return part
    tensors, optimizer = (
        tuple(
            replace(
                tensor,
                name=prefix + tensor.name,
                tied_to=None if tensor.tied_to is None else prefix + tensor.tied_to,
            )
            for tensor in tensors
        )
        for tensors in (part.tensors, part.optimizer)
    )
    return replace(
        part,
        tensors=tensors,
        optimizer=optimizer,
        non_model=frozenset(prefix + name for name in part.non_model),
        notes=tuple(f"{prefix.removesuffix('/')}: {note}" for note in part.notes),
        layout=tuple(f"{prefix.removesuffix('/')}: {note}" for note in part.layout),
    )


def open_shard(shard: Path) -> Checkpoint:
    """A shard opened; one that is an index or a directory could lead back here without end."""
    if shard.is_dir() or _NAME.fullmatch(shard.name):
        kind = "a directory" if shard.is_dir() else "an index"
        raise CheckpointError(shard, f"is {kind}, where a shard should be")
    return open_part(shard)


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
