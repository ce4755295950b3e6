"""What the containers of a pickle hold, under which names, and a walk through them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.arrays import numbers_of
from scalecheck.checkpoint.pickle.inert import Foreign, Key, OrderedDict, Placeholder
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.tensor import MAX_NAME

MAX_KEY = 8  # parts of a tuple that is a key
MAX_AGAIN = 1 << 20  # entries that are gone through again, as objects hold one list or dict
_FEW = 16  # entries that cost no more than the object that holds them

MODULE_TABLES = ("_parameters", "_buffers", "_modules")
"""What an nn.Module keeps its tensors in, in the order in which its state dict lists them."""

CONTAINERS = (dict, list, tuple, Placeholder)
_NODES = (TensorRecord, *CONTAINERS)


@dataclass(frozen=True, slots=True, repr=False)
class Child:
    """A container or tensor in a container. `part` is its part of the name, None for none;
    `is_alias` marks what a module holds beside its parameters, which often repeats them."""

    part: str | None
    node: object
    is_alias: bool = False


Path = tuple[str, ...]


def path_of(trail: Sequence[Child]) -> Path:
    """The parts of the name of what a trail of children leads to."""
    return tuple(child.part for child in trail if child.part is not None)


def walk(
    root: object,
    contents: Callable[[object], Iterator[Child]],
    visit: Callable[[Sequence[Child]], bool],
    leave: Callable[[Child], object] = lambda child: None,
) -> None:
    """Goes through a tree depth first, with a stack of its own: a file can nest deeper than Python
    recurses.

    `visit` gets the trail of children from the root to each node, and says whether to go into it;
    `leave` gets what was gone into, after its contents.
    """
    trail: list[Child] = []
    stack = [iter((Child(None, root),))]
    while stack:
        child = next(stack[-1], None)
        if child is not None:
            trail.append(child)
            if visit(trail):
                stack.append(contents(child.node))
            else:
                trail.pop()
        else:
            stack.pop()
            if trail:
                leave(trail.pop())


class RepeatBudget:
    """Bounds what is read again because several objects hold it: each object is read once, but a
    dict or list that they share is read for each of them."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._entries = 0

    def look_at(self, node: Placeholder) -> None:
        """Counts the pieces of an object. Raises Malformed where too many were there before."""
        states = node.state[:2] if isinstance(node.state, tuple) else ()
        for piece in (node.state, *states, node.args, node.kwargs, node.items, node.entries):
            if isinstance(piece, (dict, list, tuple)) and len(piece) > _FEW:
                if id(piece) in self._seen:
                    self._entries += len(piece)
                self._seen.add(id(piece))
        if self._entries > MAX_AGAIN:
            raise Malformed("its objects share their contents too often")


def is_script(node: object) -> bool:
    """A module of a TorchScript archive."""
    return (
        isinstance(node, Placeholder)
        and isinstance(node.maker, Foreign)
        and node.maker.module.startswith("__torch__")
    )


def is_module(node: object) -> bool:
    """An nn.Module that was pickled whole."""
    return isinstance(node, Placeholder) and any("_modules" in table for table in tables_of(node))


def is_named(node: object) -> bool:
    """Its entries have names: a dict, a list of (name, tensor) pairs, an object."""
    return isinstance(node, (dict, Placeholder)) or _is_pairs(node)


def part_of(key: object, place: int) -> str:
    """A key as a part of a name; what is neither text nor number nor tuple goes by its place."""
    if isinstance(key, Key):
        key = key.original
    if isinstance(key, tuple) and 0 < len(key) <= MAX_KEY:
        return ".".join(_text(part, place) for part in key)[: MAX_NAME + 1]
    return _text(key, place)


def _text(key: object, place: int) -> str:
    if isinstance(key, bytes):
        key = key[: MAX_NAME + 1].decode("latin-1")
    if isinstance(key, str):
        # a lone surrogate could be neither printed nor written to a report
        return key[: MAX_NAME + 1].encode("utf-8", "backslashreplace").decode()
    if isinstance(key, int) and key.bit_length() > 64:
        return f"#{place}"
    return str(key) if key is None or isinstance(key, (int, float)) else f"#{place}"


def tables_of(node: object) -> Iterator[dict[object, object]]:
    """The dictionaries by which a container can be asked for a name."""
    if isinstance(node, dict):
        yield node
    elif isinstance(node, Placeholder):
        yield from _states(node)
        if node.entries:
            yield node.entries


def _states(node: Placeholder) -> list[dict[object, object]]:
    """The dictionaries of an object's attributes: of a class with __slots__ there are two."""
    states = node.state if isinstance(node.state, tuple) else (node.state,)
    if len(states) > 2 or not all(state is None or isinstance(state, dict) for state in states):
        return []
    return [state for state in states if isinstance(state, dict)]


def _is_pairs(node: object) -> bool:
    return (
        isinstance(node, (list, tuple))
        and len(node) > 0
        and all(
            isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str)
            for pair in node
        )
        and len({pair[0] for pair in node}) == len(node)
    )


def contents_of(node: object, again: RepeatBudget) -> Iterator[Child]:
    """The containers and tensors in a container, whether they hold tensors or not. Raises Malformed
    as `again` does."""
    if not isinstance(node, Placeholder):
        yield from _items(node)
        if type(node) is OrderedDict:
            yield from _items(node.attributes)
        return
    again.look_at(node)
    if isinstance(node.state, TensorRecord):
        yield Child("state", node.state)
    elif not _states(node):
        yield from _items(node.state)
    tables = list(tables_of(node))
    if is_module(node):
        yield from _of_module(tables)
    else:
        for child in (child for table in tables for child in _items(table)):
            is_list = is_script(node) and isinstance(child.node, (dict, list, tuple))
            yield Child(child.part, child.node, is_list)
    if isinstance(node.maker, Placeholder):
        yield Child(None, node.maker)
    if numbers := numbers_of(node.items):
        yield Child("items", numbers)
    for pieces in (node.args, node.kwargs, node.items):
        yield from _items(pieces)


def _of_module(tables: list[dict[object, object]]) -> Iterator[Child]:
    for name in MODULE_TABLES:
        yield from (Child(None, table[name]) for table in tables if name in table)
    for child in (child for table in tables for child in _items(table)):
        if child.part not in MODULE_TABLES:
            yield Child(child.part, child.node, is_alias=True)


def _items(container: object) -> Iterator[Child]:
    """The containers and tensors of a dict or a sequence, among a dict's keys too, and numbers that
    lie in the pickle."""
    pairs: Iterator[tuple[object, object]]
    if isinstance(container, dict):
        pairs = iter(container.items())
    elif not isinstance(container, (list, tuple)):
        return
    else:
        pairs = iter(container) if _is_pairs(container) else enumerate(container)
    for place, (key, node) in enumerate(pairs):
        if numbers := numbers_of(node):
            yield Child(part_of(key, place), numbers)
        elif isinstance(node, _NODES):
            yield Child(part_of(key, place), node)
        if isinstance(key, Key):
            held = numbers_of(key.original) or key.original
            if isinstance(held, _NODES):
                yield Child(f"#{place} key", held, is_alias=True)
