"""What a format is: a file in this folder, which recognises a path and lists its tensors."""

from enum import IntEnum
from pathlib import Path
from typing import Protocol

from scalecheck.checkpoint.tensor import Checkpoint

HEAD_NBYTES = 512


class Evidence(IntEnum):
    """How well a path shows that it is of a format."""

    NONE = 0
    NAME = 1  # by its name alone: a damaged file is refused as what it is called
    CONTENT = 2  # by its first bytes


class Format(Protocol):
    """What a module of this folder has."""

    def recognises(self, path: Path, head: bytes) -> Evidence:
        """How well a path shows that it is of this format; `head` is its first HEAD_NBYTES, empty
        for a directory. Raises nothing."""
        ...

    def load(self, path: Path) -> Checkpoint:
        """Lists the tensors and reads none of them. Raises CheckpointError where the file is
        damaged or hostile, and lets an OSError through."""
        ...
