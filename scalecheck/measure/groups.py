"""Rows of a report from typed objects: one a tensor, or one a group of tensors, whose fields are
merged over all elements and never averaged over tensors."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar, get_args

from scalecheck.report.report import Column, Row

By = Literal["tensor", "layer", "family", "role"]
GROUPINGS: tuple[By, ...] = get_args(By)
Average = Callable[[Sequence[Any]], float | None]
Merge = Callable[[Sequence[Any]], Any]

T = TypeVar("T")

NAME = Column("name", "name", "text", "the tensor's name as stored, or the group's")
ROLE = Column("role", "role", "text", "what the tensor is; null where a group's differ", 9)
LAYER = Column("layer", "layer", "text", "module path up to and including the block index")
FAMILY = Column("family", "family", "text", "the name with every index replaced by N")
"""What every row says of which tensors it is of."""


def grouped(items: Iterable[T], by: By) -> dict[str, list[T]]:
    """The items of each layer, family or role, or each by itself."""
    groups: dict[str, list[T]] = {}
    for item in items:
        groups.setdefault(getattr(item, "name" if by == "tensor" else by), []).append(item)
    return groups


def row(columns: Iterable[Column], name: str, items: Sequence[Any]) -> dict[str, Any]:
    """The fields of one object, or of several as a group."""
    (one, *others) = items
    fields = {c.name: c.merged(items) if others else c.read(one) for c in columns}
    return {**fields, "name": name}


def shared(values: Iterable[Any]) -> Any:
    """The value that all have; None where they differ."""
    first, *others = values
    return first if all(other == first for other in others) else None


def listed(name: str) -> Merge:
    """The different words of the field, in order."""
    return lambda items: ", ".join(dict.fromkeys(getattr(item, name) for item in items))


def total(name: str) -> Merge:
    return lambda items: sum(getattr(item, name) or 0 for item in items)


def smallest(name: str) -> Merge:
    return lambda items: min(_known(items, name), default=None)


def largest(name: str) -> Merge:
    return lambda items: max(_known(items, name), default=None)


def mean(name: str) -> Average:
    """The mean over the elements of the items that have the field."""

    def merge(items: Sequence[Any]) -> float | None:
        weighted = _weighted(items, name)
        return math.fsum(share * x for share, x in weighted) if weighted else None

    return merge


def mean_square(name: str) -> Average:
    """The root of the mean square over the elements of the items that have the field."""

    def merge(items: Sequence[Any]) -> float | None:
        weighted = _weighted(items, name)
        return math.hypot(*(math.sqrt(share) * x for share, x in weighted)) if weighted else None

    return merge


def of_several(name: str) -> Callable[[Row], Any]:
    """A cell that stays empty where a group is one tensor, of which another column says all."""
    return lambda row: row[name] if row["tensors"] > 1 else None


def _known(items: Sequence[Any], name: str) -> list[Any]:
    return [x for item in items if (x := getattr(item, name)) is not None]


def _weighted(items: Sequence[Any], name: str) -> list[tuple[float, float]]:
    """The field of the items that have it, each with its share of their elements."""
    known = [
        (item.numel, x) for item in items if item.numel and (x := getattr(item, name)) is not None
    ]
    numel: int = sum(n for n, _ in known)
    return [(n / numel, x) for n, x in known]
