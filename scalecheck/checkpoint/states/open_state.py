"""The optimizer state at a path or with a checkpoint, found by content wherever a trainer keeps it.
torch is not needed."""

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from os.path import isdir, isfile, lexists
from pathlib import Path

from scalecheck.checkpoint.files.folders import Unread
from scalecheck.checkpoint.formats import dcp, tar, torch
from scalecheck.checkpoint.formats.contract import HEAD_NBYTES
from scalecheck.checkpoint.formats.directory import optimizer_beside
from scalecheck.checkpoint.malformed import Malformed, NotUnderstood, content_of
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.optimizer_state import OptimizerState, ParamGroup, StateLayout
from scalecheck.checkpoint.pickle.state_dict import described, same_view
from scalecheck.checkpoint.pickle.tree import Found, Tree
from scalecheck.checkpoint.state_file import StateFile, opened
from scalecheck.checkpoint.states import rank_states
from scalecheck.checkpoint.states.several_states import are_disjoint, counted, together
from scalecheck.checkpoint.states.state_places import Place, places
from scalecheck.checkpoint.states.state_reader import StateReader
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.errors import CheckpointError, Fix, OptionError
from scalecheck.report.formatting import excerpt, listed, plural

UNREAD = "its optimizer state is not read"


def open_state(
    path: str | Path, layout: StateLayout, model: Sequence[Tensor] = ()
) -> OptimizerState:
    """The optimizer state in a file that holds nothing else, in a training file, or beside a model
    as Hugging Face's Trainer leaves it; of several the one at PLACE of a path FILE::PLACE. Of its
    tensors only those of one number are read.

    model: the tensors that are trained, without which several states are never read as one. Raises
    CheckpointError where there is none, where several may train the same tensors, and where it is
    damaged or contradicts itself; OptionError where there is none at PLACE.
    """
    file_path, at = _file_and_place(path)
    with content_of(file_path), _opened(file_path) as file:
        found = places(file.root)
        if at is not None:
            found = _chosen(found, at, path)
        if not found:
            raise Malformed(_without_state(file.root))
        readers = [StateReader(file, place, layout) for place in found]
        states = [
            (place.at, _read(reader, place, model))
            for place, reader in zip(found, readers, strict=True)
        ]
        if len(states) == 1:
            [(_, state)] = states
            state = state if at is None else replace(state, path=Path(path))
            return with_tensors(state, file, readers, model)
        if not are_disjoint(states, model):
            raise Malformed(
                f"holds {len(states)} optimizer states that may train the same tensors:"
                f" {counted(states)}; name one, as {file_path}::{excerpt(states[-1][0])}"
            )
        return with_tensors(together(states), file, readers, model)


def find_state(checkpoint: Checkpoint, layout: StateLayout) -> OptimizerState | None:
    """The optimizer state that was saved with a checkpoint: beside the model as Hugging Face's
    Trainer lays them out, or in the same training file. None where there is none; where there is
    one of a layout that is not read, `unread` and the notes say so.

    Raises CheckpointError where the file is damaged.
    """
    try:
        beside = None if checkpoint.in_memory else optimizer_beside(checkpoint.path)
    except CheckpointError as error:
        unopened = Unread(checkpoint.path, "optimizer state", error.problem)
        state = OptimizerState(checkpoint.path, (), (), unopened=(unopened,))
        return unread(state, error.problem)
    if beside and beside.suffix == ".safetensors":
        saved = open_checkpoint(beside)
        if saved.tree is None:
            problem = f"{beside.name}: {plural(len(saved.tensors), 'tensor')} by unknown names"
            unopened = Unread(checkpoint.path, "optimizer state", problem)
            return unread(OptimizerState(beside, (), (), unopened=(unopened,)), problem)
    holder = _opened(beside) if beside else _holder(checkpoint)
    if holder is None:
        if not checkpoint.not_understood:
            return None
        every = checkpoint.optimizer
        state = OptimizerState(checkpoint.path, (), (), tensors=every, others=every)
        return unread(state, checkpoint.not_understood)
    try:
        with holder as file:
            return _state_in(file, beside, layout, checkpoint)
    except NotUnderstood as error:  # the files of ranks do not belong together
        unopened = Unread(checkpoint.path, "optimizer state", str(error))
        state = OptimizerState(checkpoint.path, (), (), unopened=(unopened,))
        return unread(state, str(error))


def _state_in(
    file: StateFile, beside: Path | None, layout: StateLayout, checkpoint: Checkpoint
) -> OptimizerState | None:
    """The state in what may hold it; None where it holds none."""
    root = file.root
    found = places(root)
    if not found:
        if beside:
            problem = f"{beside.name}: {_without_state(root)}"
        elif other := [one for one in Tree(root).tensors(root) if one.is_beside]:
            problem = _other_layout(other)
        else:
            return None
        state = unread(OptimizerState(file.path, (), ()), problem)
        return with_tensors(state, file, (), checkpoint.tensors)
    readers = [StateReader(file, place, layout) for place in found]
    state = _found(readers, found, checkpoint)
    return with_tensors(state, file, readers, checkpoint.tensors)


