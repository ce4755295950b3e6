"""The optimizer state that lies at a place of a file, read: tensors by their place in the file,
numbers by what they are."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeGuard

import numpy as np

from scalecheck.checkpoint.formats import torch
from scalecheck.checkpoint.keys import text_key
from scalecheck.checkpoint.malformed import NotUnderstood
from scalecheck.checkpoint.optimizer_state import (
    Factored,
    OptimizerState,
    ParamGroup,
    ParamKey,
    ParamState,
    Scalar,
    StateLayout,
)
from scalecheck.checkpoint.pickle.inert import IntegerKeys, Key
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.state_dict import same_view
from scalecheck.checkpoint.source import identity
from scalecheck.checkpoint.state_file import StateFile
from scalecheck.checkpoint.states.state_entries import (
    MAX_ENTRIES,
    Entries,
    EntryReader,
    Kept,
    Table,
    in_words,
    is_text,
    items_of,
    numbered,
)
from scalecheck.checkpoint.states.state_places import Place
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.report.formatting import excerpt, listed

MAX_STEP = 10**12  # a thousand steps a second for thirty years
MAX_SETTINGS = 1000  # of a group, which each of its parameters has; torch's have some 15


class StateReader:
    """Reads the optimizer state at a place of a file: tensors by their place in the file, numbers
    by what they are. `groups` are those that were read, also where the states could not be;
    `taken` are the views of the tensors that parameters' states have."""

    def __init__(self, file: StateFile, place: Place, layout: StateLayout) -> None:
        self.file = file
        self.at = place.at
        self.table = place.table
        self.has_equal_groups = place.has_equal_groups
        self.layout = layout
        self.groups: tuple[ParamGroup, ...] = ()
        self.left_out: dict[str, None] = {}
        self.others: list[str] = []
        self.entries = EntryReader()
        self.whole: dict[int, tuple[int, TensorRecord]] = {}
        self.taken: set[object] = set()
        self.model_names: frozenset[str] = frozenset()

    def read(self, model: Sequence[Tensor] = ()) -> OptimizerState:
        """The state; model: the tensors by which the parameters of a whole optimizer are named.

        Raises NotUnderstood, and Malformed or CheckpointError where the file is damaged.
        """
        groups, states = self.table["param_groups"], self.table["state"]
        self.model_names = frozenset(tensor.name for tensor in model)
        if not isinstance(groups, (list, tuple)) or not groups:
            raise self.refused("param_groups is no list of groups")
        if not isinstance(states, dict):
            raise self.refused("state is no dict")
        # Before any is read: a file can hold one large table a million times.
        if sum(map(_entries, [*groups, *states.values()])) > MAX_ENTRIES:
            raise self.refused(f"its groups and states have more than {MAX_ENTRIES} entries")
        read_groups = [self.group(number, group) for number, group in enumerate(groups)]
        known: set[ParamKey] = set()
        integer_keys = IntegerKeys()
        for key in (key for group in read_groups for key in group.params):
            if isinstance(key, int):
                integer_keys.look_at(key, len(known))
            if key in known:
                raise self.refused(f"param_groups have parameter {in_words(key)} more than once")
            known.add(key)
        self.groups = (*(_joined(read_groups) if self.has_equal_groups else read_groups),)
        names = self.names_of_whole(model)
        own = self.own_states(states, known)
        read_states = tuple(
            self.param_state(key, own.get(key), number, group, place, names)
            for number, group in enumerate(self.groups)
            for place, key in enumerate(group.params)
        )
        torch.check_overlap(tensor for one in read_states for tensor in one.tensors.values())
        notes = []
        if self.left_out:
            notes.append(f"left out of the optimizer state: {listed([*self.left_out])}")
        if self.others:
            others = listed(self.others)
            notes.append(f"left out of the optimizer state, as no parameter's: {others}")
        if bare := sum(not one.entries for one in read_states):
            notes.append(f"{bare} of {len(read_states)} parameters have no optimizer state")
        return OptimizerState(self.file.path, self.groups, read_states, (*notes,))

    def own_states(self, states: Table, known: Collection[ParamKey]) -> dict[ParamKey, Table]:
        """The states of the parameters; what lies beside them is left out."""
        own: dict[ParamKey, Table] = {}
        for saved_key, state in states.items():
            key = self.key(saved_key)
            if key is None or key not in known:
                self.others.append(f"state.{in_words(saved_key)}")
            elif not isinstance(state, dict):
                raise self.refused(f"state.{in_words(saved_key)} is no dict")
            else:
                own[key] = state
        return own

    def group(self, number: int, group: object) -> ParamGroup:
        where = f"param_groups.{number}"
        if not isinstance(group, dict):
            raise self.refused(f"{where} is no dict of settings")
        if len(group) > MAX_SETTINGS:
            raise self.refused(f"{where} has {len(group)} settings, the limit is {MAX_SETTINGS}")
        params, names = group.get("params"), group.get("param_names")
        if not isinstance(params, (list, tuple)):
            raise self.refused(f"{where} has no list of params")
        if params and all(isinstance(param, TensorRecord) for param in params):
            for param in params:
                self.whole.setdefault(id(param), (len(self.whole), param))
            params = [self.whole[id(param)][0] for param in params]
        params = [numbered(param, self.model_names) for param in params]
        for key in params:
            if not is_text(key) and (type(key) is not int or abs(key) >= 1 << 60):
                problem = "neither a name nor an integer below 2^60"
                raise self.refused(f"{where} has a parameter by {in_words(key)}, {problem}")
        if names is not None and not _are_names(names, len(params)):
            raise self.refused(
                f"{where} has param_names that are not a name for each of its {len(params)} params"
            )
        settings: dict[str, Scalar | tuple[Scalar, ...]] = {}
        left_out: list[str] = []
        for name, setting in group.items():
            if name in ("params", "param_names"):
                continue
            items = items_of(setting)
            if is_text(name) and items is not None:
                at = self.place(f"{where}.{excerpt(name, 40)}")
                read = tuple(self.scalar(at, item) for item in items)
                settings[name] = read if isinstance(setting, (list, tuple)) else read[0]
            else:
                left_out.append(in_words(name))
        self.left_out |= dict.fromkeys(f"{where}.{name}" for name in left_out)
        param_names = None if names is None else (*names,)
        return ParamGroup(settings, (*params,), param_names, (*left_out,))

    def key(self, saved: object) -> ParamKey | None:
        """The key of a parameter's state; a whole optimizer has the parameter itself for it."""
        if isinstance(saved, Key):
            number, _ = self.whole.get(id(saved.original), (None, None))
            return number
        saved = numbered(saved, self.model_names)
        return saved if isinstance(saved, (int, str)) else None

    def names_of_whole(self, model: Iterable[Tensor]) -> Mapping[ParamKey, str]:
        """The model's names for the parameters of a whole optimizer, which are the same stretches
        of the file. Raises NotUnderstood where none is the model's; its groups are not known to be
        of the model either, unless there is a tensor of the same shape for each."""
        if not self.whole:
            return {}
        stored: dict[object, str] = {}
        shapes = Counter(text_key(record.shape) for _, record in self.whole.values())
        for tensor in model:
            shapes[text_key(tensor.shape)] -= 1
            if tensor.source.path == self.file.path:
                stored.setdefault(stretch(tensor), tensor.name)
        names: dict[ParamKey, str] = {}
        for number, record in self.whole.values():
            own = stretch(self.file.tensor(self.place("param_groups"), record))
            if own in stored:
                names[number] = stored[own]
        if not names:
            self.groups = () if any(left > 0 for left in shapes.values()) else self.groups
            raise self.refused(
                "is a whole optimizer and not its state_dict(), of other parameters than the"
                " model's; save optimizer.state_dict()"
            )
        return names

    def scalar(self, where: str, kept: Kept) -> Scalar:
        """It, or the only element of a tensor."""
        if not isinstance(kept, TensorRecord):
            return kept
        tensor = self.file.tensor(where, kept)
        if tensor.unmeasured:
            raise NotUnderstood(f"{where}: {tensor.unmeasured}")
        [block] = tensor.blocks(readers=self.file.readers, buffer=np.empty(8, np.uint8))
        return float(tensor.dtype.decode(block)[0])

    def param_state(
        self,
        key: ParamKey,
        state: Table | None,
        number: int,
        group: ParamGroup,
        place: int,
        names: Mapping[ParamKey, str],
    ) -> ParamState:
        saved_name = group.param_names[place] if group.param_names else names.get(key)
        if saved_name is None and isinstance(key, str):
            saved_name = key
        name = group.settings.get("name")
        if saved_name is None and isinstance(name, str) and "m" in (state or {}):
            saved_name = name if len(group.params) == 1 else None  # as Adam-mini names its groups
        found = self.entries.read(state or {})
        self.left_out |= dict.fromkeys(f"state.{name}" for name in found.left_out)
        where = self.place(f"state.{excerpt(str(key), 40)}")
        kept = found.kept.values()
        self.taken.update(same_view(one) for one in kept if isinstance(one, TensorRecord))
        step = self.step(f"{where}.step", found.kept.pop("step", group.settings.get("step")))
        tensors: dict[str, Tensor] = {}
        numbers: dict[str, Scalar] = {}
        own_shape = self.layout.own_shape
        has_dimensions = any(
            name in own_shape and isinstance(entry, TensorRecord) and entry.shape
            for name, entry in found.kept.items()
        )
        for name, entry in found.kept.items():
            at = f"{where}.{excerpt(name, 40)}"
            if isinstance(entry, TensorRecord) and (
                entry.shape or (name in own_shape and not has_dimensions)
            ):
                tensors[name] = self.file.tensor(at, entry)
            else:
                numbers[name] = self.scalar(at, entry)
        return ParamState(
            key,
            number,
            step,
            self.shape(where, found, tensors),
            tensors,
            numbers,
            saved_name,
            entries=tuple(name for name in found.names if name != "step"),
            left_out=(*found.left_out,),
        )

    def step(self, where: str, kept: object) -> float | None:
        if isinstance(kept, TensorRecord):
            if kept.numel != 1:
                raise NotUnderstood(f"{where}: has {kept.numel} elements, a count of steps has 1")
            kept = self.scalar(where, kept)
        if kept is None:
            return None
        if isinstance(kept, (int, float)) and not isinstance(kept, bool):
            if 0 <= kept <= MAX_STEP and kept == int(kept):
                return float(kept)
            raise NotUnderstood(f"{where}: is {kept!r}, no count of steps up to {MAX_STEP}")
        raise NotUnderstood(f"{where}: is a {type(kept).__name__}, no count of steps")

    def shape(
        self, where: str, found: Entries, tensors: Mapping[str, Tensor]
    ) -> tuple[int, ...] | None:
        """The parameter's shape. Raises NotUnderstood where two tensors disagree on it."""
        shapes = {name: tensor.shape for name, tensor in tensors.items()} | found.shapes
        told = {
            name: shape
            for name, shape in shapes.items()
            if name.removeprefix(f"{name.partition('.')[0]}.") in self.layout.own_shape
        }
        if told.get("state1", ())[1:] == told.get("state2"):
            del told["state1"]  # bitsandbytes' AdEMAMix keeps two averages in it
        # Low-rank optimizers keep an object beside averages that have not the parameter's shape.
        if found.left_out or any(not _tells(name, told, tensors) for name in found.nested):
            return None
        told |= _unfactored(shapes, self.layout.factored)
        for name, shape in told.items():
            first, expected = next(iter(told.items()))
            if shape != expected:
                raise NotUnderstood(
                    f"{where}: {name} is of a parameter of shape {[*shape]},"
                    f" {first} of {[*expected]}"
                )
        return next(iter(told.values()), None)

    def place(self, where: str) -> str:
        return f"{self.at}.{where}" if self.at else where

    def refused(self, problem: str) -> NotUnderstood:
        return NotUnderstood(f"{self.at}: {problem}" if self.at else problem)


