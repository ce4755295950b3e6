"""The tree that a pickle holds, as paths to its tensors: which containers hold tensors, and under
which names. A file can make containers hold themselves, or each other 2^30 times."""

from collections.abc import Sequence
from dataclasses import dataclass

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.contents import (
    CONTAINERS,
    Child,
    Path,
    RepeatBudget,
    contents_of,
    path_of,
    walk,
)
from scalecheck.checkpoint.pickle.inert import Foreign, Placeholder
from scalecheck.checkpoint.pickle.optimizers import flat_table, is_named_optimizer, optimizer_table
from scalecheck.checkpoint.pickle.records import TensorRecord

MAX_TENSORS = 1 << 20  # ten times the most that a model has
MAX_STEPS = 8 * MAX_TENSORS  # containers on the way to each; real files nest a few deep
MAX_LETTERS = 64 * MAX_TENSORS  # of their names together; real ones have some 40
MAX_REPEATS = 16  # of a tensor on average; a file of 500 bytes can hold one a million times
FREE_REPEATS = 1 << 14  # tensors that are no matter however few they repeat
MAX_DEPTH = 200  # of a tensor; real modules nest some 30 deep
MAX_NESTING = 10_000  # of anything; Python's pickler, which recurses, gives up near 1000


@dataclass(frozen=True, slots=True)
class Holding:
    """What lies under a container: tensors, those of them outside optimizer states, and the
    elements by which the latter weigh."""

    tensors: int = 0
    rows: int = 0
    elements: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Found:
    """A tensor and the path to it. is_optimizer: it is one of an optimizer's state; is_beside: or
    lies where such a state does, and is no weight."""

    path: Path
    record: TensorRecord
    is_optimizer: bool = False
    is_beside: bool = False
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
        self._states: dict[int, bool] = {}
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

    def tensors(self, node: object) -> list[Found]:
        """Every tensor under a node, in the order of the file. Raises Malformed."""
        found: list[Found] = []
        is_state = node is self.root and self._is_state(node)
        inherited = [(is_state, is_state, False)]  # of each container on the trail
        steps = letters = 0

        def visit(trail: Sequence[Child]) -> bool:
            nonlocal steps, letters
            child, depth = trail[-1], len(trail) - 1
            is_tensor = isinstance(child.node, TensorRecord)
            steps += depth if is_tensor else 1
            if steps > MAX_STEPS or depth > MAX_DEPTH:
                raise Malformed(f"nests its tensors deeper than {MAX_DEPTH} or too often")
            is_optimizer, is_beside, is_alias = inherited[-1]
            is_alias = is_alias or child.is_alias
            is_optimizer |= len(trail) > 1 and self._is_read(trail[-2].node, child)
            if isinstance(child.node, TensorRecord):
                path = path_of(trail)
                letters = _bounded(letters + sum(map(len, path)))
                found.append(Found(path, child.node, is_optimizer, is_beside, is_alias))
                return False
            is_beside = is_beside or self.holds_optimizer(child)
            inherited.append((is_optimizer, is_beside, is_alias))
            return True

        walk(node, lambda node: iter(self.children(node)), visit, lambda _: inherited.pop())
        return found

    def holds_optimizer(self, child: Child) -> bool:
        """Told by content, or by the name that trainers give it: it weighs nothing where the model
        is looked for."""
        return is_named_optimizer(child.part, child.node) or self._is_state(child.node)

    def _look_into(self, root: object) -> None:
        """While a container is looked into it holds nothing, so that what leads back to it is
        dropped and what remains has no circles."""
        again = RepeatBudget()
        letters = 0
        kept: list[list[Child]] = [[]]  # of each container on the trail

        def visit(trail: Sequence[Child]) -> bool:
            nonlocal letters
            child = trail[-1]
            if isinstance(child.node, CONTAINERS) and id(child.node) not in self._held:
                if len(trail) > MAX_NESTING:
                    raise Malformed(f"nests its contents deeper than {MAX_NESTING}")
                self._held[id(child.node)] = _NOTHING
                kept.append([])
                return True
            if self.held(child.node).tensors:
                kept[-1].append(child)
                letters = _bounded(letters + len(child.part or ""))
                if isinstance(child.node, TensorRecord):
                    self._different.add(id(child.node))
            return False

        def leave(child: Child) -> None:
            if inside := kept.pop():
                self._close(child.node, inside)
                kept[-1].append(child)

        walk(root, lambda node: contents_of(node, again), visit, leave)

    def _close(self, node: object, kept: list[Child]) -> None:
        held = [self.held(child.node) for child in kept]
        # bounded, since numbers that double with every level would fill the memory
        tensors = min(sum(one.tensors for one in held), MAX_TENSORS + 1)
        ours = [self.held(child.node) for child in kept if not self.holds_optimizer(child)]
        is_state = self._is_state(node)
        rows = sum(
            one.rows
            for child, one in zip(kept, held, strict=True)
            if not self._is_read(node, child) and not (is_state and node is self.root)
        )
        rows = min(rows, tensors)
        elements = 0 if is_state else min(sum(one.elements for one in ours), 1 << 64)
        self._children[id(node)] = kept
        self._held[id(node)] = Holding(tensors, rows, elements)
        if isinstance(node, Placeholder) and isinstance(node.maker, Foreign):
            self.holders.add(node.maker)

    def _is_read(self, node: object, child: Child) -> bool:
        """Whether a child is what is read of an optimizer's state, by those who ask for it. What
        else lies with it is a row, as is what has the customary key and another content."""
        if not self._is_state(node):
            return False
        is_container = not isinstance(child.node, TensorRecord)
        is_named = is_container and child.part in ("state", "param_groups")
        return is_named or optimizer_table(node) is None

    def _is_state(self, node: object) -> bool:
        """Whether it is an optimizer's state by its content; looked at once, however large it is
        and however often it is held."""
        if isinstance(node, TensorRecord):
            return False
        if id(node) not in self._states:
            found = optimizer_table(node) is not None or flat_table(node) is not None
            self._states[id(node)] = found
        return self._states[id(node)]


def _bounded(letters: int) -> int:
    if letters > MAX_LETTERS:
        raise Malformed(f"names its tensors by more than {MAX_LETTERS} characters")
    return letters
