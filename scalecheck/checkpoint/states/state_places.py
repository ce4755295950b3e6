"""Where the optimizer states of a torch file lie, and each in one form, however it was laid out."""

from collections.abc import Sequence
from itertools import islice, pairwise
from typing import NamedTuple

from scalecheck.checkpoint.pickle.contents import (
    Child,
    RepeatBudget,
    contents_of,
    is_named,
    walk,
)
from scalecheck.checkpoint.pickle.inert import Key
from scalecheck.checkpoint.pickle.optimizers import (
    FLAT_GROUPS,
    FLAT_STATE,
    flat_table,
    flat_tables_beside,
    optimizer_table,
)
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.state_dict import same_view
from scalecheck.checkpoint.pickle.tree import MAX_DEPTH, MAX_TENSORS
from scalecheck.checkpoint.states.state_entries import Table, is_text
from scalecheck.report.formatting import excerpt

_INNER = ("base", "base_optimizer")  # where Lookahead, SAM, Magma keep the optimizer that they lead


class Place(NamedTuple):
    """An optimizer state: `at` is the path to it, such as `optimizers[1]`, empty at the root.

    table: its `state` and `param_groups`. has_equal_groups: it has a group for each parameter, and
    those of equal settings are one. is_inner: it is of an optimizer inside another one.
    """

    at: str
    table: Table
    has_equal_groups: bool = False
    is_inner: bool = False


def places(root: object) -> list[Place]:
    """Every optimizer state, in the order of the file; what is held twice counts once, also as a
    whole optimizer in a scheduler beside its state dict."""
    found: list[Place] = []
    seen: set[int] = set()
    again = RepeatBudget()

    def visit(trail: Sequence[Child]) -> bool:
        node = trail[-1].node
        if isinstance(node, TensorRecord) or id(node) in seen:
            return False
        seen.add(id(node))
        if table := optimizer_table(node):
            is_inner = not {trail[-1].part, *table}.isdisjoint(_INNER)
            found.append(Place(_path(trail), table, is_inner=is_inner))
            return False
        if flat := flat_table(node):
            found.append(Place(_path(trail), _unflattened(flat), has_equal_groups=True))
            return False
        for start, flat in flat_tables_beside(node).items():
            at = ".".join(filter(None, (_path(trail), excerpt(start))))
            found.append(Place(at, _unflattened(flat), has_equal_groups=True))
        return len(trail) <= MAX_DEPTH

    walk(root, lambda node: contents_of(node, again), visit)
    return _different(found) if len(found) > 1 else found


def _different(found: Sequence[Place]) -> list[Place]:
    """The states that keep different tensors; of those that keep the same the first state dict."""
    kept: dict[object, Place] = {}
    for place in found:
        tensors = _tensors(place.table["state"]) or place.at
        before = kept.get(tensors)
        if before is None or (_is_whole(before) and not _is_whole(place)):
            kept[tensors] = place
    chosen = {id(place) for place in kept.values()}
    return [place for place in found if id(place) in chosen]


def _tensors(state: object) -> frozenset[object]:
    """The tensors that parameters' states keep, as stretches of the file."""
    states = state.values() if isinstance(state, dict) else ()
    entries = (entry for one in states if isinstance(one, dict) for entry in one.values())
    few = islice(entries, MAX_TENSORS)
    return frozenset(same_view(entry) for entry in few if isinstance(entry, TensorRecord))


def _is_whole(place: Place) -> bool:
    """A whole optimizer, whose states are of the parameters themselves."""
    state = place.table["state"]
    return isinstance(state, dict) and any(isinstance(key, Key) for key in state)


def _path(trail: Sequence[Child]) -> str:
    """The path that a trail leads along, as it is printed and asked for."""
    path = ""
    for holder, child in pairwise(trail):
        if child.part is None:
            continue
        if isinstance(holder.node, (list, tuple)) and not is_named(holder.node):
            path += f"[{child.part}]"
        else:
            path += f".{child.part}" if path else child.part
    return excerpt(path)


def _unflattened(flat: Table) -> Table:
    """The `state` and `param_groups` of a flattened one: a parameter's name is what lies before the
    last dot, or what the groups know of it where an entry's name has dots too."""
    groups: dict[str, Table] = {}
    state: dict[object, Table] = {}
    for key, setting in flat.items():
        if is_text(key) and key.startswith(FLAT_GROUPS):
            name, _, word = key.removeprefix(FLAT_GROUPS).rpartition(".")
            groups.setdefault(name, {"params": [name]})[word] = setting
    for key, entry in flat.items():
        if is_text(key) and key.startswith(FLAT_STATE):
            rest = key.removeprefix(FLAT_STATE)
            name = _known(rest, groups)
            state.setdefault(name, {})[rest[len(name) + 1 :]] = entry
    return {"state": state, "param_groups": [*groups.values()]}


def _known(rest: str, names: dict[str, Table]) -> str:
    """The name of the parameter that an entry is of: the longest known one."""
    first = name = rest.rpartition(".")[0]
    while name and name not in names:
        name = name.rpartition(".")[0]
    return name or first
