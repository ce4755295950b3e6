"""What an optimizer state is read from: a tree of dicts, lists, numbers and tensors, whatever the
file's format is."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from scalecheck.checkpoint.malformed import content_of
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.torch_dtypes import dtype_of
from scalecheck.checkpoint.source import FileSource, Readers
from scalecheck.checkpoint.tensor import Tensor


class StateFile(Protocol):
    """A file or folder that is open: `root` is the tree that it holds, with a TensorRecord for each
    tensor; `readers` are for their elements."""

    @property
    def path(self) -> Path: ...

    @property
    def root(self) -> object: ...

    @property
    def readers(self) -> Readers: ...

    def tensor(self, name: str, record: TensorRecord) -> Tensor:
        """The tensor of a record. Raises CheckpointError where its elements are not there."""
        ...

    def is_of(self, model: Iterable[Tensor]) -> bool:
        """Whether it holds some of a model's tensors too."""
        ...


def recorded(tensor: Tensor) -> TensorRecord:
    """The record of a tensor of another format than torch's, for a tree that `opened` takes."""
    return TensorRecord(tensor.dtype.torch or tensor.dtype.name, tensor.shape, made=tensor)


def made_of(record: TensorRecord, name: str, path: Path) -> Tensor:
    """The tensor of a record by `recorded`, under a name. That of numbers inside an object, such as
    a numpy array in a pickle, is not measured."""
    if record.made is not None:
        return replace(record.made, name=name)
    why = record.unmeasured or "its numbers lie inside a pickled object, and are not read"
    source = FileSource(path, 0, 0, 0)
    return Tensor(name, dtype_of(record.dtype), record.shape, source, 0, unmeasured=why)


@dataclass(frozen=True)
class _Listed:
    """A tree whose tensors are listed already."""

    path: Path
    root: object
    readers: Readers

    def tensor(self, name: str, record: TensorRecord) -> Tensor:
        return made_of(record, name, self.path)

    def is_of(self, model: Iterable[Tensor]) -> bool:
        return True


@contextmanager
def opened(path: Path, root: object) -> Iterator[StateFile]:
    """The tree of a checkpoint that is no torch file, its tensors by `recorded`; a Malformed of the
    body is a CheckpointError."""
    with content_of(path), Readers() as readers:
        yield _Listed(path, root, readers)
