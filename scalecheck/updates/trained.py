"""Which of a model's tensors an optimizer trains, by the states that were saved of them."""

from collections import Counter, defaultdict
from collections.abc import Set
from dataclasses import dataclass, field

from scalecheck.checkpoint.optimizer_state import OptimizerState
from scalecheck.checkpoint.parameter_order import Shape
from scalecheck.checkpoint.state_names import beside, parameters_of, trainable
from scalecheck.checkpoint.tensor import Checkpoint, Tensor

NO_STATE = "no state"
EMPTY_STATE = "empty state, as it had no gradient"
STILL = "its group has lr 0"


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
    elsewhere = {tensor.shape for tensor in others}
    groups: dict[Shape | None, set[int]] = defaultdict(set)
    for one in left.values():
        groups[one.shape].add(one.group)

    def without_update(tensor: Tensor) -> str | None:
        if (place := places.get(tensor.name)) is not None:
            is_still = state.states[place].group in still
            return EMPTY_STATE if place in empty else STILL if is_still else None
        is_free = reached is None or tensor.shape in elsewhere or tensor.name in reached
        possible = groups.get(tensor.shape, set()) | groups.get(None, set())
        if not (is_free and possible):
            return NO_STATE
        return STILL if possible <= still else None

    reasons = {tensor.name: without_update(tensor) for tensor in parameters}
    not_trained = {name: why for name, why in reasons.items() if why is not None}
    counts = _Counts(
        every=Counter(tensor.shape for tensor in [*parameters, *others]),
        named=Counter(
            tensor.shape
            for tensor in parameters
            if tensor.name in places and tensor.name not in not_trained
        ),
        left=Counter(one.shape for one in left.values()),
    )
    candidates = [t for t in parameters if t.name not in places and t.name not in not_trained]
    room = Counter(tensor.shape for tensor in [*candidates, *others])
    doubts = {tensor.name: counts.doubt(tensor.shape, room) for tensor in candidates}
    return Trained(not_trained, {name: why for name, why in doubts.items() if why is not None})


@dataclass(frozen=True)
class _Counts:
    """By shape: every tensor, those that are certainly trained, and the states that are left for
    the others, those of unknown shape under None."""

    every: Counter[Shape]
    named: Counter[Shape]
    left: Counter[Shape | None]

    def doubt(self, shape: Shape, room: Counter[Shape]) -> str | None:
        """Why it is not certain whether a tensor of this shape is trained; None where it is. room:
        the tensors that the states left can be of."""
        if None in self.left:
            states, tensors, what = self.left.total(), room.total(), "tensors"
            count, every = states + self.named.total(), self.every.total()
        else:
            states, tensors = self.left[shape], room[shape]
            what = f"tensors of shape {'×'.join(map(str, shape)) or '()'}"
            count, every = states + self.named[shape], self.every[shape]
        if states >= tensors:
            return None
        return f"{count} of {every} {what} are trained; which is not certain"
