"""The optimizer state that was saved with a model: its settings, and for each parameter the tensors
that it keeps, read when asked. torch is not needed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from os.path import isdir, isfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scalecheck.checkpoint.formats import torch
from scalecheck.checkpoint.formats.directory import optimizer_beside
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.pickle import optimizer as pickled
from scalecheck.checkpoint.pickle.optimizer import (
    GroupRecord,
    OptimizerRecord,
    ParamKey,
    Scalar,
    Setting,
    StateRecord,
    places,
    read,
)
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.state_dict import described
from scalecheck.checkpoint.pickle.tree import Tree
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import excerpt, listed

MAX_STEP = 10**12  # a thousand steps a second for thirty years

_HEAD_NBYTES = 512

_INNER = ("base", "base_optimizer")  # where Lookahead, SAM, Magma keep the optimizer that they lead


ParamGroup = pickled.ParamGroup[Scalar | tuple[Scalar, ...]]


class Factored(NamedTuple):
    """The names of a matrix's averages over each row and over each column. keeps_dimensions: the
    dimension that they were taken over is left, of size 1, as torch leaves it."""

    row: str
    column: str
    keeps_dimensions: bool = True


class StateLayout(NamedTuple):
    """Which entries of a state tell the parameter's shape: those that have it, and averages over
    its rows and columns."""

    own_shape: Collection[str]
    factored: Collection[Factored]


@dataclass(frozen=True)
class ParamState:
    """What an optimizer keeps for a parameter: no tensors where it never had a gradient.

    `group` is the number of its group, `step` its own count of steps or else its group's, `shape`
    the parameter's shape where the state tells it. `numbers` are the entries that are no tensors,
    and the tensors without dimensions that are one number. `saved_name` is the name saved with the
    state, `name` the checkpoint's, None where it is not certain. `left_out` are the
    entries that are neither numbers nor tensors.
    """

    key: ParamKey
    group: int
    step: float | None = None
    shape: tuple[int, ...] | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    numbers: Mapping[str, Scalar] = field(default_factory=dict)
    saved_name: str | None = None
    name: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Its name, or where that is not certain its key and shape: `state[17] (64, 64)`."""
        if self.name is not None:
            return self.name
        return f"state[{self.key}]" + (f" {self.shape}" if self.shape is not None else "")


@dataclass(frozen=True)
class OptimizerState:
    """What a file holds of an optimizer: the states in the order of the groups' params, and notes
    on what was left out and on how names were found. is_inner: it is of an optimizer inside another
    one, which may have changed its updates.
    """

    path: Path
    groups: tuple[ParamGroup, ...]
    states: tuple[ParamState, ...] = field(repr=False)
    notes: tuple[str, ...] = ()
    is_inner: bool = False


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
            return file.read(_HEAD_NBYTES)
    except OSError:
        return b""


def _content(root: object) -> str:
    """What a file without an optimizer state holds instead."""
    held = Tree(root).held(root)
    if not held.tensors:
        return described(root)
    if held.rows < held.tensors:
        return f"holds {held.tensors} tensors, some under an optimizer's name without param_groups"
    return f"holds {held.tensors} tensors"


def _state_in(file: torch.Unpickled, layout: StateLayout) -> OptimizerState | None:
    """The one optimizer state of a file. Raises Malformed, CheckpointError."""
    found = [(excerpt(".".join(path)), table) for path, table in places(file.pickled.root)]
    if not found:
        return None
    if len(found) > 1:
        raise Malformed(f"holds {len(found)} optimizer states: {listed([at for at, _ in found])}")
    [(at, table)] = found
    try:
        record = read(table)
    except Malformed as error:
        raise Malformed(f"{at}: {error}" if at else str(error)) from error
    state = _Reading(file, f"{at}." if at else "", layout).state(record)
    is_inner = at.rpartition(".")[2] in _INNER or any(name in table for name in _INNER)
    return replace(state, is_inner=is_inner)


