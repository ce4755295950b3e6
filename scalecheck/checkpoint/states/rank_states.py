"""The optimizer state that ranks saved in a file each, as one tree: what all say alike is taken
once, and the parts of distributed tensors are put together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scalecheck.checkpoint.formats import torch
from scalecheck.checkpoint.malformed import Malformed, NotUnderstood, content_of
from scalecheck.checkpoint.pickle.contents import part_of
from scalecheck.checkpoint.pickle.inert import Key, Placeholder
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.pickle.tree import MAX_TENSORS
from scalecheck.checkpoint.ranks.files import Merging
from scalecheck.checkpoint.state_file import StateFile, opened, recorded
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.report.formatting import excerpt

MAX_DEPTH = 64  # of containers; states nest some ten deep
MAX_NODES = 8 * MAX_TENSORS  # of all ranks; a file of few bytes can hold one list a million times


@contextmanager
def together(folder: Path, files: Mapping[int, Path]) -> Iterator[StateFile]:
    """The tree of the files of ranks, as one that is read by place. Raises CheckpointError where
    one is damaged, and NotUnderstood where they do not belong together."""
    problem: NotUnderstood | None = None
    root: object = None
    with ExitStack() as stack, content_of(folder):
        held = {rank: stack.enter_context(torch.unpickled(path)) for rank, path in files.items()}
        merge = _Merge(held, Merging(folder, "rank"))
        try:
            root = merge.of({rank: file.root for rank, file in held.items()}, ())
            torch.check_overlap(merge.read)
        except NotUnderstood as error:
            problem = error
    if problem:
        raise problem
    with opened(folder, root) as whole:
        yield whole


@dataclass
class _Merge:
    """Merges the nodes that lie at one place of the trees of ranks."""

    files: Mapping[int, torch.Unpickled]
    merging: Merging
    nodes: int = 0
    read: list[Tensor] = field(default_factory=list)

    def of(self, nodes: Mapping[int, object], path: tuple[str, ...]) -> object:
        """One node of those of ranks. Raises NotUnderstood where they differ, Malformed where parts
        of a tensor overlap or there is too much."""
        self.nodes += len(nodes)
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise Malformed("nests the states of its ranks too deep or too often")
        first = next(iter(nodes.values()))
        kinds = {_kind(node) for node in nodes.values()}
        if len(kinds) > 1:
            raise self.differ(nodes, path)
        if isinstance(first, TensorRecord):
            return self.tensor(nodes, path)
        if isinstance(first, dict):
            return self.table(nodes, path)
        if isinstance(first, (list, tuple)):
            return self.sequence(nodes, path)
        if isinstance(first, Placeholder):
            return Placeholder(first.maker)
        if any(node != first for node in nodes.values()):
            raise self.differ(nodes, path)
        return first

    def table(self, nodes: Mapping[int, object], path: tuple[str, ...]) -> dict[object, object]:
        """Ranks may keep the states of some parameters each."""
        held: dict[object, dict[int, object]] = {}
        for rank, node in nodes.items():
            assert isinstance(node, dict)
            for key, item in node.items():
                if not isinstance(key, Key):
                    held.setdefault(key, {})[rank] = item
        return {
            key: self.of(items, (*path, part_of(key, place)))
            for place, (key, items) in enumerate(held.items())
        }

    def sequence(self, nodes: Mapping[int, object], path: tuple[str, ...]) -> list[object]:
        lists: dict[int, Sequence[object]] = {
            rank: node for rank, node in nodes.items() if isinstance(node, (list, tuple))
        }
        if len({len(items) for items in lists.values()}) > 1:
            raise self.differ(nodes, path)
        length = len(next(iter(lists.values())))
        return [
            self.of({rank: items[place] for rank, items in lists.items()}, (*path, str(place)))
            for place in range(length)
        ]

    def tensor(self, nodes: Mapping[int, object], path: tuple[str, ...]) -> TensorRecord:
        name = ".".join(path)
        held = {
            rank: self.files[rank].tensor(name, record)
            for rank, record in nodes.items()
            if isinstance(record, TensorRecord)
        }
        self.read += held.values()
        whole = self.merging.one(name, held)
        if isinstance(whole, str):
            raise NotUnderstood(f"{excerpt(name)} of {len(held)} ranks: {whole}")
        return recorded(whole)

    def differ(self, nodes: Mapping[int, object], path: tuple[str, ...]) -> NotUnderstood:
        where = excerpt(".".join(path)) or "what they hold"
        said = [f"{_shown(node)} in rank {rank}" for rank, node in nodes.items()]
        others = [words for words in said if words.split(" in ")[0] != said[0].split(" in ")[0]]
        return NotUnderstood(f"{where} is {said[0]} and {(others or said[1:])[0]}")


def _kind(node: object) -> str:
    if isinstance(node, (list, tuple)):
        return "list"
    return "dict" if isinstance(node, dict) else type(node).__name__


def _shown(node: object) -> str:
    if isinstance(node, (list, tuple, dict)):
        return f"a {_kind(node)} of {len(node)}"
    return "a tensor" if isinstance(node, TensorRecord) else excerpt(repr(node), 40)
