"""An optimizer state looked at by the names of the model's tensors."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.open_state import find_state, open_state, unread
from scalecheck.checkpoint.optimizer_state import OptimizerState, ParamState
from scalecheck.checkpoint.state_names import named
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.errors import CheckpointError, OptionError
from scalecheck.report.formatting import plural
from scalecheck.updates.recognition import (
    NOT_KNOWN,
    WithoutFormula,
    group_settings,
    is_guessed,
    recognised,
    state_layout,
)

NONE = "none"
GUESSED = "the state does not tell adamw from adam: taken for adamw, --optimizer says otherwise"

UNCERTAIN = "optimizer not known: the groups that the tensor can be in have different ones"

INNER = "optimizer not known: the state is of one inside another, which may change its updates"


class States:
    """The states that are certain to belong to a tensor, and those that are not. unread: why there
    are none though a state was found; its groups stand for all tensors if they are known."""

    def __init__(self, state: OptimizerState | None, checkpoint: Checkpoint) -> None:
        self.path = state.path if state and state.groups else None
        self.unread = state.unread if state else ""
        self.notes: Sequence[str] = state.notes if state else ()
        states = state.states if state else ()
        groups = state.groups if state else ()
        members: list[list[ParamState]] = [[] for _ in groups]
        for one in states:
            members[one.group].append(one)
        known = [*map(recognised, groups, members)]
        self._groups = [*map(group_settings, groups, known)]
        if state and state.is_inner:
            inner = {"optimizer": WithoutFormula(NOT_KNOWN, INNER)}
            self._groups = [{**group, **inner} for group in self._groups]
        if any(map(is_guessed, groups, known)):
            self.notes = (*self.notes, GUESSED)
        if self.unread:
            states = ()
        self.by_name = {one.name: one for one in states if one.name is not None}
        self.unnamed = [one for one in states if one.name is None]
        shapes = {None, *(tensor.shape for tensor in checkpoint.tensors)}
        self._fits_nothing = not self.by_name and not shapes & {one.shape for one in self.unnamed}

    def _possible(self, name: str, shape: Sequence[int]) -> list[Mapping[str, Any]]:
        """The settings of the groups that a tensor can be in: any, where shapes do not tell, as
        those of a state in flat parts do not."""
        if (known := self.by_name.get(name)) is not None:
            return [self._groups[known.group]]
        fit = {one.group for one in self.unnamed if one.shape is None or one.shape == tuple(shape)}
        if self._fits_nothing:
            return [*self._groups]
        return [self._groups[number] for number in sorted(fit)]

    def is_absent(self, name: str, shape: Sequence[int]) -> bool:
        """No group of the state can have the tensor: it is not trained."""
        return self.path is not None and not self._possible(name, shape)

    def settings(self, name: str, shape: Sequence[int]) -> Mapping[str, Any]:
        """The settings of the tensor's group; where that is not certain, what all the groups that
        it can be in have in common."""
        common = _common(self._possible(name, shape))
        if common and "optimizer" not in common:
            return {**common, "optimizer": WithoutFormula(NOT_KNOWN, UNCERTAIN)}
        return common

    def doubts(self, tensors: Iterable[Tensor], given: Collection[str]) -> list[str]:
        """A note on each setting that is neither given nor certain, as groups that a tensor can be
        in differ."""
        unsure: Counter[str] = Counter()
        for tensor in tensors:
            groups = self._possible(tensor.name, tensor.shape)
            unsure.update({name for one in groups for name in one} - _common(groups).keys())
        return [
            f"the {name} of {plural(count, 'tensor')} is not certain, as the group is not: "
            "the optimizer's default stands in"
            for name, count in sorted(unsure.items())
            if name not in given
        ]

    def of_group(self, state: ParamState) -> Mapping[str, Any]:
        """The settings of a state's group."""
        return self._groups[state.group]


def states_of(checkpoint: Checkpoint, where: str | Path | None) -> States:
    """The state in a file, that saved with the checkpoint where None, or none at all for "none".

    Raises CheckpointError where a file is damaged, and as open_state for one that was asked for;
    UsageError where a state that was asked for fits no tensor.
    """
    if str(where) == NONE:
        return States(None, checkpoint)
    if where is not None:
        state = named(open_state(where, state_layout(), checkpoint.tensors), checkpoint)
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
        state = named(found, checkpoint)
    except CheckpointError as error:
        return States(unread(found, error.problem), checkpoint)
    problem = _misfit(state, checkpoint)
    return States(unread(found, problem) if problem else state, checkpoint)


def _misfit(state: OptimizerState, checkpoint: Checkpoint) -> str:
    """Why a state is of no tensor of the checkpoint; empty where it may be of some."""
    shapes = {None, *(tensor.shape for tensor in checkpoint.tensors)}
    if any(one.name is not None or one.shape in shapes for one in state.states):
        return ""
    states = plural(len(state.states), "state")
    return f"its {states} fit none of {len(checkpoint.tensors)} tensors"


def _common(groups: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The settings that all the groups have."""
    if not groups:
        return {}
    first, *others = groups
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in others)
    }
