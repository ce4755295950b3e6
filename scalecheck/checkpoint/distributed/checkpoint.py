"""The tensors of a distributed checkpoint: which are the model's, which its optimizer's, and what
lies beside them."""

from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from shlex import quote

from scalecheck.checkpoint.distributed.folder import Saved, read_folder
from scalecheck.checkpoint.distributed.layout import index_of, parts_of
from scalecheck.checkpoint.distributed.megatron import COMMON, is_megatron, regrouped
from scalecheck.checkpoint.distributed.names import SUFFIX
from scalecheck.checkpoint.distributed.ties import with_ties
from scalecheck.checkpoint.files.folders import Unread, folders_in
from scalecheck.checkpoint.files.weight_files import SUFFIXES, is_weights
from scalecheck.checkpoint.malformed import Malformed, OnlyOptimizer, content_of
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.state_dict import parts
from scalecheck.checkpoint.pickle.tree import Tree
from scalecheck.checkpoint.state_file import StateFile, made_of, opened
from scalecheck.checkpoint.states.state_places import places
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.report.formatting import excerpt, listed, plural

_META = "meta.pt"  # of Lightning: its counters and what else is no tensor


def loaded(path: Path) -> Checkpoint:
    """Lists the tensors of a folder. Raises CheckpointError."""
    saved = _saved(path)
    with content_of(path):
        tree = Tree(saved.root)
        named = parts(tree)
        if not named.has_weights:
            count = len(named.optimizer) + len(named.rows)
            if not count:
                raise Malformed("holds no tensor")
            raise OnlyOptimizer(f"holds an optimizer state of {count} tensors and no model weights")
        notes = [*_beside_tensors(saved, tree), *_files_beside(path, saved)]
        return Checkpoint(
            path,
            "dcp",
            with_ties(_tensors(path, named.rows), _trained(saved.root)),
            non_model=named.non_model,
            optimizer=_tensors(path, named.optimizer),
            notes=(*notes,),
            layout=(*_layout(path, saved),),
            in_order=named.in_order and saved.has_one_order,
            unread=_folders_below(path, saved),
            tree=saved.root,
        )


def state_of(path: Path) -> AbstractContextManager[StateFile]:
    """A folder in which an optimizer state is looked for. Raises CheckpointError."""
    return opened(path, _saved(path).root)


def _saved(path: Path) -> Saved:
    """What the folders of a checkpoint hold, as one dict; of several models each under the name of
    its folder. Raises CheckpointError."""
    whole = Saved()
    models = parts_of(path)
    for folders in models:
        saved = Saved()
        for folder in folders:
            index = index_of(folder)
            with content_of(folder):
                read = read_folder(folder, index)
                if is_megatron(folder):
                    read.root = regrouped(read.root, folder)
                    read.files.add(folder / COMMON)
                saved.add(read)
        if len(models) > 1:
            saved.root = {folders[0].name: saved.root}
        with content_of(path):
            whole.add(saved)
    return whole


def _trained(root: object) -> set[str]:
    """The names of the parameters that have a state of their own."""
    states = (place.table["state"] for place in places(root))
    return {str(key) for state in states if isinstance(state, dict) for key in state}


def _beside_tensors(saved: Saved, tree: Tree) -> list[str]:
    """Notes on what is no tensor and no part of an optimizer's state."""
    found = tree.tensors(tree.root)
    of_states = {one.path[0].partition(".")[0] for one in found if one.is_optimizer}
    first = [name.partition(".")[0] for name in saved.objects]
    counts = Counter(excerpt(part, 40) for part in first if part not in of_states)
    notes = [f"{excerpt(name)} not read: {why}" for name, why in saved.refused.items()]
    if counts:
        held = listed([f"{part} ({plural(n, 'value')})" for part, n in counts.items()])
        notes.append(f"beside the tensors, not inspected: {held}")
    return notes


def _layout(path: Path, saved: Saved) -> list[str]:
    """Notes on files that are missing, and on those that are there and were not read."""
    notes = []
    for file, names in saved.lost.items():
        held = listed([excerpt(name, 80) for name in names])
        notes.append(f"missing: {_below(path, file)}, which holds {len(names)} of its keys: {held}")
    beside = [file for file in _files(path, saved) if file not in saved.files]
    others = [f for f in beside if f.suffix == SUFFIX and f.stat().st_size]
    if others:
        held = listed([_below(path, file) for file in others])
        notes.append(f"not read, as the index does not name them: {held}")
    if weights := [file for file in beside if is_weights(file.name) and file.name != _META]:
        how = f"scalecheck inspect {quote(str(weights[0]))}"
        held = listed([_below(path, file) for file in weights])
        notes.append(f"beside the model, not inspected: {held} (to read one: {how})")
    return notes


def _files_beside(path: Path, saved: Saved) -> list[str]:
    """A note on what trainers write beside a model."""
    beside = [file for file in _files(path, saved) if file not in saved.files]
    kept = [
        file
        for file in beside
        if file.suffix in SUFFIXES and (file.name == _META or not is_weights(file.name))
    ]
    held = listed([_below(path, file) for file in kept])
    return [f"beside the model, not inspected: {held}"] if kept else []


def _files(path: Path, saved: Saved) -> list[Path]:
    folders = dict.fromkeys([path, *saved.folders])
    return [entry for folder in folders for entry in sorted(folder.iterdir()) if entry.is_file()]


def _folders_below(path: Path, saved: Saved) -> tuple[Unread, ...]:
    """The folders below that hold checkpoints of their own."""
    found = folders_in(path)
    below = [folder for folder in found.holding if folder.name and folder.path not in saved.folders]
    return (*(Unread(path, folder.name) for folder in below), *found.unread)


def _below(path: Path, file: Path) -> str:
    return excerpt(str(file.relative_to(path)) if file.is_relative_to(path) else str(file), 80)


def _tensors(path: Path, named: Iterable[tuple[str, TensorRecord]]) -> tuple[Tensor, ...]:
    return tuple(made_of(record, name, path) for name, record in named)
