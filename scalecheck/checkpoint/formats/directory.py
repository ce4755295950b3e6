"""A directory as training libraries leave it: the model's files are found, the others named."""

from dataclasses import replace
from pathlib import Path

from scalecheck.checkpoint.formats.shard_index import join
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError

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

# What trainers write beside a model, by the name they give it.
_BESIDE = {
    "optimizer.pt",
    "optimizer.bin",
    "optimizer.safetensors",
    "scheduler.pt",
    "scheduler.bin",
    "scaler.pt",
    "training_args.bin",
}

_NAMED = 5  # files, as many as fit on a line


def recognises(path: Path, head: bytes) -> bool:
    return path.is_dir()


def load(path: Path) -> Checkpoint:
    """Lists the tensors of the model in a directory.

    Raises CheckpointError where there is none, or where several files could be it.
    """
    # What cannot be read, such as a link to nothing, is not passed over: it may be the model.
    files = sorted(file for file in path.iterdir() if not file.is_dir())
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
        held = f"{len(files)} files: {_listed(files)}" if files else "0 files"
        raise CheckpointError(path, f"holds no checkpoint ({held})")
    is_index = found[0].name.endswith(".index.json")
    if len(found) > 1 and (is_index or found[0].suffix not in {".safetensors", ".bin"}):
        raise CheckpointError(path, f"holds {len(found)} checkpoints, name one: {_listed(found)}")
    checkpoint = open_checkpoint(found[0]) if len(found) == 1 else join(path, found)
    beside = [file.name for file in files if file.name in _BESIDE]
    notes = (f"beside the model, not inspected: {', '.join(beside)}",) if beside else ()
    return replace(checkpoint, path=path, notes=(*checkpoint.notes, *notes))


def _listed(files: list[Path]) -> str:
    more = len(files) - _NAMED
    names = ", ".join(file.name for file in files[:_NAMED])
    return names + (f" and {more} more" if more > 0 else "")
