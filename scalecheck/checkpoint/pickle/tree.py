"""The tree that a pickle holds, as paths to its tensors: which containers hold tensors, and under
which names. A file can make containers hold themselves, or each other 2^30 times."""

from collections.abc import Iterator
from dataclasses import dataclass

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.inert import Foreign, Key, Placeholder
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.tensor import MAX_NAME

MAX_TENSORS = 1 << 20  # ten times the most that a model has
MAX_STEPS = 8 * MAX_TENSORS  # containers on the way to each; real files nest a few deep
MAX_LETTERS = 64 * MAX_TENSORS  # of their names together; real ones have some 40
MAX_REPEATS = 16  # of a tensor on average; a file of 500 bytes can hold one a million times
FREE_REPEATS = 1 << 14  # tensors that are no matter however few they repeat
MAX_KEY = 8  # parts of a tuple that is a key
MAX_AGAIN = 1 << 20  # entries that are gone through again, as objects hold one list or dict
_FEW = 16  # entries that cost no more than the object that holds them
MAX_DEPTH = 200  # of a tensor; real modules nest some 30 deep
MAX_NESTING = 10_000  # of anything; Python's pickler, which recurses, gives up near 1000

OPTIMIZERS = frozenset(
    ("optimizer", "optimizers", "optimizer_state", "optimizer_states", "optimizer_state_dict")
)
"""What trainers call an optimizer's state, whose content some of them lay out in their own way."""

MODULE_TABLES = ("_parameters", "_buffers", "_modules")
"""What an nn.Module keeps its tensors in, in the order in which its state dict lists them."""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Child:
    """A container or tensor in a container. `part` is its part of the name, None for none;
    `is_alias` marks what a module holds beside its parameters, which often repeats them."""

    part: str | None
    node: object
    is_alias: bool = False


@dataclass(frozen=True, slots=True)
class Holding:
    """What lies under a container: tensors, those of them outside optimizer states, and the
    elements by which the latter weigh."""

    tensors: int = 0
    rows: int = 0
    elements: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Found:
    """A tensor and the path to it."""

    path: Path
    record: TensorRecord
    is_optimizer: bool = False
    is_alias: bool = False


_NOTHING = Holding()


