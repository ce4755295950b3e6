"""Which of a model's tensors an optimizer trains, by the states that were saved of them."""

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from scalecheck.checkpoint.optimizer_state import OptimizerState
from scalecheck.checkpoint.state_names import beside, parameters_of, trainable
from scalecheck.checkpoint.tensor import Checkpoint

NO_STATE = "no state"
EMPTY_STATE = "empty state, as it had no gradient"
STILL = "its group has lr 0"


@dataclass(frozen=True)
class Trained:
    """not_trained, not_certain: the reasons by the names of tensors; the others are trained."""

    not_trained: dict[str, str] = field(default_factory=dict)
    not_certain: dict[str, str] = field(default_factory=dict)


def trained(
    state: OptimizerState, checkpoint: Checkpoint, empty: Collection[int], still: Collection[int]
) -> Trained:
    """What the states say of every tensor of the model.

    A tensor has no state where the states that are not named are of other shapes, or where no order
    of the parameters leads to it; whether it has one is not certain where fewer states than tensors
    of its shape are left. empty: the places of states that hold nothing because their parameters
    had no gradient. still: the numbers of groups whose lr is 0.
    """
    found = Trained()
    parameters, others = parameters_of(checkpoint), beside(checkpoint)
    own = {one.name: place for place, one in enumerate(state.states) if one.name is not None}
    left = {
        place: one
        for place, one in enumerate(state.states)
        if one.name is None and place not in empty
    }
    reached = trainable(state, checkpoint, left.keys())
    shapes = Counter(one.shape for one in left.values())
    elsewhere = {tensor.shape for tensor in others}
    candidates = []
    for tensor in parameters:
        place = own.get(tensor.name)
        is_free = reached is None or tensor.shape in elsewhere or tensor.name in reached
        if place is None and is_free and shapes.keys() & {None, tensor.shape}:
            candidates.append(tensor)
        elif place is None:
            found.not_trained[tensor.name] = NO_STATE
        elif place in empty:
            found.not_trained[tensor.name] = EMPTY_STATE
        elif state.states[place].group in still:
            found.not_trained[tensor.name] = STILL
    groups: dict[tuple[int, ...] | None, set[int]] = defaultdict(set)
    for one in left.values():
        groups[one.shape].add(one.group)
    trained_names = own.keys() - found.not_trained.keys()
    every = Counter(tensor.shape for tensor in [*parameters, *others])
    room = Counter(tensor.shape for tensor in [*candidates, *others])
    moving = Counter(t.shape for t in parameters if t.name in trained_names)
    for tensor in candidates:
        shape = tensor.shape
        if groups[shape] | groups[None] <= {*still}:
            found.not_trained[tensor.name] = STILL
        elif None in shapes:
            if shapes.total() < room.total():
                count = shapes.total() + moving.total()
                found.not_certain[tensor.name] = _doubt(count, every.total(), "tensors")
        elif shapes[shape] < room[shape]:
            what = f"tensors of shape {'×'.join(map(str, shape)) or '()'}"
            count = shapes[shape] + moving[shape]
            found.not_certain[tensor.name] = _doubt(count, every[shape], what)
    return found


def _doubt(count: int, every: int, what: str) -> str:
    return f"{count} of {every} {what} are trained; which is not certain"
