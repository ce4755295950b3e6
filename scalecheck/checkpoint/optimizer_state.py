"""The optimizer state that was saved with a model: its settings, and for each parameter the tensors
that it keeps, read when asked."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeGuard

import numpy as np

from scalecheck.checkpoint.formats import torch
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.inert import IntegerKeys, Key
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.tree import MAX_TENSORS
from scalecheck.checkpoint.tensor import MAX_NAME, Tensor
from scalecheck.report.formatting import excerpt, listed

MAX_STEP = 10**12  # a thousand steps a second for thirty years
MAX_ENTRIES = MAX_TENSORS  # of all groups and states; Adam has four for each parameter
MAX_SETTINGS = 1000  # of a group, which each of its parameters has; torch's have some 15
MAX_ITEMS = 16  # of a setting; betas are two or three

ParamKey = int | str
Scalar = bool | int | float | str | None
Kept = Scalar | TensorRecord
Table = dict[object, object]


@dataclass(frozen=True)
class ParamGroup:
    """Parameters with common settings: numbers, words, None, and tuples of them such as betas.

    `params` are the keys of its parameters, `param_names` their names where they were saved,
    `left_out` its settings that are nothing of that.
    """

    settings: Mapping[str, Scalar | tuple[Scalar, ...]]
    params: tuple[ParamKey, ...]
    param_names: tuple[str, ...] | None = None
    left_out: tuple[str, ...] = ()


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
    state, `name` the checkpoint's, None where it is not certain. `left_out` are the entries that
    are neither numbers nor tensors.
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


class StateReader:
    """Reads the `state` and `param_groups` that lie `at` a path in a file: tensors by their place
    in the file, numbers by what they are."""

    def __init__(self, file: torch.Unpickled, at: str, layout: StateLayout) -> None:
        self.file = file
        self.at = at
        self.layout = layout
        self.left_out: dict[str, None] = {}

    def read(self, table: Table) -> OptimizerState:
        """The state in a table of both. Raises Malformed, CheckpointError."""
        groups, states = table["param_groups"], table["state"]
        if not isinstance(groups, (list, tuple)) or not groups:
            raise self.refused("param_groups is no list of groups")
        if not isinstance(states, dict):
            raise self.refused("state is no dict")
        # Before any is read: a file can hold one large table a million times.
        if sum(map(_entries, [*groups, *states.values()])) > MAX_ENTRIES:
            raise self.refused(f"its groups and states have more than {MAX_ENTRIES} entries")
        read_groups = tuple(self.group(number, group) for number, group in enumerate(groups))
        known: set[ParamKey] = set()
        integer_keys = IntegerKeys()
        for key in (key for group in read_groups for key in group.params):
            if isinstance(key, int):
                integer_keys.look_at(key, len(known))
            if key in known:
                raise self.refused(f"param_groups have parameter {_in_words(key)} more than once")
            known.add(key)
        for key, state in states.items():
            at = f"state.{_in_words(key)}"
            if not isinstance(key, (int, str)) or key not in known:
                raise self.refused(f"{at} is of a parameter that is in none of its groups")
            if not isinstance(state, dict):
                raise self.refused(f"{at} is no dict")
        read_states = tuple(
            self.param_state(key, states.get(key), number, group, place)
            for number, group in enumerate(read_groups)
            for place, key in enumerate(group.params)
        )
        torch.check_overlap(tensor for one in read_states for tensor in one.tensors.values())
        notes = []
        if self.left_out:
            notes.append(f"left out of the optimizer state: {listed([*self.left_out])}")
        if bare := sum(one.tensors == {} and one.numbers == {} for one in read_states):
            notes.append(f"{bare} of {len(read_states)} parameters have no optimizer state")
        return OptimizerState(self.file.reader.source.path, read_groups, read_states, (*notes,))

    def group(self, number: int, group: object) -> ParamGroup:
        where = f"param_groups.{number}"
        if not isinstance(group, dict):
            raise self.refused(f"{where} is no dict of settings")
        if len(group) > MAX_SETTINGS:
            raise self.refused(f"{where} has {len(group)} settings, the limit is {MAX_SETTINGS}")
        params, names = group.get("params"), group.get("param_names")
        if not isinstance(params, (list, tuple)):
            raise self.refused(f"{where} has no list of params")
        for key in params:
            if isinstance(key, TensorRecord):
                problem = "is a whole optimizer and not its state_dict(): no parameter has a key"
                raise self.refused(problem)
            if not _is_text(key) and (type(key) is not int or abs(key) >= 1 << 60):
                problem = "neither a name nor an integer below 2^60"
                raise self.refused(f"{where} has a parameter by {_in_words(key)}, {problem}")
        if names is not None and not _are_names(names, len(params)):
            raise self.refused(
                f"{where} has param_names that are not a name for each of its {len(params)} params"
            )
        settings: dict[str, Scalar | tuple[Scalar, ...]] = {}
        left_out: list[str] = []
        for name, setting in group.items():
            if name in ("params", "param_names"):
                continue
            items = setting if isinstance(setting, (list, tuple)) else (setting,)
            if _is_text(name) and len(items) <= MAX_ITEMS and all(map(_is_kept_whole, items)):
                at = self.place(f"{where}.{excerpt(name, 40)}")
                read = tuple(self.scalar(at, item) for item in items)
                settings[name] = read if items is setting else read[0]
            else:
                left_out.append(_in_words(name))
        self.left_out |= dict.fromkeys(f"{where}.{name}" for name in left_out)
        param_names = None if names is None else (*names,)
        return ParamGroup(settings, (*params,), param_names, (*left_out,))

    def scalar(self, where: str, kept: Kept) -> Scalar:
        """It, or the only element of a tensor."""
        if not isinstance(kept, TensorRecord):
            return kept
        tensor = self.file.tensor(where, kept)
        [block] = tensor.blocks(reader=self.file.reader, buffer=np.empty(8, np.uint8))
        return float(tensor.dtype.decode(block)[0])

    def param_state(
        self, key: ParamKey, state: Table | None, number: int, group: ParamGroup, place: int
    ) -> ParamState:
        saved_name = group.param_names[place] if group.param_names else None
        if saved_name is None and isinstance(key, str):
            saved_name = key
        entries: dict[str, Kept] = {}
        left_out: list[str] = []
        for name, entry in (state or {}).items():
            if _is_text(name) and (isinstance(entry, TensorRecord) or _is_scalar(entry)):
                entries[name] = entry
            else:
                left_out.append(_in_words(name))
        self.left_out |= dict.fromkeys(f"state.{name}" for name in left_out)
        where = self.place(f"state.{excerpt(str(key), 40)}")
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
            if isinstance(entry, TensorRecord) and (
                entry.shape or (name in own_shape and not has_dimensions)
            ):
                tensors[name] = self.file.tensor(at, entry)
            else:
                numbers[name] = self.scalar(at, entry)
        # Low-rank optimizers keep an object beside averages that have not the parameter's shape.
        shape = None if left_out else self.shape(where, tensors)
        return ParamState(
            key, number, step, shape, tensors, numbers, saved_name, left_out=(*left_out,)
        )

    def step(self, where: str, kept: object) -> float | None:
        if isinstance(kept, TensorRecord):
            if kept.numel != 1:
                raise Malformed(f"{where}: has {kept.numel} elements, a count of steps has 1")
            kept = self.scalar(where, kept)
        if kept is None:
            return None
        if isinstance(kept, (int, float)) and not isinstance(kept, bool):
            if 0 <= kept <= MAX_STEP and kept == int(kept):
                return float(kept)
            raise Malformed(f"{where}: is {kept!r}, no count of steps up to {MAX_STEP}")
        raise Malformed(f"{where}: is a {type(kept).__name__}, no count of steps")

    def shape(self, where: str, tensors: Mapping[str, Tensor]) -> tuple[int, ...] | None:
        """The parameter's shape. Raises Malformed where two tensors disagree on it."""
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        told = {name: shape for name, shape in shapes.items() if name in self.layout.own_shape}
        told |= _unfactored(shapes, self.layout.factored)
        for name, shape in told.items():
            first, expected = next(iter(told.items()))
            if shape != expected:
                raise Malformed(
                    f"{where}: {name} is of a parameter of shape {[*shape]},"
                    f" {first} of {[*expected]}"
                )
        return next(iter(told.values()), None)

    def place(self, where: str) -> str:
        return f"{self.at}.{where}" if self.at else where

    def refused(self, problem: str) -> Malformed:
        return Malformed(f"{self.at}: {problem}" if self.at else problem)


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


