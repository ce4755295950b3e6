"""The tensors of a folder of torch.distributed.checkpoint: which are the model's, which its
optimizer's, and what lies beside them."""

from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from scalecheck.checkpoint.distributed.folder import Saved, read_folder
from scalecheck.checkpoint.distributed.index import read_index
from scalecheck.checkpoint.malformed import Malformed, content_of
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.state_dict import Parts, parts
from scalecheck.checkpoint.pickle.tree import Tree
from scalecheck.checkpoint.state_file import StateFile, opened
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.report.formatting import excerpt, listed, plural

INDEX = ".metadata"


def loaded(path: Path) -> Checkpoint:
    """Lists the tensors of a folder. Raises CheckpointError."""
    saved = _saved(path)
    with content_of(path):
        tree = Tree(saved.root)
        named = parts(tree)
        if not named.has_weights:
            count = len(named.optimizer) + len(named.rows)
            raise Malformed(
                f"holds an optimizer state of {count} tensors and no model weights"
                if count
                else "holds no tensor"
            )
        return Checkpoint(
            path,
            "dcp",
            _tensors(named.rows),
            non_model=named.non_model,
            optimizer=_tensors(named.optimizer),
            notes=(*_notes(saved, named),),
            layout=(*_layout(path, saved),),
            in_order=named.in_order and _is_of_one_rank(saved),
            tree=saved.root,
        )


def state_of(path: Path) -> AbstractContextManager[StateFile]:
    """A folder in which an optimizer state is looked for. Raises CheckpointError."""
    return opened(path, _saved(path).root)


def _saved(path: Path) -> Saved:
    index = read_index(path / INDEX)
    with content_of(path):
        return read_folder(path, index)


def _tensors(named: Iterable[tuple[str, TensorRecord]]) -> tuple[Tensor, ...]:
    return tuple(
        replace(record.made, name=name) for name, record in named if record.made is not None
    )


def _is_of_one_rank(saved: Saved) -> bool:
    """Whether one rank wrote all files, which lists its tensors in its own order."""
    return len({file.rpartition("_")[0] for file in saved.files}) == 1


def _notes(saved: Saved, named: Parts) -> list[str]:
    notes = []
    if named.optimizer:
        count = len(named.optimizer)
        notes.append(f"holds an optimizer state of {count} tensors too, not inspected")
    return notes


def _layout(path: Path, saved: Saved) -> list[str]:
    return []
