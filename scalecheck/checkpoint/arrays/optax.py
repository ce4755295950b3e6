"""Optimizer states of optax, found among named arrays by the whole set of entries that each of its
transformations keeps."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from scalecheck.checkpoint.state_file import recorded
from scalecheck.checkpoint.tensor import Tensor

OPTIMIZERS = r"(?:\w*_)?opts?(?:_\w+)?|optim(?:izer)?s?(?:_\w+)?|\w+_optim(?:izer)?(?:_state)?"
_IS_OPTIMIZER = re.compile(OPTIMIZERS)
MADE_BY = "optax"
"""The setting of a group that says so."""

# The entries of a transformation that is told by them alone, and their names in torch.
_KINDS: tuple[Mapping[str, str], ...] = (
    {"count": "step", "mu": "exp_avg", "nu": "exp_avg_sq"},  # scale_by_adam and its relatives
    {"count": "step", "mu": "exp_avg"},  # scale_by_lion
    {"trace": "momentum_buffer"},  # momentum
)
_TREES = frozenset(("mu", "nu", "trace"))
MAX_DEPTH = 16  # keys around a state; those of real ones have some six
_SETTINGS = {"learning_rate": "lr", "eps": "eps", "weight_decay": "weight_decay"}

Path = tuple[str, ...]
Node = Tensor | int | float | str | bool | None


@dataclass(frozen=True)
class OptaxState:
    """The state of one transformation: where it lies, the part of the tree that is the optimizer's,
    and for each parameter its entries under torch's names. settings: those that
    inject_hyperparams keeps beside it."""

    path: Path
    root: Path
    parameters: Mapping[Path, Mapping[str, Node]]
    settings: Mapping[str, Node] = field(default_factory=dict)


def optax_states(leaves: Mapping[Path, Node]) -> list[OptaxState]:
    """The states among leaves by their paths."""
    inside: dict[Path, dict[str, dict[Path, Node]]] = {}
    settings: dict[Path, dict[str, Node]] = {}
    for path, node in leaves.items():
        for place, part in enumerate(path[:MAX_DEPTH]):
            if part in _TREES or (part == "count" and place == len(path) - 1):
                held = inside.setdefault(path[:place], {})
                held.setdefault(part, {})[path[place + 1 :]] = node
        if path[-2:-1] == ("hyperparams",):
            settings.setdefault(path[:-2], {})[path[-1]] = node
    entries = _entries(leaves, inside)
    is_list = all(path[0].isdigit() for path in leaves)
    found = []
    for path, held in inside.items():
        moments = {name: tree for name, tree in held.items() if name in _TREES}
        count = held.get("count", {}).get(())
        kind = _kind(path, entries[path], moments, count)
        if kind is None:
            continue
        parameters: dict[Path, dict[str, Node]] = {}
        for name, tree in moments.items():
            for parameter, node in tree.items():
                parameters.setdefault(parameter, {})[kind[name]] = node
        if count is not None:
            for one in parameters.values():
                one["step"] = count
        own = next((settings[start] for start in _around(path) if start in settings), {})
        found.append(OptaxState(path, () if is_list else _root(path), parameters, own))
    return found


def _entries(leaves: Collection[Path], places: Collection[Path]) -> dict[Path, set[str]]:
    """What each place holds directly."""
    held: dict[Path, set[str]] = {place: set() for place in places}
    for path in leaves:
        for depth in range(min(len(path), MAX_DEPTH)):
            if path[:depth] in held:
                held[path[:depth]].add(path[depth])
    return held


def _kind(
    path: Path, entries: set[str], moments: Mapping[str, Mapping[Path, Node]], count: Node
) -> Mapping[str, str] | None:
    """The kind whose entries a place has and no others, its moments of the same parameters. What a
    model may have too needs a place that is called an optimizer."""
    kind = next((kind for kind in _KINDS if kind.keys() == entries), None)
    if kind is None or ("count" in kind and not _is_count(count)):
        return None
    if "count" not in kind and not any(map(_IS_OPTIMIZER.fullmatch, path)):
        return None
    first, *others = moments.values()
    if any(not isinstance(node, Tensor) for tree in moments.values() for node in tree.values()):
        return None
    return kind if all(first.keys() == tree.keys() for tree in others) else None


def _is_count(node: Node) -> bool:
    if isinstance(node, Tensor):
        return not node.shape and node.dtype.kind == "integer"
    return type(node) is int


def _around(path: Path) -> Iterator[Path]:
    """The places of inject_hyperparams around a state, the nearest first."""
    for depth in range(len(path), 0, -1):
        if path[depth - 1] == "inner_state":
            yield path[: depth - 1]


def _root(path: Path) -> Path:
    """The part of the tree that is the optimizer's: up to the first key that is called so."""
    for depth, part in enumerate(path, 1):
        if _IS_OPTIMIZER.fullmatch(part):
            return path[:depth]
    return path[:1]


