"""What Megatron-Core and NeMo save as `torch_dist`: keys without a nest, the layers of one kind as
one tensor with the layer in front, and the optimizer's settings in common.pt."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from os.path import isfile
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.files.strict_json import parsed, text_of
from scalecheck.checkpoint.formats.torch import unpickled
from scalecheck.checkpoint.mapped import mapped
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.state_file import recorded
from scalecheck.checkpoint.tensor import Tensor

CONFIG, COMMON = "metadata.json", "common.pt"
MASTER = "fp32_param"  # the float32 copy of a parameter, which is no entry of Adam's
_MAX_CONFIG_NBYTES = 1 << 16
_MAX_LAYERS = 10_000
_STATE = re.compile(r"(?:(?P<at>chained_\d+)\.)?optimizer\.state\.(?P<entry>\w+)\.(?P<name>.+)")
_STACKED = re.compile(r"(?P<before>.*\blayers)\.(?P<after>(?!\d+(?:\.|$)).+)")
_OWN = re.compile(
    r"(?:pre_)?(?:wd|lr)_mult|is_expert_parallel|is_decoupled_lr|default_config|max_lr|min_lr"
)
"""Settings of Megatron's own, by which it works out the lr and the decay that stand beside them."""

Table = dict[Any, Any]


def is_megatron(folder: Path) -> bool:
    """Whether Megatron-Core wrote a folder, as its own description of it says."""
    try:
        text = text_of(folder / CONFIG, _MAX_CONFIG_NBYTES)
        config = parsed(text) if text else None
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("sharded_backend") == "torch_dist"


def regrouped(root: Table, folder: Path) -> Table:
    """The dict of a folder as a trainer would have saved it: a row a layer, and the optimizer's
    state by the names of the parameters. Raises CheckpointError where common.pt is damaged."""
    root = {name: node for key, own in root.items() for name, node in _layers(key, own, root)}
    model: Table = {}
    states: dict[str, Table] = {}
    for key, node in root.items():
        match = _STATE.fullmatch(key) if isinstance(key, str) else None
        if match is None or match["name"] not in root or not isinstance(node, TensorRecord):
            model[key] = node
            continue
        state = states.setdefault(match["at"] or "", {"state": {}, MASTER: {}})
        if match["entry"] == MASTER:
            state[MASTER][match["name"]] = node
        else:
            state["state"].setdefault(match["name"], {})[match["entry"]] = node
    common = _common(folder)
    saved = common.pop("optimizer", None)
    for at, state in states.items():
        if groups := _groups(saved, at, state["state"], root):
            state["param_groups"] = groups
    named = {f"{at}.optimizer" if at else "optimizer": state for at, state in states.items()}
    return {**model, **named, COMMON: common}


def _layers(key: object, node: object, root: Table) -> list[tuple[object, object]]:
    """The tensors of the layers that one is made of, named as the module names them; itself where
    it is none."""
    match = _STACKED.fullmatch(key) if isinstance(key, str) else None
    tensor = node.made if isinstance(node, TensorRecord) else None
    if match is None or tensor is None or not tensor.shape or tensor.strides is not None:
        return [(key, node)]
    count, each = tensor.shape[0], math.prod(tensor.shape[1:])
    names = [
        f"{match['before']}.{layer}.{match['after']}" for layer in range(min(count, _MAX_LAYERS))
    ]
    if count > _MAX_LAYERS or any(name in root for name in names):
        return [(key, node)]
    step = each * tensor.dtype.itemsize
    return [
        (name, recorded(replace(tensor, shape=tensor.shape[1:], offset=tensor.offset + at * step)))
        for at, name in enumerate(names)
    ]


def _common(folder: Path) -> Table:
    if not isfile(folder / COMMON):
        return {}
    with unpickled(folder / COMMON) as file:
        names = iter(range(1 << 62))

        def made(record: TensorRecord) -> TensorRecord:
            tensor: Tensor = file.tensor(f"{COMMON}.{next(names)}", record)
            return recorded(tensor)

        root = mapped(file.root, made)
    return dict(root) if isinstance(root, dict) else {}


def _groups(saved: object, at: str, states: Table, root: Table) -> list[Table]:
    """One group of settings, or that of what decays and that of what does not: the biases and the
    tensors of one dimension. None where the groups differ in anything else, since they do not name
    their parameters. Their step is put to the states."""
    groups = [_settings(group) for group in _saved_groups(saved, at)]
    if not groups:
        return []
    decays = [group.pop("weight_decay", 0.0) for group in groups]
    first, *others = groups
    if not all(isinstance(decay, (int, float)) for decay in decays) or any(
        repr(group) != repr(first) for group in others
    ):
        return []
    if (step := first.pop("step", None)) is not None:
        for state in states.values():
            state["step"] = step
    plain = [n for n in states if n.endswith(".bias") or len(root[n].shape) == 1]
    if len({*decays}) == 1:
        with_names = {decays[0]: [*states]}
    elif len({*decays}) == 2 and 0 in decays:
        with_names = {max(decays): [n for n in states if n not in {*plain}], 0.0: plain}
    else:
        return []
    return [
        {**first, "weight_decay": decay, "params": names}
        for decay, names in with_names.items()
        if names
    ]


def _saved_groups(saved: object, at: str) -> list[Mapping[Any, Any]]:
    """The groups of one of the optimizers in common.pt."""
    number = int(at.removeprefix("chained_")) if at else None
    if number is not None:
        if isinstance(saved, (list, tuple)) and number < len(saved):
            saved = saved[number]
        elif isinstance(saved, dict):
            saved = saved.get(number, saved.get(str(number)))
    node = saved.get("optimizer", saved) if isinstance(saved, dict) else None
    groups = node.get("param_groups") if isinstance(node, dict) else None
    return [group for group in groups or () if isinstance(group, dict)]


def _settings(group: Mapping[Any, Any]) -> Table:
    return {
        key: value
        for key, value in group.items()
        if isinstance(key, str)
        and key != "params"
        and not _OWN.fullmatch(key)
        and not (key == "bias_correction" and value in (True, 1))
    }