class _Reading:
    """The records of a state as what they say: tensors by their place in the file, numbers read."""

    def __init__(self, file: torch.Unpickled, prefix: str, layout: StateLayout) -> None:
        self.file = file
        self.layout = layout
        self.path = file.reader.source.path
        self.prefix = prefix

    def state(self, record: OptimizerRecord) -> OptimizerState:
        groups = tuple(self.group(f"param_groups.{n}", g) for n, g in enumerate(record.groups))
        states = tuple(
            self.param_state(record.states.get(key), key, number, group, place)
            for number, group in enumerate(groups)
            for place, key in enumerate(group.params)
        )
        torch.check_overlap(tensor for one in states for tensor in one.tensors.values())
        left_out = dict.fromkeys(record.left_out)
        for one in record.states.values():
            left_out |= dict.fromkeys(f"state.{name}" for name in one.left_out)
        notes = []
        if left_out:
            notes.append(f"left out of the optimizer state: {listed([*left_out])}")
        if bare := sum(one.tensors == {} and one.numbers == {} for one in states):
            notes.append(f"{bare} of {len(states)} parameters have no optimizer state")
        return OptimizerState(self.path, groups, states, tuple(notes))

    def group(self, where: str, record: GroupRecord) -> ParamGroup:
        settings = {
            name: self.setting(f"{where}.{excerpt(name, 40)}", setting)
            for name, setting in record.settings.items()
        }
        return ParamGroup(settings, record.params, record.param_names, record.left_out)

    def setting(self, where: str, setting: Setting) -> Scalar | tuple[Scalar, ...]:
        if isinstance(setting, tuple):
            return tuple(self.scalar(where, item) for item in setting)
        return self.scalar(where, setting)

    def scalar(self, where: str, kept: Scalar | TensorRecord) -> Scalar:
        return self.number(where, kept) if isinstance(kept, TensorRecord) else kept

    def number(self, where: str, record: TensorRecord) -> float:
        """The only element of a tensor."""
        tensor = self.file.tensor(self.prefix + where, record)
        [block] = tensor.blocks(reader=self.file.reader, buffer=np.empty(8, np.uint8))
        return float(tensor.dtype.decode(block)[0])

    def param_state(
        self, record: StateRecord | None, key: ParamKey, number: int, group: ParamGroup, place: int
    ) -> ParamState:
        saved_name = group.param_names[place] if group.param_names else None
        if saved_name is None and isinstance(key, str):
            saved_name = key
        entries = dict(record.entries) if record else {}
        where = f"state.{excerpt(str(key), 40)}"
        step = self.step(f"{where}.step", entries.pop("step", group.settings.get("step")))
        tensors: dict[str, Tensor] = {}
        numbers: dict[str, Scalar] = {}
        own_shape = self.layout.own_shape
        has_dimensions = any(
            name in own_shape and isinstance(entry, TensorRecord) and entry.shape
            for name, entry in entries.items()
        )
        for name, entry in entries.items():
            at = f"{where}.{excerpt(name, 40)}"
            if not isinstance(entry, TensorRecord):
                numbers[name] = entry
            elif entry.shape or (name in own_shape and not has_dimensions):
                tensors[name] = self.file.tensor(self.prefix + at, entry)
            else:
                numbers[name] = self.number(at, entry)
        # Low-rank optimizers keep an object beside averages that have not the parameter's shape.
        is_known = record is not None and not record.left_out
        shape = self.shape(where, tensors) if is_known else None
        left_out = record.left_out if record else ()
        return ParamState(key, number, step, shape, tensors, numbers, saved_name, left_out=left_out)

    def step(self, where: str, kept: object) -> float | None:
        if isinstance(kept, TensorRecord):
            if kept.numel != 1:
                raise self.malformed(where, f"has {kept.numel} elements, a count of steps has 1")
            kept = self.number(where, kept)
        if kept is None:
            return None
        if isinstance(kept, (int, float)) and not isinstance(kept, bool):
            if 0 <= kept <= MAX_STEP and kept == int(kept):
                return float(kept)
            raise self.malformed(where, f"is {kept!r}, no count of steps up to {MAX_STEP}")
        raise self.malformed(where, f"is a {type(kept).__name__}, no count of steps")

    def shape(self, where: str, tensors: Mapping[str, Tensor]) -> tuple[int, ...] | None:
        """The parameter's shape. Raises Malformed where two tensors disagree on it."""
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        told = {name: shape for name, shape in shapes.items() if name in self.layout.own_shape}
        told |= _unfactored(shapes, self.layout.factored)
        for name, shape in told.items():
            first, expected = next(iter(told.items()))
            if shape != expected:
                raise self.malformed(
                    where,
                    f"{name} is of a parameter of shape {[*shape]}, {first} of {[*expected]}",
                )
        return next(iter(told.values()), None)

    def malformed(self, where: str, problem: str) -> Malformed:
        return Malformed(f"{self.prefix}{where}: {problem}")


def _unfactored(
    shapes: Mapping[str, tuple[int, ...]], factored: Collection[Factored]
) -> dict[str, tuple[int, ...]]:
    """The shape of a parameter by those of averages over its columns and over its rows."""
    for name, column_name, keeps_dimensions in factored:
        row, column = shapes.get(name, ()), shapes.get(column_name, ())
        if keeps_dimensions:
            if row[-1:] == column[-2:-1] == (1,) and row[:-2] == column[:-2]:
                return {name: (*row[:-1], *column[-1:])}
        elif row and column and row[:-1] == column[:-1]:
            return {name: (*row, *column[-1:])}
    return {}
