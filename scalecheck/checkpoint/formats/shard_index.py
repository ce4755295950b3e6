"""A shard index (`*.index.json`): which file of its directory holds which tensor."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError

MAX_INDEX_NBYTES = 100_000_000  # a hundred bytes a tensor: a million tensors


def recognises(path: Path, head: bytes) -> bool:
    """The name says it, as it does for the libraries that write one."""
    return path.name.endswith(".index.json")


def load(path: Path) -> Checkpoint:
    """Joins the shards that an index names, in the order of their names.

    Raises CheckpointError where the index is damaged, a shard is missing, or a shard lacks a tensor
    the index names in it.
    """
    nbytes = path.stat().st_size
    if nbytes > MAX_INDEX_NBYTES:
        raise CheckpointError(path, f"has {nbytes} bytes, an index has {MAX_INDEX_NBYTES} at most")
    try:
        weight_map = json.loads(path.read_bytes())["weight_map"]
        files = {name: str(file) for name, file in weight_map.items()}
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, f"is not JSON: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(path, "has no weight_map from tensors to files") from error
    if not files:
        raise CheckpointError(path, "names no tensor")
    for name, file in files.items():
        if Path(file).name != file or file in {"", ".", ".."}:
            raise CheckpointError(path, f"{name}: shard {file!r} is not beside the index")
    shards = sorted(set(files.values()))
    missing = [shard for shard in shards if not (path.parent / shard).exists()]
    if missing:
        raise CheckpointError(path, f"{_some(missing)} of {len(shards)} shards missing")
    checkpoint = join(path, [path.parent / shard for shard in shards])
    held = {(tensor.name, tensor.source.path.name) for tensor in checkpoint.tensors}
    lacking = [name for name, file in files.items() if (name, file) not in held]
    if lacking:
        raise CheckpointError(
            path, f"{_some(lacking)} not in {files[lacking[0]]}, where the index has it"
        )
    tensors = tuple(
        tensor
        if tensor.name in files
        else replace(tensor, unmeasured=f"in {tensor.source.path.name} but not in the index")
        for tensor in checkpoint.tensors
    )
    return replace(checkpoint, tensors=tensors)


def join(path: Path, shards: Iterable[Path]) -> Checkpoint:
    """One checkpoint of several files. Raises CheckpointError where two hold the same name."""
    parts = [open_checkpoint(shard) for shard in shards]
    held: dict[str, Path] = {}
    for part in parts:
        for tensor in part.tensors:
            if tensor.name in held:
                raise CheckpointError(
                    path, f"{tensor.name} is in {held[tensor.name].name} and in {part.path.name}"
                )
            held[tensor.name] = part.path
    formats = sorted({part.format for part in parts})
    shape = f", {len(parts)} shards" if len(parts) > 1 else ""
    return Checkpoint(
        path,
        " and ".join(formats) + shape,
        tuple(tensor for part in parts for tensor in part.tensors),
        {key: text for part in parts for key, text in part.metadata.items()},
        tuple(tensor for part in parts for tensor in part.optimizer),
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
