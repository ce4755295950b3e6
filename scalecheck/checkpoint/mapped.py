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
    done: dict[int, tuple[object, object]] = {}  # with what has the number, which keeps it its own

    def of(node: object, depth: int) -> object:
        if not isinstance(node, (TensorRecord, dict, list, tuple, Placeholder)):
            return node
        if id(node) in done:
            return done[id(node)][1]
        if depth > MAX_DEPTH:
            raise Malformed(f"nests its contents deeper than {MAX_DEPTH}")
        if isinstance(node, TensorRecord):
            new: object = made(node)
        elif isinstance(node, tuple):
            new = (*(of(item, depth + 1) for item in node),)
        else:
            new = node
        done[id(node)] = node, new
        if isinstance(node, dict):
            items = [
                (Key(of(key.original, depth + 1)) if isinstance(key, Key) else key, item)
                for key, item in node.items()
            ]
            node.clear()
            node.update((key, of(item, depth + 1)) for key, item in items)
            if isinstance(node, OrderedDict):
                of(node.attributes, depth + 1)
        elif isinstance(node, list):
            node[:] = [of(item, depth + 1) for item in node]
        elif isinstance(node, Placeholder):
            of(node.maker, depth + 1)
            node.args, node.kwargs = of(node.args, depth + 1), of(node.kwargs, depth + 1)
            node.state = of(node.state, depth + 1)
            of(node.items, depth + 1)
            of(node.entries, depth + 1)
        return new

    return of(root, 0)
