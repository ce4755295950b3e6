"""The master weights and the optimizer state of each parameter, by name, put together from the flat
vectors of the ranks. No element is read but of counts of steps."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from math import prod
from pathlib import Path

import numpy as np

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.records import TensorRecord
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.state_file import recorded
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.checkpoint.zero.partitions import Place, RankVectors, Vector
from scalecheck.checkpoint.zero.states import RankFile, Settings, Shape, Shapes
from scalecheck.report.formatting import excerpt, listed, plural

_EXPERT = re.compile(r"(.*\bdeepspeed_moe\.experts\.deepspeed_experts\.)(\d{1,6})(\..*)", re.DOTALL)


@dataclass
class Parameters:
    """masters: the weights that the optimizer moves; states: what it keeps for each; groups: its
    settings, each with the names of its parameters."""

    masters: dict[str, Tensor] = field(default_factory=dict)
    states: dict[str, dict[str, object]] = field(default_factory=dict)
    groups: list[tuple[Settings, list[str]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, master: Tensor) -> None:
        """Takes in the master weights of a parameter. Raises Malformed for a second of the name."""
        if name in self.masters:
            raise Malformed(f"param_shapes has two parameters named {excerpt(name)}")
        self.masters[name] = master

    @property
    def tree(self) -> object:
        """As a tree that an optimizer state is read from."""
        groups = [{**settings, "params": names} for settings, names in self.groups]
        return {"optimizer": {"state": self.states, "param_groups": groups}}

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Those of the states."""
        made = (
            getattr(one, "made", None) for state in self.states.values() for one in state.values()
        )
        return tuple(tensor for tensor in made if tensor is not None)


def tensors_of(states: Mapping[str, Mapping[str, object]]) -> tuple[Tensor, ...]:
    """The tensors of the states in a tree."""
    entries = (entry for state in states.values() for entry in state.values())
    made = (entry.made for entry in entries if isinstance(entry, TensorRecord))
    return tuple(tensor for tensor in made if tensor is not None)


