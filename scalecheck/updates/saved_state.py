"""An optimizer state looked at by the names of the model's tensors."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.open_state import find_state, open_state
from scalecheck.checkpoint.optimizer_state import OptimizerState, ParamState
from scalecheck.checkpoint.state_names import named
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.errors import CheckpointError, OptionError
from scalecheck.report.formatting import plural
from scalecheck.updates.recognition import (
    group_settings,
    is_guessed,
    recognised,
    state_layout,
)
from scalecheck.updates.without_formula import NOT_KNOWN, WithoutFormula

NONE = "none"
GUESSED = "the state does not tell adamw from adam: taken for adamw, --optimizer says otherwise"

UNCERTAIN = "optimizer not known: the groups that the tensor can be in have different ones"

INNER = "optimizer not known: the state is of one inside another, which may change its updates"


class States:
    """The states that are certain to belong to a tensor, and those that are not."""

    def __init__(self, state: OptimizerState | None, checkpoint: Checkpoint) -> None:
        self.path = state.path if state else None
        self.notes: Sequence[str] = state.notes if state else ()
        self.tensors = {tensor.name: tensor for tensor in checkpoint.tensors}
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

    Raises CheckpointError as open_state; UsageError where a state that was asked for fits no
    tensor.
    """
    if str(where) == NONE:
        return States(None, checkpoint)
    if where is None:
        try:
            state = find_state(checkpoint, state_layout())
        except CheckpointError as error:
            raise CheckpointError(
                error.path, f"{error.problem}; go on with --state none"
            ) from error
        return States(named(state, checkpoint) if state else None, checkpoint)
    found = States(named(open_state(where, state_layout()), checkpoint), checkpoint)
    shapes = {tensor.shape for tensor in checkpoint.tensors}
    if not found.by_name and not any(one.shape in shapes for one in found.unnamed):
        raise OptionError(
            "state",
            f"its {len(found.unnamed)} states fit none of {len(checkpoint.tensors)} tensors",
            where,
        )
    return found


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
