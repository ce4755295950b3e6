"""Folders of torch.distributed.checkpoint: an index, and files in which ranks wrote the pieces of
their tensors. Neither torch nor a process group is needed: the index is read as inert data."""

from os.path import isfile
from pathlib import Path

from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError

_INDEX = ".metadata"


def recognises(path: Path, head: bytes) -> Evidence:
    """A folder with an index; its parts are recognised too, to say what to name instead."""
    if head:
        is_part = path.suffix == ".distcp" or (path.name == _INDEX and head[:1] == b"\x80")
        return Evidence.CONTENT if is_part else Evidence.NONE
    return Evidence.CONTENT if isfile(path / _INDEX) else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the tensors of a folder, each put together from its pieces.

    Raises CheckpointError where the index or an item is damaged or hostile, where the folder holds
    no model weights, and for a part of a folder.
    """
    from scalecheck.checkpoint.distributed.checkpoint import loaded

    if not path.is_dir():
        what = "the index" if path.name == _INDEX else "one rank's file"
        problem = f"is {what} of a distributed checkpoint"
        raise CheckpointError(path, problem, f"name its folder, {path.absolute().parent}")
    return loaded(path)
