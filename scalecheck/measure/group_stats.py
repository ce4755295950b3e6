"""The statistics of a layer, family or role: those of its elements together, never averages of
averages."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from scalecheck.checkpoint.naming import family, indices
from scalecheck.measure.flags import FlaggedStats
from scalecheck.measure.groups import By, shared
from scalecheck.measure.sketch import Sketch
from scalecheck.measure.tensor_stats import TensorStats

if TYPE_CHECKING:
    from scalecheck.measure.initial_scale import Reference

_PENDING = 64  # sketches kept before they are merged: bounds memory, and merges in bulk


@dataclass(frozen=True)
class GroupStats:
    """Several tensors as one. sketch: of the elements of all, tied tensors counted once."""

    name: str
    members: Sequence[FlaggedStats]
    sketch: Sketch
    quantiles: Mapping[str, float | None] | None = None

    @property
    def numel(self) -> int:
        return self.sketch.numel

    @property
    def rms(self) -> float | None:
        return self.sketch.rms

    @property
    def rms_by_tensor(self) -> list[float | None]:
        return [member.rms for member in self.members]

    @cached_property
    def reference(self) -> "Reference | None":
        """How an initialization starts them; None where it starts them in several ways."""
        reference: Reference | None = shared(member.reference for member in self.members)
        return reference

    @cached_property
    def flag_counts(self) -> Counter[str]:
        """How many of its tensors have each flag."""
        return Counter(flag for member in self.members for flag in member.flags)

    @cached_property
    def faults(self) -> Counter[str]:
        """How many of its tensors have each fault."""
        return Counter(fault for member in self.members for fault in member.faults)


class Sketches:
    """The merged sketch of each layer, family or role."""

    def __init__(self, by: By) -> None:
        self._by = by
        self._names: dict[str, set[str]] = {}
        self._sketches: dict[str, list[Sketch]] = {}

    def add(self, stats: TensorStats, sketch: Sketch) -> None:
        """Takes in a tensor; one tied to another of its group counts once."""
        key = getattr(stats, self._by)
        names = self._names.setdefault(key, set())
        sketches = self._sketches.setdefault(key, [])
        if stats.tied_to is None or stats.tied_to not in names:
            sketches.append(sketch)
        names.add(stats.name)
        if len(sketches) > _PENDING:
            sketches[:] = [Sketch.merge(sketches)]

    def merged(self) -> dict[str, Sketch]:
        """By key, in the order of the file, but those that differ by an index in the order of
        that."""
        first: dict[str, int] = {}
        for position, key in enumerate(self._names):
            first.setdefault(family(key), position)
        keys = sorted(self._names, key=lambda key: (first[family(key)], indices(key)))
        return {key: Sketch.merge(self._sketches[key]) for key in keys}


def in_order(members: Sequence[FlaggedStats]) -> list[FlaggedStats]:
    """The tensors of a group by the indices in their names."""
    return sorted(members, key=lambda member: indices(member.name))