def _entries(table: object) -> int:
    """How many a group or the state of a parameter has, itself one of them."""
    if not isinstance(table, dict):
        return 1
    params = table.get("params")
    return 1 + len(table) + (len(params) if isinstance(params, (list, tuple)) else 0)


def _are_names(names: object, count: int) -> TypeGuard[Sequence[str]]:
    return isinstance(names, (list, tuple)) and len(names) == count and all(map(_is_text, names))


def _is_kept_whole(setting: object) -> TypeGuard[Kept]:
    if isinstance(setting, TensorRecord):
        return setting.numel == 1
    return _is_scalar(setting)


def _is_scalar(value: object) -> TypeGuard[Scalar]:
    if type(value) is int:
        return abs(value) < 1 << 63
    return value is None or type(value) in (bool, float) or _is_text(value)


def _is_text(value: object) -> TypeGuard[str]:
    """Text that can be printed, which a lone surrogate cannot."""
    if type(value) is not str or len(value) > MAX_NAME:
        return False
    return not any("\ud800" <= letter <= "\udfff" for letter in value)


def _in_words(key: object) -> str:
    """A key of the file in a message."""
    if isinstance(key, Key):
        key = key.original
    if isinstance(key, str):
        return excerpt(key, 40)
    if isinstance(key, int) and key.bit_length() > 64:
        return f"an integer of {key.bit_length()} bits"
    if isinstance(key, (int, float)):
        return str(key)
    return f"a {type(key).__name__}"