@dataclass(frozen=True)
class Names:
    """The model's names for the parameters of an optimizer. stored: each by the name that a state
    has for it; inside: the keys that lead to the model."""

    stored: Mapping[str, str]
    inside: Path
    separator: str

    def of(self, path: Path) -> str | None:
        """The name of the parameter that a path in a state leads to."""
        # the tree that was trained may have been the one around the model
        for depth in range(len(self.inside) + 1):
            if path[:depth] == self.inside[len(self.inside) - depth :]:
                name = self.stored.get(self.separator.join(path[depth:]))
                if name is not None:
                    return name
        return None


def saved_optimizers(
    states: Sequence[OptaxState],
    leaves: Mapping[Path, Node],
    names: Names,
    trained: Collection[str],
) -> dict[str, object]:
    """The states as a tree that state_places finds them in: by where they lie, each parameter by
    its name. leaves: all of the optimizer; trained: the parameters that it may train. What is told
    of them in other words is kept under these, and those of which nothing is kept are a group, as
    optax trains some without."""
    tree: dict[str, object] = {}
    known: set[str] = set()
    for state in states:
        table = {}
        for path, entries in state.parameters.items():
            name = names.of(path) or names.separator.join(path)
            table[name] = {entry: _kept(node) for entry, node in entries.items()}
        known |= table.keys()
        groups = [{**_group(state.settings), "params": [*table]}]
        tree[names.separator.join(state.path) or "optimizer"] = {
            "state": table,
            "param_groups": groups,
        }
    others: dict[str, dict[str, object]] = {}
    for path, node in leaves.items():
        if isinstance(node, Tensor) and (found := _suffix(path, names)) and found[1] not in known:
            others.setdefault(found[1], {})[found[0]] = _kept(node)
    left = [*others, *(name for name in trained if name not in known and name not in others)]
    if not leaves or not left:
        return tree
    group = {MADE_BY: True, "params": left}
    if not tree:
        tree["optimizer"] = {"state": others, "param_groups": [group]}
        return tree
    first = next(iter(tree.values()))
    assert isinstance(first, dict)
    first["state"] |= others
    first["param_groups"].append(group)
    return tree


def _suffix(path: Path, names: Names) -> tuple[str, str] | None:
    """The word of an entry and the parameter whose name follows it in a path."""
    for depth in range(1, min(len(path), MAX_DEPTH)):
        name = names.of(path[depth:])
        if name is not None:
            return path[depth - 1], name
    return None


def _group(hyperparameters: Mapping[str, Node]) -> dict[str, object]:
    settings: dict[str, object] = {MADE_BY: True}
    settings |= {
        there: _kept(hyperparameters[own])
        for own, there in _SETTINGS.items()
        if own in hyperparameters
    }
    if {"b1", "b2"} <= hyperparameters.keys():
        settings["betas"] = (_kept(hyperparameters["b1"]), _kept(hyperparameters["b2"]))
    return settings


def _kept(node: Node) -> object:
    return recorded(node) if isinstance(node, Tensor) else node
