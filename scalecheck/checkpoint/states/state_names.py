"""The names that a checkpoint has for the parameters of an optimizer state, where they are certain:
a wrong name would pass one layer's update off as another's."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.evidence.inventory import words
from scalecheck.checkpoint.evidence.wrappers import bare_name, bare_names
from scalecheck.checkpoint.files.strict_json import parsed, text_of
from scalecheck.checkpoint.keys import text_key
from scalecheck.checkpoint.optimizer_state import OptimizerState
from scalecheck.checkpoint.states.given_names import given_names
from scalecheck.checkpoint.states.module_order import certain_by_class, reachable_by_class
from scalecheck.checkpoint.states.parameter_order import Group, Shape, certain, reachable
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import excerpt

_COPY = frozenset(
    re.findall(
        r"\w+",
        "ema average averaged avg shadow swa polyak teacher target best current last latest old "
        "previous prev reference ref initial init copy backup master fp32",
    )
)
"""Words in the name of a part that holds a copy of the model beside it."""
_MATCHED = "optimizer states are matched to tensors"
MAX_CONFIG_NBYTES = 1 << 20  # a config.json has a few kilobytes


def named(
    state: OptimizerState, checkpoint: Checkpoint, given: str | Path | None = None
) -> OptimizerState:
    """The state with the checkpoint's names for its parameters, where they are certain.

    A name is certain where the file of `given` says it, as `given_names` reads it; where it was
    saved with the state, as by an optimizer that was given named_parameters(); or, where no names
    were saved, where the class that config.json names gives the order, or shapes and order leave no
    other, as `parameter_order.certain` explains. Assumed is that the checkpoint holds every
    parameter the optimizer trains. The notes say what was named and how.

    Raises OptionError for names that do not fit, CheckpointError where the checkpoint has another
    shape under a saved name.
    """
    count = len(state.states)
    told = {} if given is None else given_names(given, state.states, checkpoint)
    if given is not None and len(told) == count:
        names, note = told, f"{count} of {count} {_MATCHED} by {given}."
    else:
        names, note = _found(state, checkpoint)
        if told:
            kept = {place: name for place, name in names.items() if name not in told.values()}
            names = kept | told
            note = f"{len(told)} of {count} {_MATCHED} by {given}. Without it: {note}"
    states = (replace(one, name=names.get(place)) for place, one in enumerate(state.states))
    return replace(state, states=tuple(states), notes=(*state.notes, note))


def trainable(state: OptimizerState, checkpoint: Checkpoint, places: Set[int]) -> set[str] | None:
    """The tensors that states in these places can be of, by the orders in which training code lists
    parameters; None where no order tells."""
    if any(one.saved_name is not None for one in state.states):
        return None
    search = _Search(state, checkpoint)
    if not search.groups or not places <= search.placed:
        return None
    stored = {bare: name for name, bare in bare_names(search.shapes).items()}
    shapes = {bare: search.shapes[name] for bare, name in stored.items()}
    found = reachable_by_class(search.groups, shapes, search.config, places)
    if found is not None:
        return {stored[bare] for bare in found}
    return reachable(search.groups, search.shapes, places, in_order=search.in_order)


def parameters_of(checkpoint: Checkpoint) -> list[Tensor]:
    """The tensors that an optimizer of the model may train: of tied ones the first."""
    first: dict[str, Tensor] = {}
    for tensor in checkpoint.tensors:
        if tensor.kind.is_weight:
            first.setdefault(tensor.tied_to or tensor.name, tensor)
    return [*first.values()]


def beside(checkpoint: Checkpoint) -> list[Tensor]:
    """What lies beside the model and is not said to be a copy of it, such as a discriminator: the
    optimizer may train that too."""
    shapes = {tensor.name: tensor.shape for tensor in checkpoint.tensors if tensor.kind.is_weight}

    def is_copy(tensor: Tensor) -> bool:
        for match in re.finditer(r"\.", tensor.name):
            part, name = tensor.name[: match.start()], tensor.name[match.end() :]
            if shapes.get(name) == tensor.shape and _COPY & words(part):
                return True
        return False

    return [
        tensor
        for tensor in checkpoint.tensors
        if tensor.kind.kind == "other" and tensor.role != "buffer" and not is_copy(tensor)
    ]


def _found(state: OptimizerState, checkpoint: Checkpoint) -> tuple[dict[int, str], str]:
    """The names that the state and the checkpoint tell, and how."""
    if any(one.saved_name is not None for one in state.states):
        model = [t for t in checkpoint.tensors if t.kind.kind in ("parameter", "piece")]
        return _saved(state, model, checkpoint)
    return _by_order(state, checkpoint)


def _saved(
    state: OptimizerState, model: Sequence[Tensor], checkpoint: Checkpoint
) -> tuple[dict[int, str], str]:
    """The checkpoint's names by the saved ones, which a wrapper may have changed. Two states of one
    name, as of two modules trained together, get none."""
    tensors = defaultdict(list)
    for tensor in model:
        tensors[bare_name(tensor.name)].append(tensor)
    saved = [None if one.saved_name is None else bare_name(one.saved_name) for one in state.states]
    inside = _inside(filter(None, saved), tensors)
    saved = [None if name is None else inside + name for name in saved]
    claims = Counter(saved)
    names = {}
    for place, (one, bare) in enumerate(zip(state.states, saved, strict=True)):
        if bare is None or claims[bare] != 1 or len(tensors[bare]) != 1:
            continue
        [tensor] = tensors[bare]
        if one.shape is not None and one.shape != tensor.shape:
            raise CheckpointError(
                state.path,
                f"{excerpt(tensor.name)} has a state of shape {[*one.shape]},"
                f" {checkpoint.path} has it of shape {[*tensor.shape]}",
            )
        names[place] = tensor.name
    return names, f"{len(names)} of {len(state.states)} {_MATCHED} by the names saved with them."


def _inside(saved: Iterable[str], tensors: Mapping[str, object]) -> str:
    """Where a model is inside what was saved, such as `model.` of a Lightning module: what stands
    before every saved name, where none is a tensor's as it is and only one such part is there."""
    names = [*dict.fromkeys(saved)]
    if not names or any(name in tensors for name in names):
        return ""
    end = f".{names[0]}"
    parts = [name.removesuffix(names[0]) for name in tensors if name.endswith(end)]
    found = [part for part in parts if all(part + name in tensors for name in names)]
    return found[0] if len(found) == 1 else ""


