"""Which of a model's parameters each entry of an optimizer state belongs to, as far as shapes and
order decide it. Torch numbers the entries and does not name them."""

import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise

from scalecheck.checkpoint.keys import text_key

Shape = tuple[int, ...]
Group = dict[int, Shape | None]
"""The numbers of a group's entries in their order, each with its parameter's shape where that is
known."""

_Keys = dict[int, str]
"""The same with the key of each shape."""
_ANY = text_key(None)


def certain(
    groups: Iterable[Group], parameters: Mapping[str, Shape], *, in_order: bool
) -> dict[int, str] | None:
    """The name of each entry's parameter where only one is possible, by the entry's number; None
    where a group has no assignment at all, or two groups must have one parameter.

    An assignment gives every entry of a group a parameter of its shape, no two the same one, in one
    of the orders in which training code lists parameters: that of the module; by name, as minGPT
    and what descends from it does; by shape, the largest first, otherwise as in the module, as
    Muon's reference does. An entry is named if all assignments of its group agree on it. Groups are
    judged one by one: what another group must have is still taken as free.

    `in_order` says that `parameters` are in the order in which their module lists them. Otherwise
    that order is known in part, as `_by_index` says. Assumed is that every parameter that has an
    entry is in `parameters`; others, such as frozen ones and buffers, may be there too.
    """
    lines, alike = _lines(parameters, in_order)
    names: dict[int, str] = {}
    for group in map(_keys, groups):
        answers = [line.certain(group) for line in lines]
        if alike is not None:
            answers.append(_by_index(group, alike, len(parameters)))
        possible = [answer for answer in answers if answer is not None]
        if not possible:
            return None
        names |= dict(set.intersection(*(set(answer.items()) for answer in possible)))
    return names if len({*names.values()}) == len(names) else None


def reachable(
    groups: Iterable[Group],
    parameters: Mapping[str, Shape],
    asked: Collection[int],
    *,
    in_order: bool,
) -> set[str] | None:
    """The names that the entries of these numbers have in one of `certain`'s assignments or
    another; None where a group has no assignment at all."""
    lines, alike = _lines(parameters, in_order)
    reached = [_Reached(line) for line in lines]
    by_index: set[str] = set()
    for group in map(_keys, groups):
        found = [one.add(group, asked) for one in reached]
        if alike is not None and _by_index(group, alike, len(parameters)) is not None:
            found.append(True)
            by_index.update(group[entry] for entry in group if entry in asked)
        if not any(found):
            return None
    names = {name for one in reached for name in one.names()}
    return names | {n for n, shape in parameters.items() if by_index & {_ANY, text_key(shape)}}


def _keys(group: Group) -> _Keys:
    return {entry: text_key(shape) for entry, shape in group.items()}


def _lines(
    parameters: Mapping[str, Shape], in_order: bool
) -> "tuple[list[_Ordering], Alike | None]":
    """The orders in which the parameters may be listed, and where their module's is not known, what
    their indices say of it."""
    by_name = sorted(parameters)
    keys = {name: text_key(shape) for name, shape in parameters.items()}
    if not in_order:
        return [_Ordering(by_name, keys)], _alike(keys)
    by_shape = sorted(parameters, key=parameters.__getitem__, reverse=True)
    return [_Ordering(order, keys) for order in ([*parameters], by_name, by_shape)], None


class _Ordering:
    """Parameters one after the other, and the places of each shape, under `_ANY` of all."""

    def __init__(self, order: Sequence[str], keys: Mapping[str, str]) -> None:
        self.order = order
        self.places: dict[str, list[int]] = defaultdict(list)
        for place, name in enumerate(order):
            self.places[keys[name]].append(place)
            self.places[_ANY].append(place)

    def certain(self, group: _Keys) -> dict[int, str] | None:
        """The names that entries have in every assignment along the line: those on which the
        leftmost and the rightmost one agree. None where there is none."""
        bounds = self.bounds(group)
        if bounds is None:
            return None
        return {entry: self.order[left] for entry, (left, right) in bounds.items() if left == right}

    def bounds(self, group: _Keys) -> dict[int, tuple[int, int]] | None:
        """The leftmost and the rightmost place of each entry; None where there is none."""
        leftmost = {}
        last = -1
        for entry, shape in group.items():
            places = self.places.get(shape, ())
            after = bisect_right(places, last)
            if after == len(places):
                return None
            leftmost[entry] = last = places[after]
        rightmost = {}
        last = len(self.order)
        for entry, shape in reversed(group.items()):
            places = self.places[shape]
            rightmost[entry] = last = places[bisect_left(places, last) - 1]
        return {entry: (leftmost[entry], rightmost[entry]) for entry in group}


class _Reached:
    """The places of a line that entries have in one assignment or another: of each shape, where the
    ranges of its places begin and end."""

    def __init__(self, line: _Ordering) -> None:
        self._line = line
        self._edges: dict[str, Counter[int]] = defaultdict(Counter)

    def add(self, group: _Keys, asked: Collection[int]) -> bool:
        """Takes in the entries of a group that are asked about: each can have any place of its
        shape from its leftmost to its rightmost. False where the group has no assignment."""
        bounds = self._line.bounds(group)
        for entry, (left, right) in (bounds or {}).items():
            if entry in asked:
                places = self._line.places[group[entry]]
                self._edges[group[entry]][bisect_left(places, left)] += 1
                self._edges[group[entry]][bisect_right(places, right)] -= 1
        return bounds is not None

    def names(self) -> Iterator[str]:
        """The names at those places."""
        for shape, edges in self._edges.items():
            covered = accumulate(edges[place] for place in range(len(self._line.places[shape])))
            for place, ranges in zip(self._line.places[shape], covered, strict=True):
                if ranges:
                    yield self._line.order[place]


Alike = Mapping[str, tuple[Sequence[str], bool]]
"""The parameters of each shape by index, and whether indices alone order them."""


def _alike(keys: Mapping[str, str]) -> Alike:
    alike = defaultdict(list)
    for index_key, name in sorted((_index_key(name), name) for name in keys):
        alike[keys[name]].append((index_key, name))
    return {
        shape: (
            [name for _, name in same],
            all(_is_before(one, other) for (one, _), (other, _) in pairwise(same)),
        )
        for shape, same in alike.items()
    }


def _by_index(group: _Keys, alike: Alike, parameters: int) -> dict[int, str] | None:
    """The names that entries of known shape have in every order of a module in which lists go by
    index, and so do parameters of one shape whose names first differ in an index. None where there
    is no assignment."""
    if len(group) > parameters:
        return None
    entries = defaultdict(list)
    for entry, shape in group.items():
        if shape != _ANY:
            entries[shape].append(entry)
    names: dict[int, str] = {}
    for shape, same in entries.items():
        candidates, are_ordered = alike.get(shape, ((), True))
        if len(same) > len(candidates):
            return None
        if len(same) == len(candidates) and are_ordered:
            names |= zip(same, candidates, strict=True)
    return names


IndexKey = tuple[tuple[bool, int, str], ...]


def _index_key(name: str) -> IndexKey:
    """A name by its parts, indices as numbers."""
    return tuple(
        (False, int(part), "") if part.isdecimal() and part.isascii() else (True, 0, part)
        for part in re.split(r"[./]", name)
    )


def _is_before(one: IndexKey, other: IndexKey) -> bool:
    """Whether the first parts in which the names differ are indices, the smaller one first."""
    differing = ((a, b) for a, b in zip(one, other, strict=False) if a != b)
    (is_word, index, _), (is_other_word, second, _) = next(differing, ((True, 0, ""),) * 2)
    return not is_word and not is_other_word and index < second