def _joined(groups: Iterable[ParamGroup]) -> list[ParamGroup]:
    """The groups, those of equal settings as one."""
    first: dict[str, ParamGroup] = {}
    params: dict[str, list[ParamKey]] = {}
    for group in groups:
        settings = repr((sorted(group.settings.items()), group.left_out))
        first.setdefault(settings, group)
        params.setdefault(settings, []).extend(group.params)
    return [replace(group, params=(*params[key],)) for key, group in first.items()]


def stretch(tensor: Tensor) -> object:
    """What is equal for two tensors that are the same view of the same bytes of a file."""
    place = identity(tensor.source), tensor.offset
    return repr((*place, tensor.shape, tensor.strides, tensor.dtype.name))


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


def _tells(nested: str, told: Collection[str], tensors: Collection[str]) -> bool:
    """Whether a dict or object in a state tells the parameter's shape, or holds no tensor that
    could have another."""
    inside = f"{nested}."
    return any(name.startswith(inside) for name in told) or not any(
        name.startswith(inside) for name in tensors
    )


def _entries(table: object) -> int:
    """How many a group or the state of a parameter has, itself one of them."""
    if not isinstance(table, dict):
        return 1
    params = table.get("params")
    return 1 + len(table) + (len(params) if isinstance(params, (list, tuple)) else 0)


def _are_names(names: object, count: int) -> TypeGuard[Sequence[str]]:
    return isinstance(names, (list, tuple)) and len(names) == count and all(map(is_text, names))
