"""Several optimizer states of one file, as of Muon and AdamW or of a GAN: read as one where they
train different tensors."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from scalecheck.checkpoint.evidence.wrappers import bare_name
from scalecheck.checkpoint.keys import text_key
from scalecheck.checkpoint.optimizer_state import OptimizerState, ParamGroup, ParamState
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.report.formatting import listed, plural

Found = Sequence[tuple[str, OptimizerState]]
"""Each state with the place of its optimizer in the file."""


def together(found: Found) -> OptimizerState:
    """One state of all their groups, one after another; each parameter says which it is from."""
    groups: list[ParamGroup] = []
    states: list[ParamState] = []
    notes = [f"{len(found)} optimizer states are read together: {counted(found)}"]
    for at, one in found:
        states += (replace(s, group=s.group + len(groups), place=at) for s in one.states)
        groups += one.groups
        notes += (f"{at}: {note}" for note in one.notes)
    return OptimizerState(
        found[0][1].path,
        (*groups,),
        (*states,),
        (*notes,),
        is_inner=any(one.is_inner for _, one in found),
    )


def counted(found: Found) -> str:
    """The places, each with the number of its parameters."""
    return listed([f"{at} ({plural(len(one.states), 'state')})" for at, one in found])


def are_disjoint(found: Found, tensors: Sequence[Tensor]) -> bool:
    """Whether no tensor needs to be trained by two of them: none is claimed by name more often than
    the file has it, and no more states have a shape than tensors that can be trained."""
    trained = _trainable(tensors)
    states = [state for _, one in found for state in one.states]
    if len(states) > len(trained):
        return False
    claims = Counter(bare_name(one.saved_name) for one in states if one.saved_name is not None)
    twice = {name for name, count in claims.items() if count > 1}
    has = Counter(end for tensor in trained for end in _ends(tensor.name) if end in twice)
    if any(claims[name] > has[name] for name in twice):
        return False
    if all(one.saved_name is not None for one in states):
        return True
    shapes = Counter(text_key(tensor.shape) for tensor in trained)
    wanted = Counter(text_key(one.shape) for one in states if one.shape is not None)
    return all(count <= shapes[shape] for shape, count in wanted.items())


def _trainable(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The model's parameters, and those of a network beside it that is no copy of it, such as a
    discriminator."""
    alone = [tensor for tensor in tensors if tensor.tied_to is None]
    model = {t.name: t for t in alone if t.kind.kind in ("parameter", "piece")}

    def is_copy(tensor: Tensor) -> bool:
        ends = (model.get(end) for end in _ends(tensor.name))
        return any(one is not None and one.shape == tensor.shape for one in ends)

    beside = (t for t in alone if t.kind.kind == "other" and t.role != "buffer")
    return [*model.values(), *(tensor for tensor in beside if not is_copy(tensor))]


def _ends(name: str) -> Iterable[str]:
    """The bare name, and what of it a module inside would call the tensor."""
    parts = bare_name(name).split(".")
    return (".".join(parts[cut:]) for cut in range(len(parts)))
