"""Which of a model's tensors an optimizer trains, by the states that were saved of them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from functools import cached_property

from scalecheck.checkpoint.keys import text_key
from scalecheck.checkpoint.optimizer_state import OptimizerState, ParamState
from scalecheck.checkpoint.states.parameter_order import Shape
from scalecheck.checkpoint.states.state_names import beside, parameters_of, trainable
from scalecheck.checkpoint.tensor import Checkpoint, Tensor

NO_STATE = "no state"
NOT_ITS_OWN = "not among the optimizer's parameters"
EMPTY_STATE = "empty state, because it had no gradient"
STILL = "its group has lr 0"
_UNKNOWN = text_key(None)  # the shape of states that do not tell it


@dataclass(frozen=True)
class Trained:
    """not_trained, not_certain: the reasons by the names of tensors; the others are trained."""

    not_trained: dict[str, str] = field(default_factory=dict)
    not_certain: dict[str, str] = field(default_factory=dict)


def trained(
    state: OptimizerState, checkpoint: Checkpoint, empty: Set[int], still: Set[int]
) -> Trained:
    """What the states say of every tensor of the model.

    A tensor has no state where the states that are not named are of other shapes, or where no order
    of the parameters leads to it; whether it has one is not certain where fewer states than tensors
    of its shape are left. empty: the places of states that hold nothing because their parameters
    had no gradient. still: the numbers of groups whose lr is 0.
    """
    parameters, others = parameters_of(checkpoint), beside(checkpoint)
    places = {one.name: place for place, one in enumerate(state.states) if one.name is not None}
    left = {
        place: one
        for place, one in enumerate(state.states)
        if one.name is None and place not in empty
    }
    reached = trainable(state, checkpoint, left.keys())
    elsewhere = {text_key(tensor.shape) for tensor in others}
    moves: dict[str, bool] = defaultdict(bool)  # by the shapes of states that are left
    for one in left.values():
        moves[text_key(one.shape)] |= one.group not in still

    def without_update(tensor: Tensor) -> str | None:
        if (place := places.get(tensor.name)) is not None:
            is_still = state.states[place].group in still
            return EMPTY_STATE if place in empty else STILL if is_still else None
        key = text_key(tensor.shape)
        is_free = reached is None or key in elsewhere or tensor.name in reached
        possible = [moves[shape] for shape in (key, _UNKNOWN) if shape in moves]
        if not (is_free and possible):
            return NOT_ITS_OWN if state.in_memory else NO_STATE
        return None if any(possible) else STILL

    reasons = {tensor.name: without_update(tensor) for tensor in parameters}
    not_trained = {name: why for name, why in reasons.items() if why is not None}
    candidates = [t for t in parameters if t.name not in places and t.name not in not_trained]
    counts = _Counts(
        every=_by_shape([*parameters, *others]),
        named=_by_shape(t for t in parameters if t.name in places and t.name not in not_trained),
        left=_by_shape(left.values()),
        room=_by_shape([*candidates, *others]),
    )
    doubts = {tensor.name: counts.doubt(tensor.shape) for tensor in candidates}
    return Trained(not_trained, {name: why for name, why in doubts.items() if why is not None})


def _by_shape(shaped: Iterable[Tensor | ParamState]) -> Counter[str]:
    return Counter(text_key(one.shape) for one in shaped)


@dataclass(frozen=True)
class _Counts:
    """By shape: every tensor, those that are certainly trained, the states that are left for the
    others, and the tensors that these can be of."""

    every: Counter[str]
    named: Counter[str]
    left: Counter[str]
    room: Counter[str]

    @cached_property
    def _of_all(self) -> tuple[int, int, int, int]:
        """Of all shapes: the states left, the tensors that they can be of, those that are trained
        and every one."""
        states = self.left.total()
        return states, self.room.total(), states + self.named.total(), self.every.total()

    def doubt(self, shape: Shape) -> str | None:
        """Why it is not certain whether a tensor of this shape is trained; None where it is."""
        if _UNKNOWN in self.left:
            states, tensors, count, every = self._of_all
            what = "tensors"
        else:
            key = text_key(shape)
            states, tensors = self.left[key], self.room[key]
            count, every = states + self.named[key], self.every[key]
            what = f"tensors of shape {'×'.join(map(str, shape)) or '()'}"
        if states >= tensors:
            return None
        return f"{count} of {every} {what} are trained, and it is not certain which"
