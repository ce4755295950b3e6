"""Objects with other tensors in the places of theirs."""

from collections.abc import Callable

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.inert import Key, OrderedDict, Placeholder
from scalecheck.checkpoint.pickle.records import TensorRecord

MAX_DEPTH = 200  # of containers in an object; states nest some ten deep


def mapped(root: object, made: Callable[[TensorRecord], TensorRecord]) -> object:
    """The object with what is made of each of its tensors, those that are keys too; its dicts and
    lists are changed, and what is held twice is made once. Raises Malformed where it nests too
    deep."""
    return _Mapping(made).of(root, 0)


class _Mapping:
    """What was made of what, by the number of an object."""

    def __init__(self, made: Callable[[TensorRecord], TensorRecord]) -> None:
        self._made = made
        self._done: dict[int, tuple[object, object]] = {}  # with the object, which keeps its number

    def of(self, node: object, depth: int) -> object:
        if not isinstance(node, (TensorRecord, dict, list, tuple, Placeholder)):
            return node
        if id(node) in self._done:
            return self._done[id(node)][1]
        if depth > MAX_DEPTH:
            raise Malformed(f"nests its contents deeper than {MAX_DEPTH}")
        if isinstance(node, TensorRecord):
            new: object = self._made(node)
        elif isinstance(node, tuple):
            new = (*(self.of(item, depth + 1) for item in node),)
        else:
            new = node
        self._done[id(node)] = node, new
        if isinstance(node, dict):
            items = [
                (Key(self.of(key.original, depth + 1)) if isinstance(key, Key) else key, item)
                for key, item in node.items()
            ]
            node.clear()
            node.update((key, self.of(item, depth + 1)) for key, item in items)
            if isinstance(node, OrderedDict):
                self.of(node.attributes, depth + 1)
        elif isinstance(node, list):
            node[:] = [self.of(item, depth + 1) for item in node]
        elif isinstance(node, Placeholder):
            self.of(node.maker, depth + 1)
            node.args, node.kwargs = self.of(node.args, depth + 1), self.of(node.kwargs, depth + 1)
            node.state = self.of(node.state, depth + 1)
            self.of(node.items, depth + 1)
            self.of(node.entries, depth + 1)
        return new
