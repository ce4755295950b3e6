"""The names that a checkpoint has for the parameters of an optimizer state, where they are certain:
a wrong name would pass one layer's update off as another's."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.module_order import certain_by_class
from scalecheck.checkpoint.optimizer_state import OptimizerState
from scalecheck.checkpoint.parameter_order import Group, Shape, certain
from scalecheck.checkpoint.strict_json import parsed, text_of
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.checkpoint.wrappers import bare_name, bare_names
from scalecheck.errors import CheckpointError
from scalecheck.report.formatting import excerpt

MAX_CONFIG_NBYTES = 1 << 20  # a config.json has a few kilobytes


def named(state: OptimizerState, checkpoint: Checkpoint) -> OptimizerState:
    """The state with the checkpoint's names for its parameters, where they are certain.

    A name is certain where it was saved with the state, as by an optimizer that was given
    named_parameters(); or, where no names were saved, where the class that config.json names gives
    the order, or shapes and order leave no other, as `parameter_order.certain` explains. Assumed is
    that the checkpoint holds every parameter the optimizer trains. The notes say what was named and
    how.

    Raises CheckpointError where the checkpoint has another shape under a saved name.
    """
    model = [tensor for tensor in checkpoint.tensors if tensor.kind.is_weight]
    if any(one.saved_name is not None for one in state.states):
        names, note = _saved(state, model, checkpoint)
    else:
        names, note = _by_order(state, model, checkpoint)
    states = (replace(one, name=names.get(place)) for place, one in enumerate(state.states))
    return replace(state, states=tuple(states), notes=(*state.notes, note))


def _saved(
    state: OptimizerState, model: Sequence[Tensor], checkpoint: Checkpoint
) -> tuple[dict[int, str], str]:
    """The checkpoint's names by the saved ones, which a wrapper may have changed. Two states of one
    name, as of two modules trained together, get none."""
    tensors = defaultdict(list)
    for tensor in model:
        tensors[bare_name(tensor.name)].append(tensor)
    saved = [None if one.saved_name is None else bare_name(one.saved_name) for one in state.states]
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
    return names, f"{len(names)} of {len(state.states)} parameters named as saved with the state"


def _by_order(
    state: OptimizerState, model: Sequence[Tensor], checkpoint: Checkpoint
) -> tuple[dict[int, str], str]:
    """Names by shapes and order."""
    parameters = _parameters(model)
    others = _others(model, checkpoint)
    groups: list[Group] = [{} for _ in state.groups]
    for place, one in enumerate(state.states):
        if not others or (one.shape is not None and one.shape not in others):
            groups[one.group][place] = one.shape
    in_order = checkpoint.in_order and not _is_sorted(parameters)
    shapes = {tensor.name: tensor.shape for tensor in parameters}
    count = len(state.states)
    config = _configuration(checkpoint.path)
    if (by_class := _by_class(groups, shapes, config)) is not None:
        class_name = excerpt(str(config["architectures"][0]), 40)
        words = f"parameters named by the module order of {class_name} (config.json)"
        return by_class, f"{len(by_class)} of {count} {words}"
    names = certain(groups, shapes, in_order=in_order)
    if names is None:
        return {}, f"no parameter named: {count} shapes fit those of the model in no order"
    how = "the model's order" if in_order else "index, as the file does not keep the model's order"
    note = f"{len(names)} of {count} parameters named by shape and {how}"
    more = count - len(names)
    return names, note + (f": for {more} another name is possible" if more else "")


def _configuration(path: Path) -> Mapping[str, Any]:
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


def _parameters(model: Iterable[Tensor]) -> list[Tensor]:
    """Of tied tensors the first."""
    first: dict[str, Tensor] = {}
    for tensor in model:
        first.setdefault(tensor.tied_to or tensor.name, tensor)
    return [*first.values()]


def _others(model: Iterable[Tensor], checkpoint: Checkpoint) -> set[tuple[int, ...]]:
    """The shapes of what lies beside the model and is no copy of it, such as a discriminator: the
    optimizer may train that too."""
    shapes = {tensor.name: tensor.shape for tensor in model}

    def is_copy(tensor: Tensor) -> bool:
        cuts = (match.end() for match in re.finditer(r"\.", tensor.name))
        return any(shapes.get(tensor.name[cut:]) == tensor.shape for cut in cuts)

    return {
        tensor.shape
        for tensor in checkpoint.tensors
        if tensor.kind.kind == "other" and tensor.role != "buffer" and not is_copy(tensor)
    }


def _is_sorted(parameters: Iterable[Tensor]) -> bool:
    """Whether the names of each type are in the order of the alphabet: that of a file made from a
    safetensors file, which keeps no other."""
    names = defaultdict(list)
    for tensor in parameters:
        names[tensor.dtype.name].append(tensor.name)
    return all(alike == sorted(alike) for alike in names.values())
