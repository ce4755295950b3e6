"""The tensors that lie in an optimizer's file: those of parameters' states, which the rules on
states judge, and all others, which are judged for NaN and inf."""

from collections.abc import Sequence
from math import isfinite

from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.checkpoint.source import identity
from scalecheck.checkpoint.states.state_reader import stretch
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.measure.measuring import measure
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.rules.contract import StateFacts, TensorFacts
from scalecheck.rules.judging.forecasts import Forecasts
from scalecheck.updates.saved_state import NONE, States


def in_no_state(checkpoint: Checkpoint, states: States, where: object) -> list[Tensor]:
    """The tensors of optimizers that are in no parameter's state that is judged: those of the file
    that the state is read from, and those of the checkpoint where that is another one. where: what
    --state says; none leaves all of them. A whole optimizer has the model's tensors too."""
    if str(where) == NONE:
        return []
    read = {identity(tensor.source) for tensor in states.in_file}
    own = (tensor for tensor in checkpoint.optimizer if identity(tensor.source) not in read)
    found = [*states.in_no_state, *own]
    rows = {stretch(tensor) for tensor in checkpoint.tensors} if found else set()
    return [tensor for tensor in found if tensor.unmeasured or stretch(tensor) not in rows]


def other_facts(tensors: Sequence[Tensor], jobs: int | None) -> list[TensorFacts]:
    """What SC101 sees of them. Integers are always finite, and are not read."""
    floats = tuple(tensor for tensor in tensors if _has_scale(tensor))
    return [TensorFacts(TensorStats.of(*measured)) for measured in measure(floats, jobs)]


def unmeasured_in(states: Sequence[ParamState], others: Sequence[Tensor]) -> list[Tensor]:
    """Those of both that could not be measured."""
    every = (*(tensor for one in states for tensor in one.tensors.values()), *others)
    return [tensor for tensor in every if tensor.unmeasured is not None]


def state_facts(
    states: Sequence[ParamState], forecasts: Forecasts, roles: dict[str, str], jobs: int | None
) -> list[StateFacts]:
    """What the rules see of states, each tensor of floats measured."""
    floats = [{n: t for n, t in one.tensors.items() if _has_scale(t)} for one in states]
    measured = measure(tuple(tensor for own in floats for tensor in own.values()), jobs)
    found = []
    for one, own in zip(states, floats, strict=True):
        scales = {name: TensorStats.of(*next(measured)) for name in own}
        eps_share, beta2 = forecasts.figures(one)
        found.append(
            StateFacts(
                one.label,
                roles.get(one.name or "", ""),
                scales,
                [t for n, t in one.tensors.items() if n not in own and t.unmeasured is None],
                [n for n, x in one.numbers.items() if isinstance(x, float) and not isfinite(x)],
                eps_share,
                beta2,
            )
        )
    return found


def _has_scale(tensor: Tensor) -> bool:
    return tensor.dtype.is_float and tensor.unmeasured is None
