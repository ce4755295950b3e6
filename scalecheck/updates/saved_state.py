"""An optimizer state looked at by the names of the model's tensors."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from scalecheck.checkpoint.files.folders import Unread
from scalecheck.checkpoint.keys import text_key
from scalecheck.checkpoint.live.optimizers import LiveState
from scalecheck.checkpoint.optimizer_state import OptimizerState, ParamGroup, ParamState
from scalecheck.checkpoint.states.open_state import find_state, open_state, unread
from scalecheck.checkpoint.states.parameter_order import Shape
from scalecheck.checkpoint.states.state_names import beside, named, parameters_of
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.errors import CheckpointError, OptionError
from scalecheck.report.formatting import plural
from scalecheck.settings import Settings
from scalecheck.updates.recognition import (
    all_recognised,
    counted,
    group_settings,
    is_guessed,
    state_layout,
)
from scalecheck.updates.saved_groups import empty_states, with_lrs
from scalecheck.updates.trained import EMPTY_STATE, Trained, trained
from scalecheck.updates.without_formula import NOT_KNOWN, WithoutFormula

NONE = "none"
_UNKNOWN = text_key(None)  # the shape of states that do not tell it
GUESSED = (
    "The optimizer state does not tell AdamW from Adam, so AdamW is assumed. Pass --optimizer to "
    "choose."
)

DIFFERENT = (
    "optimizer not known: the tensor can be in several groups, which have different optimizers"
)

UNCERTAIN: Final = object()
"""The value of a setting in which the groups that a tensor can be in differ."""

INNER = "optimizer not known: its state lies inside that of another, which may change the updates"


UNSAVED = (
    "The optimizer state does not keep settings such as betas. With --optimizer, settings that are "
    "not given are that optimizer's defaults."
)


class States:
    """The states that are certain to belong to a tensor, and those that are not. unread: why there
    are none though a state was found; its groups stand for all tensors if they are known. lr_note:
    where the lr of a group is not the one that the state has; empty where none is. in_file,
    in_no_state, unopened: as the optimizer state has them. in_memory: they are those of an
    optimizer of the program. step: the number of steps done, of the state that did most."""

    def __init__(self, state: OptimizerState | None, checkpoint: Checkpoint) -> None:
        self.path = state.path if state and state.groups else None
        self.in_memory = state is not None and state.in_memory
        self.unread = state.unread if state else ""
        self.notes: Sequence[str] = state.notes if state else ()
        self.in_file: Sequence[Tensor] = state.tensors if state else ()
        self.in_no_state: Sequence[Tensor] = state.in_no_state if state else ()
        self.unopened: Sequence[Unread] = state.unopened if state else ()
        states = state.states if state else ()
        self.tensors = {t.name: checkpoint.trained(t) for t in checkpoint.tensors if states}
        groups = state.groups if state else ()
        members: list[list[ParamState]] = [[] for _ in groups]
        for one in states:
            members[one.group].append(one)
        known = all_recognised(groups, members)
        saved = [*map(group_settings, groups, known)]
        if state and state.is_inner:
            inner = {"optimizer": WithoutFormula(NOT_KNOWN, INNER)}
            saved = [{**group, **inner} for group in saved]
        self._groups, self._still, self.lr_note = with_lrs(saved)
        if any(map(is_guessed, groups, known)):
            self.notes = (*self.notes, GUESSED)
        if any("betas" not in group.settings and _lacks_settings(group) for group in groups):
            self.notes = (*self.notes, UNSAVED)
        if self.unread:
            states = ()
        states = tuple(counted(one, groups[one.group], known[one.group]) for one in states)
        done = [one.step for one in states if one.step]
        self.step = int(max(done)) if done else None
        self.by_name = {one.name: one for one in states if one.name is not None}
        self.unnamed = [one for one in states if one.name is None]
        shapes = _shapes([*parameters_of(checkpoint), *beside(checkpoint)])
        fits_nothing = not self.by_name and not any(
            text_key(one.shape) in shapes for one in self.unnamed
        )
        self._shared: dict[str, Mapping[str, Any]] = {}
        self._numbers: dict[str, set[int]] = defaultdict(set)
        if state is None or fits_nothing:
            self._trained = Trained()
            self._numbers[_UNKNOWN] = {*range(len(groups))}
            return
        empty = empty_states(states, known)
        self._trained = trained(state, checkpoint, empty, self._still)
        for place, one in enumerate(states):
            if one.name is None and place not in empty:
                self._numbers[text_key(one.shape)].add(one.group)

    def not_trained(self, name: str) -> str | None:
        """Why the optimizer does not train a tensor; None where it does, or may."""
        return self._trained.not_trained.get(name)

    def not_certain(self, name: str) -> str | None:
        """Why it is not certain whether the optimizer trains a tensor; None where it is."""
        return self._trained.not_certain.get(name)

    def not_named(self, name: str) -> str | None:
        """Why no state is certain to be the tensor's, where some are of no certain tensor."""
        if name in self.by_name or not any(one.entries for one in self.unnamed):
            return None
        if any(one.saved_name is not None for one in self.unnamed):
            return "no state was saved under its name"
        return "it is not certain which saved state belongs to it"

    def trained_by(self, tensors: Iterable[Tensor]) -> dict[str, bool]:
        """The parameters of which it is certain whether the optimizer holds them: it does though
        they never had a gradient."""
        if self.path is None or self.unread:
            return {}
        return {
            tensor.name: not tensor.is_frozen
            and self.not_trained(tensor.name) in (None, EMPTY_STATE)
            for tensor in tensors
            if tensor.kind.is_parameter and tensor.tied_to is None
            if self.not_certain(tensor.name) is None
        }

    def settings(self, name: str, shape: Shape) -> Mapping[str, Any]:
        """The settings of the tensor's group. Where that is not certain, those in which all the
        groups that it can be in agree, as all may where shapes do not tell; the others are
        UNCERTAIN."""
        if (known := self.by_name.get(name)) is not None:
            return self._groups[known.group]
        key = text_key(shape)
        if key not in self._shared:
            numbers = sorted(self._numbers.get(key, ()))
            groups = [self._groups[number] for number in numbers]
            if _UNKNOWN in self._numbers:
                groups.append(self._of_unknown)
            self._shared[key] = _common(groups)
        return self._shared[key]

    @cached_property
    def _of_unknown(self) -> Mapping[str, Any]:
        """The settings in which the groups agree whose states do not tell their shapes."""
        return _common([self._groups[number] for number in sorted(self._numbers[_UNKNOWN])])

    def of_group(self, state: ParamState) -> Mapping[str, Any]:
        """The settings of a state's group; its lr is UNCERTAIN where it does not move."""
        group = self._groups[state.group]
        return {**group, "lr": UNCERTAIN} if self.is_still(state) else group

    def is_still(self, state: ParamState) -> bool:
        """Whether its group has lr 0 beside others that move."""
        return state.group in self._still