@dataclass(frozen=True)
class Ranks:
    """The files of data-parallel ranks by their numbers, of `world` ranks; `path` is what an error
    names."""

    path: Path
    files: Mapping[int, RankFile]
    world: int

    @property
    def first(self) -> RankFile:
        return next(iter(self.files.values()))

    @property
    def is_complete(self) -> bool:
        return len(self.files) == self.world

    def experts(self, count: int) -> Iterator[tuple[int, "Ranks"]]:
        """The ranks among which the vectors of experts are parted, of `count` ranks each: one in
        every so many."""
        step = self.world // count if count else 0
        if not step or step * count != self.world:
            raise Malformed(f"a vector is parted among {count} ranks of {self.world}")
        for number in range(step if step <= len(self.files) else 0):
            own = {r // step: file for r, file in self.files.items() if r % step == number}
            if own:
                yield number, Ranks(self.path, own, count)


def gathered(ranks: Ranks, shapes: Sequence[Shapes], is_partitioned: bool) -> Parameters:
    """The parameters of some ranks; is_partitioned: as stage 3 parts them, each tensor among all
    ranks. Raises Malformed where names and shapes do not fit the vectors."""
    found = Parameters()
    vectors = len(ranks.first.masters)
    for rank, file in ranks.files.items():
        if len(file.masters) != vectors:
            counts = f"{len(file.masters)} vectors, others have {vectors}"
            raise Malformed(f"{file.path.name}: rank {rank} has {counts}")
    names: list[list[str]] = [[] for _ in range(vectors)]
    if is_partitioned:
        _dealt(ranks, shapes, found, names)
    else:
        _parted(ranks, shapes, found, names)
    for settings, own in ranks.first.optimizer.groups:
        found.groups.append((settings, [name for vector in own for name in names[vector]]))
    found.notes += _different_steps(ranks)
    if left_out := [
        *dict.fromkeys(one for file in ranks.files.values() for one in file.optimizer.left_out)
    ]:
        found.notes.append(f"left out of the optimizer state: {listed(left_out)}")
    return found


def _dealt(
    ranks: Ranks, shapes: Sequence[Shapes], found: Parameters, names: Sequence[list[str]]
) -> None:
    """As stage 3 has them: of each tensor an equal part on every rank, padded at the end."""
    sizes = [vector.numel for vector in ranks.first.masters]
    for rank, file in ranks.files.items():
        if (own := [vector.numel for vector in file.masters]) != sizes:
            raise Malformed(f"{file.path.name}: rank {rank} has vectors of {own}, others {sizes}")
    firsts = [0, *accumulate(sizes)]
    each = {n: -(-prod(s) // ranks.world) for group in shapes for n, s in group.items()}
    if (needed := sum(each.values())) != firsts[-1]:
        raise Malformed(
            f"param_shapes has {needed} elements a rank of {ranks.world}, the vectors {firsts[-1]}"
        )
    vectors = {rank: Vector(file.masters) for rank, file in ranks.files.items()}
    masters = RankVectors.of(ranks.path, vectors, ranks.world)
    states = [
        _Entries.of(ranks, number, dict.fromkeys(ranks.files, (size, size)), found)
        for number, size in enumerate(sizes)
    ]
    offset = 0
    for name, shape in (pair for group in shapes for pair in group.items()):
        found.add(name, masters.tensor(name, shape, Place(offset, each[name])))
        number = max(0, min(bisect_right(firsts, offset) - 1, len(sizes) - 1))
        names[number].append(name)
        place = Place(offset - firsts[number], each[name])
        if place.offset + place.each <= sizes[number]:
            found.states[name] = states[number].of_parameter(name, shape, place)
        offset += each[name]


def _parted(
    ranks: Ranks, shapes: Sequence[Shapes], found: Parameters, names: Sequence[list[str]]
) -> None:
    """As stages 1 and 2 have them: the tensors of a group end to end, cut into equal parts."""
    if len(shapes) != len(names):
        words = f"{plural(len(shapes), 'group')}, the ranks {plural(len(names), 'vector')}"
        raise Malformed(f"param_shapes has {words}")
    counts = ranks.first.counts
    for number, group in enumerate(shapes):
        count = counts[number] if number < len(counts) > 1 else ranks.world
        if count == ranks.world:
            names[number].extend(_group(ranks, number, group, found))
            continue
        local = len({match[2] for name in group if (match := _EXPERT.fullmatch(name))})
        for expert, own in ranks.experts(count):
            renamed = {_expert(name, expert * local): shape for name, shape in group.items()}
            names[number].extend(_group(own, number, renamed, found))


def _group(ranks: Ranks, number: int, group: Shapes, found: Parameters) -> list[str]:
    """The parameters of a group."""
    sizes = {rank: file.masters[number].numel for rank, file in ranks.files.items()}
    end = ranks.world - 1
    each = max((size for rank, size in sizes.items() if rank != end), default=0)
    if not each:  # the last rank alone, whose vector may be cut
        each = sizes.get(end, 0) + sum(ranks.first.paddings[number : number + 1])
    last = sizes.get(end, each)
    for rank, size in sizes.items():
        if size != each and (rank != end or size > each):
            raise Malformed(f"rank {rank} has {size} elements of group {number}, others {each}")
    gaps = next(iter(ranks.first.gaps[number : number + 1]), ())
    lengths = map(prod, group.values())
    if len(gaps) == len(group):
        lengths = map(sum, zip(lengths, gaps, strict=True))
    starts = [0, *accumulate(lengths)]
    _check_size(ranks, number, starts[-1], end * each + last)
    vectors = {rank: Vector((file.masters[number],)) for rank, file in ranks.files.items()}
    masters = RankVectors.of(ranks.path, vectors, ranks.world)
    own = {rank: (each if rank != end else last, each) for rank in ranks.files}
    entries = _Entries.of(ranks, number, own, found)
    for start, (name, shape) in zip(starts, group.items(), strict=False):
        place = Place(0, each, start)
        found.add(name, masters.tensor(name, shape, place))
        found.states[name] = entries.of_parameter(name, shape, place)
    return [*group]


def _check_size(ranks: Ranks, number: int, needed: int, held: int) -> None:
    """Raises Malformed where the names of a group do not fill its vectors, up to the padding that
    ZeRO adds for an even start of each rank's."""
    even = 2 * ranks.world
    is_filled = not ranks.is_complete or -(-needed // even) == -(-held // even)
    if needed > held or not is_filled:
        raise Malformed(
            f"param_shapes has {needed} elements in group {number}, the vectors of"
            f" {plural(ranks.world, 'rank')} {held}"
        )


class _Entries(dict[str, object]):
    """What the optimizer keeps for the parameters of one vector, by its names: RankVectors of
    those that it keeps for each element, else one number for all."""

    @classmethod
    def of(
        cls, ranks: Ranks, number: int, sizes: Mapping[int, tuple[int, int]], found: Parameters
    ) -> "_Entries":
        """sizes: the least and the most elements of each rank's vector."""
        entries = cls()
        states = {rank: file.optimizer.states[number] for rank, file in ranks.files.items()}
        left_out = []
        for key in dict.fromkeys(key for state in states.values() for key in state):
            kept = {rank: state[key] for rank, state in states.items() if key in state}
            flat = {
                rank: Vector((one,))
                for rank, one in kept.items()
                if isinstance(one, Tensor)
                and len(one.shape) == 1
                and one.strides is None
                and sizes[rank][0] <= one.numel <= sizes[rank][1]
            }
            first = next(iter(kept.values()))
            if len(flat) == len(kept) and key != "step":
                entries[key] = RankVectors.of(ranks.path, flat, ranks.world)
            elif not isinstance(first, Tensor):
                entries[key] = first
            elif first.numel == 1:
                entries[key] = recorded(first)
            else:
                left_out.append(f"state[{number}].{excerpt(key, 40)}")
        if left_out:
            what = "no number and not one for each element"
            found.notes.append(f"left out of the optimizer state, as {what}: {listed(left_out)}")
        return entries

    def of_parameter(self, name: str, shape: Shape, place: Place) -> dict[str, object]:
        """The entries of a parameter, its tensors as records of a tree."""
        return {
            key: recorded(entry.tensor(f"{name}.{key}", shape, place))
            if isinstance(entry, RankVectors)
            else entry
            for key, entry in self.items()
        }


def _expert(name: str, more: int) -> str:
    """The name of an expert among all ranks', by its number among those of its own."""
    match = _EXPERT.fullmatch(name)
    return f"{match[1]}{int(match[2]) + more}{match[3]}" if match else name


def _different_steps(ranks: Ranks) -> list[str]:
    """A note on ranks that count other steps than the first, if there are some."""
    steps: dict[int, float] = {}
    with Readers() as readers:
        for rank, file in ranks.files.items():
            for state in file.optimizer.states:
                step = _number(state.get("step"), readers)
                if step is not None and rank not in steps:
                    steps[rank] = step
    first = next(iter(steps.values()), None)
    others = [f"rank {rank} at {step:g}" for rank, step in steps.items() if step != first]
    if not others:
        return []
    return [f"ranks have made different numbers of steps: {first:g}, but {listed(others)}"]


def _number(node: object, readers: Readers) -> float | None:
    """A count of steps, in a tensor or by itself."""
    if isinstance(node, (int, float)):
        return float(node) if node == node else None
    if not isinstance(node, Tensor):
        return None
    if node.numel != 1 or node.unmeasured:
        return None
    [block] = node.blocks(readers=readers, buffer=np.empty(8, np.uint8))
    return float(node.dtype.decode(block)[0])