class Tree:
    """The containers that hold tensors, each looked into once however often it is held.

    `holders` are the classes set aside whose instances hold tensors. A container that holds itself
    is cut where it closes the circle. Raises Malformed where there are too many tensors.
    """

    def __init__(self, root: object) -> None:
        self.root = root
        self.holders: set[Foreign] = set()
        self._children: dict[int, list[Child]] = {}
        self._held: dict[int, Holding] = {}
        self._different: set[int] = set()
        self._look_into(root)
        tensors, different = self.held(root).tensors, len(self._different)
        if tensors > MAX_TENSORS:
            raise Malformed(f"holds more than {MAX_TENSORS} tensors")
        if tensors > max(MAX_REPEATS * different, FREE_REPEATS):
            raise Malformed(f"holds {different} tensors {tensors} times")

    def held(self, node: object) -> Holding:
        if isinstance(node, TensorRecord):
            # a vector of bytes is a random generator's state, and larger than a small model
            is_bytes = node.dtype == "uint8" and len(node.shape) == 1
            return Holding(1, 1, 0 if is_bytes else node.numel)
        return self._held.get(id(node), _NOTHING)

    def children(self, node: object) -> list[Child]:
        """The tensors in a container and the containers in it that hold some."""
        return self._children.get(id(node), [])

    def walk(self, node: object) -> Iterator[Found]:
        """Every tensor under a node, in the order of the file. Raises Malformed."""
        if isinstance(node, TensorRecord):
            yield Found((), node)
        parts: list[str | None] = []
        stack = [(iter(self.children(node)), optimizer_table(node) is not None, False)]
        steps = letters = 0
        while stack:
            rest, optimizer, alias = stack[-1]
            child = next(rest, None)
            if child is None:
                stack.pop()
                if parts:
                    parts.pop()
                continue
            steps += len(stack) if isinstance(child.node, TensorRecord) else 1
            if steps > MAX_STEPS or len(stack) > MAX_DEPTH:
                raise Malformed(f"nests its tensors deeper than {MAX_DEPTH} or too often")
            alias = alias or child.is_alias
            if isinstance(child.node, TensorRecord):
                path = tuple(part for part in (*parts, child.part) if part is not None)
                letters = _bounded(letters + sum(map(len, path)))
                yield Found(path, child.node, optimizer, alias)
            else:
                parts.append(child.part)
                inside = optimizer or _holds_optimizer(child)
                stack.append((iter(self.children(child.node)), inside, alias))

    def _look_into(self, root: object) -> None:
        """Children first, with a stack of its own: a file can nest deeper than Python recurses.

        While a container is looked into it holds nothing, so that what leads back to it is dropped
        and what remains has no circles.
        """
        if not isinstance(root, CONTAINERS):
            return
        self._held[id(root)] = _NOTHING
        again = RepeatBudget()
        letters = 0
        stack: list[tuple[object, Iterator[Child], list[Child]]] = []
        stack.append((root, contents_of(root, again), []))
        while stack:
            node, rest, kept = stack[-1]
            for child in rest:
                if isinstance(child.node, CONTAINERS) and id(child.node) not in self._held:
                    if len(stack) == MAX_NESTING:
                        raise Malformed(f"nests its contents deeper than {MAX_NESTING}")
                    self._held[id(child.node)] = _NOTHING
                    kept.append(child)
                    stack.append((child.node, contents_of(child.node, again), []))
                    break
                if self.held(child.node).tensors:
                    kept.append(child)
                    letters = _bounded(letters + len(child.part or ""))
                    if isinstance(child.node, TensorRecord):
                        self._different.add(id(child.node))
            else:
                stack.pop()
                if kept:
                    self._close(node, kept)
                elif stack:
                    stack[-1][2].pop()

    def _close(self, node: object, kept: list[Child]) -> None:
        held = [self.held(child.node) for child in kept]
        # bounded, since numbers that double with every level would fill the memory
        tensors = min(sum(one.tensors for one in held), MAX_TENSORS + 1)
        ours = [self.held(child.node) for child in kept if not _holds_optimizer(child)]
        rows = (
            0 if optimizer_table(node) is not None else min(sum(one.rows for one in ours), tensors)
        )
        elements = min(sum(one.elements for one in ours), 1 << 64) if rows else 0
        self._children[id(node)] = kept
        self._held[id(node)] = Holding(tensors, rows, elements)
        if isinstance(node, Placeholder) and isinstance(node.maker, Foreign):
            self.holders.add(node.maker)


CONTAINERS = (dict, list, tuple, Placeholder)
_NODES = (TensorRecord, *CONTAINERS)


def _bounded(letters: int) -> int:
    if letters > MAX_LETTERS:
        raise Malformed(f"names its tensors by more than {MAX_LETTERS} characters")
    return letters


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


def optimizer_table(node: object) -> dict[object, object] | None:
    """The `state` and `param_groups` of an optimizer's state dict, or of a whole one that was
    pickled; None of anything else."""
    both = (table for table in tables_of(node) if "state" in table and "param_groups" in table)
    return next(both, None)


def _holds_optimizer(child: Child) -> bool:
    """Told by content, or by the customary key where it holds more than a tensor."""
    is_named = child.part in OPTIMIZERS and isinstance(child.node, CONTAINERS)
    return is_named or optimizer_table(child.node) is not None


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
    for pieces in (node.args, node.kwargs, node.items):
        yield from _items(pieces)


def _of_module(tables: list[dict[object, object]]) -> Iterator[Child]:
    for name in MODULE_TABLES:
        yield from (Child(None, table[name]) for table in tables if name in table)
    for child in (child for table in tables for child in _items(table)):
        if child.part not in MODULE_TABLES:
            yield Child(child.part, child.node, is_alias=True)


def _items(container: object) -> Iterator[Child]:
    """The containers and tensors of a dict or a sequence."""
    pairs: Iterator[tuple[object, object]]
    if isinstance(container, dict):
        pairs = iter(container.items())
    elif not isinstance(container, (list, tuple)):
        return
    else:
        pairs = iter(container) if _is_pairs(container) else enumerate(container)
    for place, (key, node) in enumerate(pairs):
        if isinstance(node, _NODES):
            yield Child(part_of(key, place), node)