class _Search:
    """What order and shapes have to say: the states of each group by their places, without those
    that may be of what lies beside the model, and the model's parameters."""

    def __init__(self, state: OptimizerState, checkpoint: Checkpoint) -> None:
        parameters = parameters_of(checkpoint)
        others = {text_key(tensor.shape) for tensor in beside(checkpoint)}
        self.groups: list[Group] = [{} for _ in state.groups]
        for place, one in enumerate(state.states):
            if not others or (one.shape is not None and text_key(one.shape) not in others):
                self.groups[one.group][place] = one.shape
        self.placed = {place for group in self.groups for place in group}
        self.in_order = checkpoint.in_order and not _is_sorted(_modules(checkpoint))
        self.shapes = {tensor.name: tensor.shape for tensor in parameters}
        self.config = {} if checkpoint.in_memory else configuration(checkpoint.path)


def _by_order(state: OptimizerState, checkpoint: Checkpoint) -> tuple[dict[int, str], str]:
    """Names by shapes and order."""
    search = _Search(state, checkpoint)
    count = len(state.states)
    if (by_class := _by_class(search.groups, search.shapes, search.config)) is not None:
        class_name = excerpt(str(search.config["architectures"][0]), 40)
        words = f"{_MATCHED} by the module order of {class_name} (config.json)."
        return by_class, f"{len(by_class)} of {count} {words}"
    names = certain(search.groups, search.shapes, in_order=search.in_order)
    if names is None:
        return {}, (
            f"No optimizer state is matched to a tensor: no order of the model's tensors gives the "
            f"shapes of the {count} states."
        )
    how = "index, because the file does not keep the model's order"
    note = f"{len(names)} of {count} {_MATCHED} by shape and "
    note += "the model's order." if search.in_order else f"{how}."
    more = count - len(names)
    return names, note + (f" {more} could belong to more than one tensor." if more else "")


def configuration(path: Path) -> Mapping[str, Any]:
    """The config.json beside a model's weights, which names its class; empty where there is none
    that can be read."""
    folder = path if path.is_dir() else path.parent
    try:
        text = text_of(folder / "config.json", MAX_CONFIG_NBYTES)
        config = None if text is None else parsed(text)
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _by_class(
    groups: Sequence[Group], shapes: Mapping[str, Shape], config: Mapping[str, Any]
) -> dict[int, str] | None:
    """The checkpoint's names in the order of the class that the configuration names; None where the
    class is not known or the states do not fit it."""
    stored = {bare: name for name, bare in bare_names(shapes).items()}
    names = certain_by_class(groups, {b: shapes[n] for b, n in stored.items()}, config)
    return None if names is None else {place: stored[bare] for place, bare in names.items()}


def _modules(checkpoint: Checkpoint) -> list[Tensor]:
    """The parameters, and the buffers of their modules: of `out`, state_dict() lists `out.weight`
    before the buffer `out.mask`, and the alphabet after it."""
    parameters = parameters_of(checkpoint)
    own = {tensor.name for tensor in parameters}
    places = {name.rpartition(".")[0] for name in own}
    return [
        tensor
        for tensor in checkpoint.tensors
        if tensor.name in own
        or (tensor.kind.kind == "buffer" and tensor.name.rpartition(".")[0] in places)
    ]


def _is_sorted(tensors: Iterable[Tensor]) -> bool:
    """Whether the names of each type are in the order of the alphabet: that of a file made from a
    safetensors file, which keeps no other."""
    names = defaultdict(list)
    for tensor in tensors:
        names[tensor.dtype.name].append(tensor.name)
    return all(alike == sorted(alike) for alike in names.values())
