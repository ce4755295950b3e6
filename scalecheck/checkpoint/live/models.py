"""A model that a program holds as a checkpoint: an nn.Module, or a mapping of names to arrays."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.adapters.scale import ADAPTER_SETTINGS, METADATA
from scalecheck.checkpoint.live.arrays import share_of, tensor_of, view_of
from scalecheck.checkpoint.live.objects import Module, is_tensor, parts_of, torch
from scalecheck.checkpoint.live.trees import tree_of
from scalecheck.checkpoint.malformed import content_of
from scalecheck.checkpoint.open import with_kinds
from scalecheck.checkpoint.pickle.state_dict import described, parts
from scalecheck.checkpoint.pickle.tree import Tree
from scalecheck.checkpoint.state_file import made_of
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.errors import CheckpointError

MODULE, MAPPING = "nn.Module", "mapping"


def checkpoint_of(model: Module | Mapping[Any, Any]) -> Checkpoint:
    """Lists the tensors of a model in memory; reads none of them and copies none.

    Its path is the name of its class. A mapping is looked at as a file of torch.save is that holds
    it: the model's part of a trainer's dict is found, and an optimizer state beside it. Raises
    CheckpointError where it holds no tensor.
    """
    path = Path(type(model).__name__)
    if isinstance(model, Mapping):
        return _of_mapping(path, model)
    tensors = _tied(_module_tensors(model, path))
    if not tensors:
        raise CheckpointError(path, "is a module without parameters and buffers")
    whole = Checkpoint(path, MODULE, tensors, _of_adapter(model), in_order=True, in_memory=True)
    return with_kinds(whole)


def _of_adapter(model: Module) -> dict[str, str]:
    """The settings of the only adapter of a PeftModel, as diffusers writes them into a file."""
    configs = getattr(model, "peft_config", None)
    if not isinstance(configs, Mapping) or len(configs) != 1:
        return {}
    [config] = configs.values()
    own = {word: getattr(config, word, None) for word in ADAPTER_SETTINGS}
    return {METADATA: json.dumps(own, default=str)}


def _module_tensors(model: Module, path: Path) -> Iterator[Tensor]:
    """The parameters and buffers of a module, in the order of its state dict, each under every name
    that it has there; buffers that are not saved too."""
    modules = [*model.named_modules(remove_duplicate=False)]
    whole = _flattened_shapes(module for _, module in modules)
    for prefix, module in modules:
        start = f"{prefix}." if prefix else ""
        for word, parameter in module._parameters.items():
            for tensor in _parts(start + word, parameter, path, "parameter"):
                trained = replace(
                    tensor, is_trained=bool(tensor.declared) and parameter.requires_grad
                )
                shape = whole.get(id(parameter), tensor.shape)
                yield trained if shape == tensor.shape else _piece_of(trained, shape)
        for word, buffer in module._buffers.items():
            yield from _parts(start + word, buffer, path, "buffer")
        for word, tensor in _saved_beside(module).items():
            yield tensor_of(start + word, tensor, path)


def _flattened_shapes(modules: Iterable[Any]) -> dict[int, tuple[int, ...]]:
    """The shapes of parameters of which FSDP leaves this process a flat part under their names, by
    the ids of what it leaves."""
    flat = (getattr(getattr(module, "_handle", None), "flat_param", None) for module in modules)
    return {
        id(part): tuple(shape)
        for one in flat
        for part, shape in zip(
            getattr(one, "_params", None) or (), getattr(one, "_shapes", ()), strict=False
        )
    }


def _piece_of(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    return replace(tensor, piece=share_of(tensor.numel, "parameter of FSDP", shape))


def _parts(name: str, value: Any, path: Path, declared: str) -> Iterator[Tensor]:
    """The tensor, or those that one of a class of its own is made of, as in its state dict; none
    where a module has None under the name."""
    if value is None:
        return
    inner = parts_of(value)
    if inner is None:
        yield replace(tensor_of(name, value, path), declared=declared)
        return
    for word in inner:
        yield from _parts(f"{name}.{word}", getattr(value, word), path, "")


def _saved_beside(module: Any) -> Mapping[str, Any]:
    """What a module saves beside its parameters and buffers: the factors of codes that are its
    parameters, as of bitsandbytes, and the codes of one that has none, as of torch.ao."""
    own = {**module._parameters, **module._buffers}
    held = [value for value in module._parameters.values() if value is not None]
    is_plain = type(module)._save_to_state_dict is torch().nn.Module._save_to_state_dict
    if all(value.is_floating_point() for value in held) and (held or is_plain):
        return {}
    saved: dict[str, Any] = {}
    module._save_to_state_dict(saved, "", True)
    several = {name: one for name, one in saved.items() if isinstance(one, tuple)}
    for name, items in several.items():
        saved |= {f"{name}.{place}": item for place, item in enumerate(items)}
    return {name: one for name, one in saved.items() if name not in own and is_tensor(one)}


def _of_mapping(path: Path, mapping: Mapping[Any, Any]) -> Checkpoint:
    with content_of(path):
        root = tree_of(mapping, path)
        found = parts(Tree(root))
    if not found.has_weights:
        count = len(found.optimizer) + len(found.rows)
        held = f"holds an optimizer state of {count} tensors and no model weights"
        raise CheckpointError(path, held if count else described(root))
    rows, optimizer = (
        [made_of(record, name, path) for name, record in named]
        for named in (found.rows, found.optimizer)
    )
    checkpoint = Checkpoint(
        path,
        MAPPING,
        _tied(rows),
        non_model=found.non_model,
        optimizer=(*optimizer,),
        in_order=found.in_order,
        tree=root,
        in_memory=True,
    )
    return with_kinds(checkpoint)


def _tied(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The tensors; those that are the same view of the same memory as one before are tied to it."""
    first: dict[object, str] = {}
    found = []
    for tensor in tensors:
        view = view_of(tensor)
        tie = None if view is None else first.setdefault(view, tensor.name)
        found.append(tensor if tie in (None, tensor.name) else replace(tensor, tied_to=tie))
    return (*found,)
