"""The optimizer state beside Keras's weights: a row of variables, whose parameters follow from the
names or from the order of the layers, and whose settings are in the model's configuration."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.kinds import kinds
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.state_file import recorded
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.report.formatting import excerpt

_MAX_LAYERS = 1 << 16

_STATE = ("optimizer/", "optimizer_weights/")
_WEIGHTS = "model_weights/"
_OUTPUT = ":0"
_OF_TF = {"momentum": "m", "velocity": "v"}  # entries as tf.keras calls them
_COUNTS = ("iteration", "learning_rate")


@dataclass(frozen=True)
class _Kept:
    """What an optimizer of Keras keeps for each parameter, as Keras calls it and as torch does, and
    its settings by torch's names."""

    entries: Mapping[str, str]
    settings: Mapping[str, str]


_ADAM = _Kept(
    {"momentum": "exp_avg", "velocity": "exp_avg_sq"},
    {"beta_1": "beta1", "beta_2": "beta2", "epsilon": "eps", "weight_decay": "weight_decay"},
)
_OPTIMIZERS = {"Adam": _ADAM, "AdamW": _ADAM}
# Settings that change the update, with the value that leaves it as it is.
_PLAIN = {"amsgrad": False, "use_ema": False}


def keras_checkpoint(
    path: Path, format: str, found: Sequence[Tensor], config: Any, order: Sequence[str]
) -> Checkpoint:
    """The checkpoint of some datasets, the optimizer's apart.

    config: the optimizer's configuration, None where there is none; order: the names of the
    parameters as the optimizer numbers them, empty where that is not known.
    """
    found = _without_outputs(found)
    state = tuple(tensor for tensor in found if tensor.name.startswith(_STATE))
    model = tuple(tensor for tensor in found if not tensor.name.startswith(_STATE))
    if not state:
        return Checkpoint(path, format, model)
    tree, problem = _tree(model, state, config, order)
    return Checkpoint(path, format, model, optimizer=state, tree=tree, not_understood=problem)


