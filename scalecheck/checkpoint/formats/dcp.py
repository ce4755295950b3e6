"""Folders of torch.distributed.checkpoint: an index, and files in which ranks wrote the pieces of
their tensors. Neither torch nor a process group is needed: the index is read as inert data."""

from contextlib import AbstractContextManager
from os.path import isdir
from pathlib import Path
from typing import TYPE_CHECKING

from scalecheck.checkpoint.distributed.names import SUFFIX, is_folder, is_index, is_of_rank
from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError

if TYPE_CHECKING:
    from scalecheck.checkpoint.state_file import StateFile


def recognises(path: Path, head: bytes) -> Evidence:
    """A folder with an index; its parts are recognised too, to say what to name instead."""
    if head:
        return Evidence.CONTENT if is_index(head) or is_of_rank(path) else Evidence.NONE
    return Evidence.CONTENT if is_folder(path) else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the tensors of a folder, each put together from its pieces.

    Raises CheckpointError where the index or an item is damaged or hostile, where the folder holds
    no model weights, and for a part of a folder.
    """
    from scalecheck.checkpoint.distributed.checkpoint import loaded

    if not isdir(path):
        what = "one rank's file" if path.suffix == SUFFIX else "the index"
        problem = f"is {what} of a distributed checkpoint"
        raise CheckpointError(path, problem, f"name its folder, {path.absolute().parent}")
    return loaded(path)


def opened(path: Path) -> "AbstractContextManager[StateFile]":
    """A folder in which an optimizer state is looked for, whether it holds a model or not. Raises
    CheckpointError as `load` does."""
    from scalecheck.checkpoint.distributed.checkpoint import state_of

    return state_of(path)