def asked_states(checkpoint: Checkpoint, settings: Settings) -> States:
    """The states that a command's settings ask for. Raises as states_of; UsageError where names are
    given and there is no state to name."""
    states = states_of(checkpoint, settings.state, settings.param_names)
    if settings.param_names is not None and states.path is None:
        raise OptionError("param_names", "no optimizer state to name", settings.param_names)
    return states


def states_of(
    checkpoint: Checkpoint, where: str | Path | LiveState | None, names: str | Path | None = None
) -> States:
    """The state in a file or in memory, that saved with the checkpoint where None, or none at all
    for "none"; names: a file of the names of its parameters.

    Raises CheckpointError where a file is damaged, and as open_state for one that was asked for;
    UsageError where a state that was asked for fits no tensor.
    """
    if str(where) == NONE:
        return States(None, checkpoint)
    if where is not None:
        if isinstance(where, LiveState):
            state = where.read(state_layout(), checkpoint, names)
            where = where.path
        else:
            state = open_state(where, state_layout(), checkpoint.tensors)
            state = named(state, checkpoint, names)
        if problem := _misfit(state, checkpoint):
            raise OptionError("state", problem, where)
        return States(state, checkpoint)
    try:
        found = find_state(checkpoint, state_layout())
    except CheckpointError as error:
        raise CheckpointError(error.path, f"{error.problem}; go on with --state none") from error
    if found is None or found.unread:
        return States(found, checkpoint)
    try:
        state = named(found, checkpoint, names)
    except CheckpointError as error:
        return States(unread(found, error.problem), checkpoint)
    problem = _misfit(state, checkpoint)
    return States(unread(found, problem) if problem else state, checkpoint)


def _lacks_settings(group: ParamGroup) -> bool:
    """Whether a group was saved by a program that keeps the averages and no settings."""
    return bool(group.settings.get("optax") or group.settings.get("mlx"))


def _shapes(tensors: Iterable[Tensor]) -> set[str]:
    """The keys of their shapes, and of one that is not known."""
    return {_UNKNOWN, *(text_key(tensor.shape) for tensor in tensors)}


def _misfit(state: OptimizerState, checkpoint: Checkpoint) -> str:
    """Why a state is of no tensor of the checkpoint; empty where it may be of some."""
    shapes = _shapes(checkpoint.tensors)
    if any(one.name is not None or text_key(one.shape) in shapes for one in state.states):
        return ""
    states = plural(len(state.states), "state")
    return f"its {states} fit none of {len(checkpoint.tensors)} tensors"


def _common(groups: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The settings of all groups, UNCERTAIN where they differ."""
    names = dict.fromkeys(name for group in groups for name in group)
    common = {}
    for name in names:
        first, *others = (group.get(name, UNCERTAIN) for group in groups)
        common[name] = first if all(other == first for other in others) else UNCERTAIN
    if common.get("optimizer") is UNCERTAIN:
        common["optimizer"] = WithoutFormula(NOT_KNOWN, DIFFERENT)
    return common
