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


def recognises(path: Path, head: bytes) -> bool:
    return path.is_dir()


def load(path: Path) -> Checkpoint:
    """Lists the tensors of the model in a directory.

    Raises CheckpointError where there is none, or where several files could be it.
    """
    files = sorted(file for file in path.iterdir() if file.is_file())
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
        names = [file.name for file in files]
        held = f"{len(names)} files: {', '.join(names[:3])}" if names else "no file"
        raise CheckpointError(path, f"holds no checkpoint ({held})")
    is_index = found[0].name.endswith(".index.json")
    if len(found) > 1 and (is_index or found[0].suffix not in {".safetensors", ".bin"}):
        names = [file.name for file in found]
        raise CheckpointError(path, f"holds {len(found)} checkpoints, name one: {', '.join(names)}")
    checkpoint = open_checkpoint(found[0]) if len(found) == 1 else join(path, found)
    beside = [file.name for file in files if file.name in _BESIDE]
    notes = (f"beside the model, not inspected: {', '.join(beside)}",) if beside else ()
    return replace(checkpoint, path=path, notes=(*checkpoint.notes, *notes))