def _found(
    readers: Sequence[StateReader], found: Sequence[Place], checkpoint: Checkpoint
) -> OptimizerState:
    """What was found at places of a file, as far as it is understood."""
    states: list[tuple[str, OptimizerState]] = []
    groups: list[Sequence[ParamGroup]] = []
    problems: list[str] = []
    for place, reader in zip(found, readers, strict=True):
        try:
            states.append((place.at, _read(reader, place, checkpoint.tensors)))
        except NotUnderstood as error:
            problems.append(str(error))
        groups.append(reader.groups)
    if not problems and len(states) == 1:
        return states[0][1]
    if not problems and are_disjoint(states, checkpoint.tensors):
        return together(states)
    path = readers[0].file.path
    if states and len(found) > 1:
        why = (
            f"{counted(states)}, as another may train the same tensors"
            if problems
            else f"{len(found)} optimizer states may train the same tensors: {counted(states)}"
        )
        problems.append(f"{why}; choose one with --state {path}::{excerpt(states[-1][0])}")
    known = [group for own in groups for group in own] if all(groups) else []
    return unread(OptimizerState(path, (*known,), ()), *problems)


def _read(reader: StateReader, place: Place, model: Sequence[Tensor]) -> OptimizerState:
    return replace(reader.read(model), is_inner=place.is_inner)


def with_tensors(
    state: OptimizerState,
    file: StateFile,
    readers: Iterable[StateReader],
    model: Iterable[Tensor],
) -> OptimizerState:
    """The state with every tensor of its file: in that of the model those of optimizers, named as
    the file has them, in another one all, as `FILE::NAME`."""
    root, is_own = file.root, file.is_of(model)
    taken = {view for reader in readers for view in reader.taken}
    tensors: list[Tensor] = []
    others: list[Tensor] = []
    seen: set[object] = set()
    for one in Tree(root).tensors(root):
        view = same_view(one.record)
        if view in seen or (is_own and not one.is_optimizer):
            continue
        seen.add(view)
        name = ".".join(one.path) or "tensor"
        tensor = file.tensor(name if is_own else f"{file.path.name}::{name}", one.record)
        tensors.append(tensor)
        others += [] if view in taken else [tensor]
    torch.check_overlap(tensors)
    return replace(state, tensors=(*tensors,), others=(*others,))


def unread(state: OptimizerState, *problems: str) -> OptimizerState:
    """The state, said not to be read, and why."""
    notes = [f"optimizer state not read: {problem}" for problem in problems]
    return replace(state, notes=(*state.notes, *notes), unread=UNREAD)


def _file_and_place(path: str | Path) -> tuple[Path, str | None]:
    """The parts of FILE::PLACE; a file that has such a name goes before."""
    words = str(path)
    cuts = [match.start() for match in re.finditer("::", words)]
    if not cuts or lexists(words):
        return Path(path), None
    cut = next((cut for cut in cuts if lexists(words[:cut])), cuts[-1])
    return Path(words[:cut]), words[cut + 2 :]


def _chosen(found: Sequence[Place], at: str, path: object) -> list[Place]:
    """The state at a place. Raises OptionError."""
    if chosen := [place for place in found if place.at == at]:
        return chosen
    there = listed([place.at for place in found]) or "none in the file"
    raise OptionError("state", f"no optimizer state there; there is {there}", excerpt(str(path)))


def _opened(path: Path) -> AbstractContextManager[StateFile]:
    """What a state is looked for in at a path. Raises CheckpointError where there is nothing."""
    if isdir(path) or isfile(path):
        path = optimizer_beside(path) or path
    if isfile(path) and torch.recognises(path, _head(path)):
        return torch.unpickled(path)
    if isdir(path) and dcp.recognises(path, b""):
        return dcp.opened(path)
    checkpoint = open_checkpoint(path)  # which says what is wrong with a path or a file
    if holder := _holder(checkpoint):
        return holder
    problem = f"has no optimizer state and holds {plural(len(checkpoint.tensors), 'tensor')}"
    help = "it is a model; leave --state out"
    raise CheckpointError(path, problem, help, Fix("", str(path), "--state"))


def _holder(checkpoint: Checkpoint) -> AbstractContextManager[StateFile] | None:
    """What may hold the state of a checkpoint's optimizer, where that is known."""
    if checkpoint.tree is not None:
        return opened(checkpoint.path, checkpoint.tree)
    if checkpoint.state_files and not checkpoint.ranks:
        return torch.unpickled(checkpoint.state_files[0])
    if checkpoint.state_files:
        return rank_states.together(checkpoint.path, checkpoint.state_files)
    if checkpoint.optimizer and tar.is_archived(checkpoint):
        return tar.unpickled(checkpoint.path)
    only = _only_file(checkpoint)
    return torch.unpickled(only) if only else None


def _only_file(checkpoint: Checkpoint) -> Path | None:
    """The torch file that holds all of a checkpoint."""
    files = {tensor.source.path for tensor in checkpoint.tensors}
    is_torch = len(files) == 1 and checkpoint.format in ("torch-zip", "torch-legacy")
    return next(iter(files)) if is_torch else None


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_NBYTES)
    except OSError:
        return b""


def _other_layout(tensors: Sequence[Found]) -> str:
    """What lies under an optimizer's name and is no state that is read."""
    parts = dict.fromkeys(excerpt(".".join(one.path[:1]), 40) for one in tensors)
    held = plural(len(tensors), "tensor")
    return f"{listed([*parts])}: {held} without param_groups"


def _without_state(root: object) -> str:
    """What a file without an optimizer state holds instead."""
    tensors = Tree(root).tensors(root)
    words = f"holds {len(tensors)} tensors" if tensors else described(root)
    if any(one.is_beside for one in tensors):
        words += ", some under an optimizer's name without param_groups"
    return f"has no optimizer state and {words}"
