"""A path to a checkpoint: which format it holds, told by its content."""

from pathlib import Path

from scalecheck import registry
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError, reason

_HEAD_NBYTES = 512

# What people hand over by mistake, by the first bytes of the file.
_FOREIGN = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file: run `git lfs pull`"),
    (b"GGUF", "is a GGUF file, which this version does not read"),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, which this version does not read"),
    (b"\x93NUMPY", "is a NumPy array file, which this version does not read"),
    (b"\x1f\x8b", "is compressed with gzip: unpack it first"),
    (b"<!doctype", "is a web page, not a checkpoint"),
    (b"<!DOCTYPE", "is a web page, not a checkpoint"),
    (b"<html", "is a web page, not a checkpoint"),
)


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Lists the tensors of a checkpoint file, shard index or directory; reads none of them.

    Raises CheckpointError where the path is missing, out of reach, damaged or no checkpoint.
    """
    path = Path(path)
    head = b""
    try:
        if not path.is_dir():
            if path.exists() and not path.is_file():
                raise CheckpointError(path, "is neither a file nor a directory")
            with path.open("rb") as file:
                head = file.read(_HEAD_NBYTES)
            if not head:
                raise CheckpointError(path, "is empty (0 bytes)")
        for magic, problem in _FOREIGN:
            if head.startswith(magic):
                raise CheckpointError(path, f"{problem} ({path.stat().st_size} bytes)")
        for name in registry.names("format"):
            module = registry.load("format", name)
            if module.recognises(path, head):
                checkpoint: Checkpoint = module.load(path)
                return checkpoint
    except OSError as error:
        problem = reason(error)
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            problem = f"is a link to {path.readlink()}, which does not exist"
        raise CheckpointError(path, problem) from error
    except ValueError as error:  # a path with a NUL byte
        raise CheckpointError(path, str(error)) from error
    raise CheckpointError(path, f"is no checkpoint: it starts with {head[:8]!r}")
