"""A directory as training libraries leave it: the model's files are found, the others named."""

import re
from dataclasses import replace
from os.path import isdir, lexists
from pathlib import Path

from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.formats.shard_index import join
from scalecheck.checkpoint.open import open_part
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import listed

# The first pattern that matches is the model; an index before the shards it lists, safetensors
# before the pickles that many directories hold beside them.
_MODEL = (
    "*.safetensors.index.json",
    "model.safetensors",
    "*.safetensors",
    "*.bin.index.json",
    "pytorch_model*.bin",
    "*.bin",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.pth.tar",
)

# As Hugging Face's Trainer and Accelerate name an optimizer state, and the model beside it.
_OPTIMIZERS = ("optimizer.pt", "optimizer.bin")
_MODELS = re.compile(r"(adapter_|pytorch_)?model\.(safetensors|bin)(\.index\.json)?")

# What trainers write beside a model, by the name they give it.
_BESIDE = {
    *_OPTIMIZERS,
    "optimizer.safetensors",
    "scheduler.pt",
    "scheduler.bin",
    "scaler.pt",
    "training_args.bin",
}

_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".tar"}
_SHARD = re.compile(r".*-(\d{1,6})-of-(\d{1,6})")  # as libraries number the shards of a model
_MOST_SHARDS = 10_000  # of which the missing ones are sought


def recognises(path: Path, head: bytes) -> Evidence:
    return Evidence.CONTENT if path.is_dir() else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the tensors of the model in a directory.

    Raises CheckpointError where there is none, or where several files could be it.
    """
    # What cannot be read, such as a link to nothing, is not passed over: it may be the model.
    entries = sorted(path.iterdir())
    files = [entry for entry in entries if not entry.is_dir()]
    for pattern in _MODEL:
        found = [
            file
            for file in files
            if file.match(pattern)
            and file.name not in _BESIDE
            and not file.name.startswith("rng_state")
        ]
        if found:
            break
    else:
        held = f"{len(entries)} entries: {_listed(entries)}" if entries else "0 files"
        raise CheckpointError(path, f"holds no checkpoint ({held})")
    is_index = found[0].name.endswith(".index.json")
    if len(found) > 1 and (is_index or found[0].suffix not in {".safetensors", ".bin"}):
        raise CheckpointError(path, f"holds {len(found)} checkpoints, name one: {_listed(found)}")
    _check_complete(path, found)
    checkpoint = open_part(found[0]) if len(found) == 1 else join(path, found)
    notes = list(checkpoint.notes)
    if len(found) > 1 and not _SHARD.fullmatch(found[0].stem):
        notes.append(f"joined as one model: {_listed(found)}")
    read = {path / tensor.source.path.name for tensor in checkpoint.tensors}
    beside = [file for file in files if file.suffix in _WEIGHTS and file not in read]
    if beside:
        notes.append(f"beside the model, not inspected: {_listed(beside)}")
    return replace(checkpoint, path=path, notes=tuple(notes))


def optimizer_beside(model: Path) -> Path | None:
    """The optimizer state that a trainer wrote into the directory of a model, told by the names of
    both; None where there is none. Raises CheckpointError where there are two, or no file."""
    folder = model if isdir(model) else model.parent
    if folder != model and not _MODELS.fullmatch(model.name):
        return None
    found = [folder / name for name in _OPTIMIZERS if lexists(folder / name)]
    if len(found) > 1:
        raise CheckpointError(folder, f"holds 2 optimizer states, name one: {_listed(found)}")
    if found and isdir(found[0]):
        raise CheckpointError(found[0], "is a directory, where an optimizer state should be")
    return found[0] if found else None


def _check_complete(path: Path, shards: list[Path]) -> None:
    """Raises CheckpointError where the names of shards count more of them than there are."""
    numbers = [match for shard in shards if (match := _SHARD.fullmatch(shard.stem))]
    if not numbers:
        return
    total = int(numbers[0][2])
    missing = sorted(set(range(1, min(total, _MOST_SHARDS) + 1)) - {int(m[1]) for m in numbers})
    if missing:
        raise CheckpointError(
            path, f"{len(missing)} of {total} shards missing: number {missing[0]} is the first"
        )


def _listed(entries: list[Path]) -> str:
    return listed([entry.name + "/" * entry.is_dir() for entry in entries])
