"""The containers of a program as the tree that a file of torch.save is read as: dicts, lists,
numbers and tensors, and other objects by their attributes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scalecheck.checkpoint.live.arrays import tensor_of
from scalecheck.checkpoint.live.objects import (
    Optimizer,
    is_array,
    is_module,
    is_optimizer,
    is_tensor,
    parts_of,
    unwrapped,
)
from scalecheck.checkpoint.pickle.inert import Foreign, Placeholder, key_of
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.state_file import recorded

MAX_DEPTH = 50  # containers around a tensor; those of training programs have up to ten
MAX_OBJECTS = 4  # of them objects that are neither dicts nor lists


def tree_of(value: object, path: Path) -> object:
    """The tree of an object, with a record for each tensor. A container that is held twice is one
    container of the tree too."""
    return _Trees(path).of(value)


def optimizer_table(optimizer: Optimizer, path: Path) -> dict[object, object]:
    """The `param_groups` and `state` of an optimizer, or of the one inside it, in which its
    parameters have numbers in the order of the groups, as in its state_dict()."""
    return _Trees(path).optimizer(optimizer)


class _Trees:
    """Makes the trees of objects that may share what they hold."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._made: dict[int, object] = {}
        self._kept: list[object] = []  # so that no other object gets the id of one that is known

    def of(self, value: object, deeper: int = MAX_DEPTH, objects: int = MAX_OBJECTS) -> object:
        if isinstance(value, np.generic):
            return value.item()
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if id(value) not in self._made:
            self._kept.append(value)
            if not self._fill(value, deeper, objects):
                return Foreign(type(value).__module__, type(value).__qualname__)
        return self._made[id(value)]

    def _fill(self, value: object, deeper: int, objects: int) -> bool:
        """Makes the node of an object; False for one that is not looked into."""
        made = self._made
        if is_tensor(value) or is_array(value):
            inner = parts_of(value)
            made[id(value)] = self._tensor(value) if inner is None else self._coded(value, inner)
        elif not deeper:
            return False
        elif is_module(value):
            made[id(value)] = self.of({**value.state_dict()}, deeper - 1, objects)
        elif is_optimizer(value):
            made[id(value)] = self.optimizer(value)
        elif isinstance(value, Mapping):
            table: dict[object, object] = {}
            made[id(value)] = table
            for key, item in value.items():
                table[key_of(key)] = self.of(item, deeper - 1, objects)
        elif isinstance(value, list | tuple):
            items: list[object] = []
            made[id(value)] = items
            items += (self.of(item, deeper - 1, objects) for item in value)
        elif objects and hasattr(value, "__dict__") and not callable(value):
            placeholder = Placeholder(_class_of(value))
            made[id(value)] = placeholder
            placeholder.state = self.of(vars(value), deeper - 1, objects - 1)
        else:
            return False
        return True

    def _tensor(self, value: Any) -> TensorRecord:
        return recorded(tensor_of("", value, self._path))

    def _coded(self, value: Any, inner: list[str]) -> Placeholder:
        """A tensor of a class that makes its numbers of others, as torch pickles it."""
        kind = _class_of(value)
        state: dict[object, object] = {name: self.of(getattr(value, name)) for name in inner}
        return Placeholder(kind, (kind, None, tuple(map(int, value.shape))), state=state)

    def optimizer(self, optimizer: Optimizer) -> dict[object, object]:
        inner: Any = unwrapped(optimizer)[0]
        numbers: dict[int, int] = {}
        groups: list[object] = []
        for group in inner.param_groups:
            settings = {key_of(k): self.of(x) for k, x in group.items() if k != "params"}
            params = [numbers.setdefault(id(one), len(numbers)) for one in group["params"]]
            groups.append({**settings, "params": params})
        state: dict[object, object] = {}
        for param, own in inner.state.items():
            key = numbers.get(id(param))
            state[key_of(param) if key is None else key] = self.of(own)
        return {"state": state, "param_groups": groups}


def _class_of(value: object) -> Foreign:
    return Foreign(type(value).__module__, type(value).__qualname__)
