"""Whether a norm grows without an end in sight, and when what grows leaves its type's range."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

LEAST = 4  # points from which on growth is judged
GROWN = 1.1  # times at least
STEADY = 0.8  # of the first half's rate, from which on the second half's has not slowed


class Growth(NamedTuple):
    """ratio: the last size over the first. pace: how fast the square grows a step in the second
    half of the steps, over that of the first half: 1 for noise without decay."""

    ratio: float
    pace: float

    @property
    def is_unbounded(self) -> bool:
        return self.ratio >= GROWN and self.pace >= STEADY


def growth(steps: Sequence[float], sizes: Sequence[float]) -> Growth | None:
    """How a size grows over steps; None where it does not in each stretch of the second half, and
    of less than LEAST points."""
    if not _is_judged(steps, sizes):
        return None
    half = _half(steps)
    late = sizes[half:]
    if any(b <= a for a, b in pairwise(late)) or sizes[half] <= sizes[0]:
        return None
    squares = [(size / sizes[-1]) ** 2 for size in sizes]
    early = (squares[half] - squares[0]) / (steps[half] - steps[0])
    return Growth(sizes[-1] / sizes[0], _rate(steps, squares, half) / early)


def reached(steps: Sequence[float], sizes: Sequence[float], limit: float) -> float | None:
    """The step by which a growing size is at a limit, at the rate of the second half of the steps:
    as an exponential where its logarithm does not slow, else in a line. None where it does not
    grow."""
    if not _is_judged(steps, sizes) or sizes[-1] >= limit:
        return None
    half = _half(steps)
    if sizes[-1] <= sizes[half]:
        return None
    logs = [math.log(size) for size in sizes]
    late = _rate(steps, logs, half)
    early = (logs[half] - logs[0]) / (steps[half] - steps[0])
    if late >= STEADY * early:
        return steps[-1] + (math.log(limit) - logs[-1]) / late
    return steps[-1] + (limit - sizes[-1]) / _rate(steps, sizes, half)


def _is_judged(steps: Sequence[float], sizes: Sequence[float]) -> bool:
    return len(steps) >= LEAST and min(sizes) > 0 and all(a < b for a, b in pairwise(steps))


def _half(steps: Sequence[float]) -> int:
    """The place of the step nearest to the middle, neither the first nor the last."""
    middle = (steps[0] + steps[-1]) / 2
    return min(range(1, len(steps) - 1), key=lambda place: abs(steps[place] - middle))


def _rate(steps: Sequence[float], sizes: Sequence[float], half: int) -> float:
    return (sizes[-1] - sizes[half]) / (steps[-1] - steps[half])
