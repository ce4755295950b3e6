"""Which part of a distributed tensor one rank holds: where its elements lie in the whole."""

from dataclasses import dataclass
from itertools import product
from math import prod

MAX_NUMEL = 1 << 63  # of a whole tensor; torch keeps counts in signed 64-bit integers

Range = tuple[int, int]
"""Where a stretch of a dimension starts, and its length."""


@dataclass(frozen=True, slots=True)
class Share:
    """A rank's part of a tensor of `shape`: `ranges` are the stretches of each dimension that it
    holds, in its own order. `replica` numbers those that hold the same; `ranks` is how many hold
    parts of the tensor."""

    shape: tuple[int, ...]
    ranges: tuple[tuple[Range, ...], ...]
    replica: tuple[int, ...] = ()
    ranks: int = 1

    @property
    def local_shape(self) -> tuple[int, ...]:
        return tuple(sum(count for _, count in ranges) for ranges in self.ranges)

    @property
    def numel(self) -> int:
        return prod(self.local_shape)

    def boxes(self) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
        """The boxes that it is made of: where each starts in the whole, where in the part, and
        its sizes."""
        placed = []
        for ranges in self.ranges:
            own, at = [], 0
            for start, count in ranges:
                own.append((start, at, count))
                at += count
            placed.append(own)
        return [
            (tuple(s for s, _, _ in box), tuple(a for _, a, _ in box), tuple(n for _, _, n in box))
            for box in product(*placed)
        ]
