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

# The trees of moments that a transformation keeps, by its other entries, and their names in torch.
_MOMENTS = {
    "mu": "exp_avg",
    "nu": "exp_avg_sq",
    "nu_max": "max_exp_avg_sq",
    "trace": "momentum_buffer",
}
_KINDS: tuple[tuple[set[str], set[str]], ...] = (
    ({"count", "mu", "nu"}, {"nu_max"}),  # scale_by_adam and its relatives
    ({"count", "mu"}, set()),  # scale_by_lion
    ({"nu"}, {"count"}),  # scale_by_rms
    ({"mu", "nu"}, {"count"}),  # scale_by_stddev
    ({"trace"}, {"count"}),  # momentum
)
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
            if part in _MOMENTS or (part == "count" and place == len(path) - 1):
                held = inside.setdefault(path[:place], {})
                held.setdefault(part, {})[path[place + 1 :]] = node
        if path[-2:-1] == ("hyperparams",):
            settings.setdefault(path[:-2], {})[path[-1]] = node
    entries = _entries(leaves, inside)
    is_list = all(path[0].isdigit() for path in leaves)
    found = []
    for path, held in inside.items():
        moments = {name: tree for name, tree in held.items() if name in _MOMENTS}
        count = held.get("count", {}).get(())
        if not _is_state(path, entries[path], moments, count):
            continue
        parameters: dict[Path, dict[str, Node]] = {}
        for name, tree in moments.items():
            for parameter, node in tree.items():
                parameters.setdefault(parameter, {})[_MOMENTS[name]] = node
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


def _is_state(
    path: Path, entries: set[str], moments: Mapping[str, Mapping[Path, Node]], count: Node
) -> bool:
    """Whether a place holds the entries of one transformation and no others, and its moments are
    of the same parameters. What a model may have too needs a place that is called an optimizer."""
    kind = next((own for own, more in _KINDS if own <= entries <= own | more), None)
    if kind is None or ("count" in kind and not _is_count(count)):
        return False
    if "count" not in kind and not any(map(_IS_OPTIMIZER.fullmatch, path)):
        return False
    first, *others = moments.values()
    if any(not isinstance(node, Tensor) for tree in moments.values() for node in tree.values()):
        return False
    return all(first.keys() == tree.keys() for tree in others)


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


def saved_optimizers(
    states: Sequence[OptaxState], names: Collection[str], inside: Path, separator: str
) -> dict[str, object]:
    """The states as a tree that state_places finds them in: by where they lie, each parameter by
    its name. names: those of the model, which lies at a path."""
    return {
        separator.join(state.path) or "optimizer": {
            "state": (table := _by_name(state, names, inside, separator)),
            "param_groups": [{**_group(state.settings), "params": [*table]}],
        }
        for state in states
    }


def _by_name(
    state: OptaxState, names: Collection[str], inside: Path, separator: str
) -> dict[str, dict[str, object]]:
    table = {}
    for path, entries in state.parameters.items():
        name = separator.join(path)
        # the tree that was trained may have been the one around the model
        for depth in range(1, len(inside) + 1):
            if name not in names and path[:depth] == inside[-depth:]:
                name = separator.join(path[depth:])
        table[name] = {entry: _kept(node) for entry, node in entries.items()}
    return table


def _group(hyperparameters: Mapping[str, Node]) -> dict[str, object]:
    settings: dict[str, object] = {"saved_by": MADE_BY}
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