def _without_outputs(found: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The datasets without the `:0` that TensorFlow adds to the names of variables."""
    bare = [tensor.name.removesuffix(_OUTPUT) for tensor in found]
    if len({*bare}) < len(bare):
        return (*found,)
    ties = {tensor.name: name for tensor, name in zip(found, bare, strict=True)}
    return tuple(
        replace(tensor, name=name, tied_to=ties.get(tensor.tied_to or "", tensor.tied_to))
        for tensor, name in zip(found, bare, strict=True)
    )


def layers_of(config: Mapping[str, Any]) -> list[str]:
    """The names of a model's layers in the order in which it has them, those of models inside it
    too; empty where the configuration lists none."""
    names: list[str] = []
    stack = [config]
    while stack and len(names) <= _MAX_LAYERS:
        node = stack.pop()
        own = node.get("config")
        layers = own.get("layers") if isinstance(own, dict) else None
        if isinstance(layers, list):
            stack += [layer for layer in reversed(layers) if isinstance(layer, dict)]
        elif isinstance(own, dict) and isinstance(own.get("name"), str):
            names.append(own["name"])
    return names


def order_of_layers(
    found: Sequence[Tensor], layer_of: Mapping[str, str | None], layers: Sequence[str]
) -> list[str]:
    """The names of the weights by the order of their layers; empty where a layer has no name, or
    two have one. layer_of: the layer's name of each group of variables."""
    places = {name: place for place, name in enumerate(layers)}
    groups: dict[str, list[str]] = {}
    for tensor in found:
        if tensor.dtype.is_float and not tensor.name.startswith(_STATE):  # a seed is an integer
            groups.setdefault(tensor.name.rpartition("/")[0], []).append(tensor.name)
    names = [layer_of.get(group) for group in groups]
    if len(set(names)) < len(names) or len(places) < len(layers) or not places.keys() >= {*names}:
        return []
    ordered = sorted(groups, key=lambda group: places[layer_of[group] or ""])
    return [name for group in ordered for name in sorted(groups[group], key=_number)]


def legacy_order(names: Sequence[str]) -> list[str]:
    """The names of the weights of a file in which the state's have the weights' names in theirs."""
    return [name.removesuffix(_OUTPUT) for name in names if name.startswith(_WEIGHTS)]


def _number(name: str) -> tuple[int, str]:
    word = name.rpartition("/")[2]
    return (int(word), "") if word.isascii() and word.isdigit() and len(word) < 9 else (0, word)


def _tree(
    model: Sequence[Tensor], state: Sequence[Tensor], config: Any, order: Sequence[str]
) -> tuple[object, str]:
    """The tree of a state that is understood, else why it is not."""
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        return None, "the file does not keep the settings of its optimizer"
    word, settings = config.get("class_name"), config["config"]
    kept = _OPTIMIZERS.get(word) if isinstance(word, str) else None
    if kept is None:
        return None, f"Keras's {excerpt(str(word), 40)} is not known here"
    if changed := [key for key, plain in _PLAIN.items() if settings.get(key) not in (None, plain)]:
        return None, f"{changed[0]} is on, which is not known here"
    weights = {tensor.name: tensor for tensor in model}
    what = kinds(model)
    trained = [weights[name] for name in order if what[name].is_parameter]
    counts, slots = _slots(state, [*kept.entries], trained)
    if slots is None or "iteration" not in counts:
        return None, "which of its tensors is of which weight does not follow from the file"
    numbers = {name: _scalar(tensor) for name, tensor in counts.items()}
    if "learning_rate" not in numbers and not settings.get("decay"):  # as tf.keras saves it
        numbers["learning_rate"] = settings.get("learning_rate")
    step, lr = numbers.get("iteration"), numbers.get("learning_rate")
    own = {name: settings[key] for key, name in kept.settings.items() if settings.get(key)}
    beta1, beta2 = own.pop("beta1", 0.0), own.pop("beta2", 0.0)
    if not all(isinstance(x, float) for x in (step, lr, beta1, beta2, *own.values())):
        return None, "its settings are not numbers that stay the same"
    # Keras adds eps to the root of v, torch to that of v̂, which is larger.
    if step and 0 < beta2 < 1 and "eps" in own:
        own["eps"] /= (1 - beta2**step) ** 0.5
    group = {"lr": lr, "betas": (beta1, beta2), "weight_decay": 0.0, "amsgrad": False, **own}
    group["decoupled_weight_decay"] = True  # Keras takes it off the weights
    states = {
        name: {"step": step, **{kept.entries[key]: recorded(one) for key, one in entries.items()}}
        for name, entries in slots.items()
    }
    return {"optimizer": {"state": states, "param_groups": [{**group, "params": [*states]}]}}, ""


def _scalar(tensor: Tensor) -> float | None:
    """The number of a tensor of one element."""
    if tensor.numel != 1 or tensor.unmeasured:
        return None
    with Readers() as readers:
        [block] = tensor.blocks(readers=readers)
        return float(tensor.dtype.decode(block)[0])


Slots = dict[str, dict[str, Tensor]]


def _slots(
    state: Sequence[Tensor], entries: Sequence[str], weights: Sequence[Tensor]
) -> tuple[dict[str, Tensor], Slots | None]:
    """The counts of a state, and each weight's entries by their names; None where it is not certain
    which weight one is of."""
    if any(tensor.name.endswith("/iter") for tensor in state):
        return _by_path(state, weights)
    last = {tensor.name.rpartition("/")[2]: tensor for tensor in state}
    if len(last) < len(state):
        return {}, None
    if "iteration" in last:
        return _by_name(last, entries, weights)
    return _by_number(last, entries, weights)


def _by_path(
    state: Sequence[Tensor], weights: Sequence[Tensor]
) -> tuple[dict[str, Tensor], Slots | None]:
    """optimizer_weights/Adam/dense/kernel/m is of model_weights/dense/dense/kernel, in tf.keras."""
    left = {tensor.name: tensor for tensor in state}
    [root, *others] = [name for name in left if name.endswith("/iter")]
    counts = {"iteration": left.pop(root)}
    found: Slots = {}
    for weight in weights:
        path = weight.name.removeprefix(_WEIGHTS).partition("/")[2]
        own = {key: left.pop(f"{root[:-4]}{path}/{word}", None) for key, word in _OF_TF.items()}
        if all(tensor is not None and tensor.shape == weight.shape for tensor in own.values()):
            found[weight.name] = {key: tensor for key, tensor in own.items() if tensor is not None}
    return counts, None if left or others or len(found) < len(weights) else found


def _by_name(
    last: Mapping[str, Tensor], entries: Sequence[str], weights: Sequence[Tensor]
) -> tuple[dict[str, Tensor], Slots | None]:
    """block0_up_kernel_momentum is of block0_up/kernel."""
    counts = {name: last[name] for name in _COUNTS if name in last}
    found: Slots = {}
    for weight in weights:
        path = weight.name.removeprefix(_WEIGHTS).partition("/")[2].replace("/", "_")
        own = {key: last.get(f"{path}_{key}") for key in entries}
        if all(tensor is not None and tensor.shape == weight.shape for tensor in own.values()):
            found[weight.name] = {key: tensor for key, tensor in own.items() if tensor is not None}
    is_whole = len(entries) * len(found) + len(counts) == len(last)
    return counts, found if is_whole else None


def _by_number(
    last: Mapping[str, Tensor], entries: Sequence[str], weights: Sequence[Tensor]
) -> tuple[dict[str, Tensor], Slots | None]:
    """The variables by their numbers: two counts, then the entries of each weight that is trained,
    in the order of the weights."""
    if {*last} != {*map(str, range(len(last)))} or len(last) < len(_COUNTS):
        return {}, None
    variables = [last[str(number)] for number in range(len(last))]
    counts = dict(zip(_COUNTS, variables, strict=False))
    rest = variables[len(_COUNTS) :]
    groups = [rest[place : place + len(entries)] for place in range(0, len(rest), len(entries))]
    if not groups or any(len({one.shape for one in group}) > 1 for group in groups):
        return counts, None
    if len(groups[-1]) < len(entries):
        return counts, None
    places = _only_place([group[0].shape for group in groups], [weight.shape for weight in weights])
    if places is None:
        return counts, None
    found = {
        weights[place].name: dict(zip(entries, group, strict=True))
        for place, group in zip(places, groups, strict=True)
    }
    return counts, found


def _only_place(
    some: Sequence[tuple[int, ...]], every: Sequence[tuple[int, ...]]
) -> list[int] | None:
    """Where some shapes stand among all, in order; None where they do not, or could elsewhere."""
    first = [*_places(some, every)]
    last = [len(every) - 1 - place for place in _places(some[::-1], every[::-1])][::-1]
    return first if first == last and len(first) == len(some) else None


def _places(some: Sequence[tuple[int, ...]], every: Sequence[tuple[int, ...]]) -> Iterator[int]:
    place = 0
    for shape in some:
        while place < len(every) and every[place] != shape:
            place += 1
        if place == len(every):
            return
        yield place
        place += 1
