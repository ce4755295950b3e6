"""Which tensor is out of scale among its siblings: the same tensor of the other blocks."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from scalecheck.checkpoint.naming import indices

# Heuristics. The siblings of a MiniLM and of the sample GPT lie within 2.9 of their median. In the
# untrained layer of CHGNet 0.3.0, on which SURE_FACTOR was chosen, matrices and biases lie 38 and
# more from theirs, norms only 9.
LEAST_FACTOR = 4.0
LEAST_DEVIATIONS = 6.0  # of the siblings' own spread, so that a wide spread has no outlier
SURE_FACTOR = 20.0  # beyond it whatever the spread: of few siblings one stray widens it
LEAST_FOR_TREND = 5  # siblings; of fewer one stray can make the slope

_MAD_TO_SIGMA = 1.4826  # median absolute deviation → σ for a normal law
_ALL_PAIRS = 200  # siblings up to which every pair has a say in the slope


@dataclass(frozen=True)
class Stray:
    """A sibling out of scale. expected: the rms by the others and their trend over depth. factor:
    how many times it is larger or smaller, limit: how many it may be."""

    expected: float
    factor: float
    limit: float


def family_ratios(rms: Mapping[str, float | None]) -> dict[str, float]:
    """Each sibling's rms over the median of all; those of rms 0 or None have none."""
    known = {name: x for name, x in rms.items() if x}
    if len(known) < 2:
        return {}
    middle = _median(known.values())
    return {name: ratio for name, x in known.items() if 0 < (ratio := x / middle) < math.inf}


def strays(
    rms: Mapping[str, float | None],
    least_factor: float = LEAST_FACTOR,
    least_deviations: float = LEAST_DEVIATIONS,
    sure_factor: float = SURE_FACTOR,
) -> dict[str, Stray]:
    """The siblings whose log rms lies a factor and so many robust deviations from a line over their
    order, or the sure factor. The line is Theil and Sen's, level for fewer than LEAST_FOR_TREND;
    fewer than 3 siblings have no norm."""
    logs = {name: math.log(x) for name, x in rms.items() if x}
    if len(logs) < 3:
        return {}
    names = sorted(logs, key=lambda name: (indices(name), name))
    ordered = [logs[name] for name in names]
    slope = _slope(ordered)
    level = _median(log - slope * place for place, log in enumerate(ordered))
    line = {name: level + slope * place for place, name in enumerate(names)}
    distances = {name: abs(logs[name] - line[name]) for name in names}
    spread = _MAD_TO_SIGMA * _median(distances.values())
    limit = max(math.log(least_factor), min(least_deviations * spread, math.log(sure_factor)))
    return {
        name: Stray(_exp(line[name]), _exp(distance), _exp(limit))
        for name in rms
        if name in logs and (distance := distances[name]) > limit
    }


def _slope(ordered: Sequence[float]) -> float:
    """The median slope between two of them (Theil 1950, Sen 1968); of very many, between those half
    of the way apart."""
    count = len(ordered)
    if count < LEAST_FOR_TREND:
        return 0.0
    pairs = (
        list(combinations(range(count), 2))
        if count <= _ALL_PAIRS
        else [(first, first + count // 2) for first in range(count - count // 2)]
    )
    return _median((ordered[b] - ordered[a]) / (b - a) for a, b in pairs)


def _median(values: Iterable[float]) -> float:
    """As statistics.median has it; to import that takes some ms, and every inspection asks for
    medians."""
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def _exp(log: float) -> float:
    """e to this power; infinite where a float64 does not hold it."""
    try:
        return math.exp(log)
    except OverflowError:
        return math.inf
