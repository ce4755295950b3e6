"""The optimizer state at a path or with a checkpoint, found by content wherever a trainer keeps it.
torch is not needed."""

from collections.abc import Sequence
from dataclasses import replace
from os.path import isdir, isfile
from pathlib import Path

from scalecheck.checkpoint.formats import torch
from scalecheck.checkpoint.formats.contract import HEAD_NBYTES
from scalecheck.checkpoint.formats.directory import optimizer_beside
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.optimizer_state import OptimizerState, StateLayout, StateReader, Table
from scalecheck.checkpoint.pickle.contents import (
    Child,
    RepeatBudget,
    contents_of,
    optimizer_table,
    path_of,
    walk,
)
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.state_dict import described
from scalecheck.checkpoint.pickle.tree import MAX_DEPTH, Tree
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import excerpt, listed

_INNER = ("base", "base_optimizer")  # where Lookahead, SAM, Magma keep the optimizer that they lead


def open_state(path: str | Path, layout: StateLayout) -> OptimizerState:
    """The optimizer state in a file that holds nothing else, in a training file, or beside a model
    as Hugging Face's Trainer leaves it. Of its tensors only those of one number are read.

    Raises CheckpointError where there is none, where there are several, and where it is damaged or
    contradicts itself.
    """
    path = Path(path)
    if (isdir(path) or isfile(path)) and (beside := optimizer_beside(path)):
        return open_state(beside, layout)
    if isfile(path) and torch.recognises(path, _head(path)):
        with torch.unpickled(path) as file:
            if state := _state_in(file, layout):
                return state
            raise Malformed(f"has no optimizer state and {_content(file.pickled.root)}")
    checkpoint = open_checkpoint(path)  # which says what is wrong with a path or a file
    if state := find_state(checkpoint, layout):
        return state
    tensors = len(checkpoint.tensors)
    raise CheckpointError(path, f"has no optimizer state and holds {tensors} tensors")


def find_state(checkpoint: Checkpoint, layout: StateLayout) -> OptimizerState | None:
    """The optimizer state that was saved with a checkpoint: beside the model as Hugging Face's
    Trainer lays them out, or in the same training file. None where there is none.

    Raises CheckpointError as `open_state` does.
    """
    if beside := optimizer_beside(checkpoint.path):
        return open_state(beside, layout)
    files = {tensor.source.path for tensor in checkpoint.tensors}
    if len(files) == 1 and checkpoint.format in ("torch-zip", "torch-legacy"):
        with torch.unpickled(*files) as file:
            return _state_in(file, layout)
    return None


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_NBYTES)
    except OSError:
        return b""


def _content(root: object) -> str:
    """What a file without an optimizer state holds instead."""
    tensors = Tree(root).tensors(root)
    if not tensors:
        return described(root)
    if any(one.is_beside for one in tensors):
        return f"holds {len(tensors)} tensors, some under an optimizer's name without param_groups"
    return f"holds {len(tensors)} tensors"


def _state_in(file: torch.Unpickled, layout: StateLayout) -> OptimizerState | None:
    """The one optimizer state of a file. Raises Malformed, CheckpointError."""
    found = _places(file.pickled.root)
    if not found:
        return None
    places = [excerpt(".".join(path)) for path, _ in found]
    if len(found) > 1:
        raise Malformed(f"holds {len(found)} optimizer states: {listed(places)}")
    [at], [(path, table)] = places, found
    state = StateReader(file, at, layout).read(table)
    is_inner = not {*path[-1:], *table}.isdisjoint(_INNER)
    return replace(state, is_inner=is_inner)


def _places(root: object) -> list[tuple[tuple[str, ...], Table]]:
    """Every `state` and `param_groups` that lie side by side, with the path to them, in the order
    of the file; what is held twice counts once."""
    found: list[tuple[tuple[str, ...], Table]] = []
    seen: set[int] = set()
    again = RepeatBudget()

    def visit(trail: Sequence[Child]) -> bool:
        node = trail[-1].node
        if isinstance(node, TensorRecord) or id(node) in seen:
            return False
        seen.add(id(node))
        if table := optimizer_table(node):
            found.append((path_of(trail), table))
            return False
        return len(trail) <= MAX_DEPTH

    walk(root, lambda node: contents_of(node, again), visit)
    return found
