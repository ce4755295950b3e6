"""How much larger the first updates of a fresh optimizer are than those that an lr is for, and the
warm-up that holds its target from the first step on."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from scalecheck.optimizers.contract import Gradient, Hyperparameters
from scalecheck.updates.forecast import expected_update

WITHIN = 1.02  # of the later update: from there on the lr stands as it is
LISTED = 1000  # steps whose multiples are listed one by one
_OCTAVES = 30  # of steps that are looked at: more than any run has
_EACH = 32  # steps that are all looked at; after them those of a geometric sequence
_RATIO = 1.05  # of that sequence
_FIT = 0.01  # by which a curve between two points is off at most


class Fresh(NamedTuple):
    """An optimizer and its lr, a tensor's rms and shape, its gradient, the step that the lr is
    meant for, None for the steady state, and the RMS of the update at lr 1 there."""

    optimizer: Hyperparameters
    lr: float
    rms: float
    shape: tuple[int, ...]
    gradient: Gradient
    step: int | None
    update: float


@dataclass(frozen=True)
class FirstSteps:
    """A warm-up. points: steps from 1 on, and the multiple of the lr at each, rounded to 3 digits
    and never above 1; between two of them it is a power of the step, within 2 %, and it is 1 from
    the last on. Empty where no step is too large. excess: the first update over the later one.
    limit: the largest update of the steady state over that of a step that the lr is meant for.
    untold: the steps from 1 on whose size is not known, and why."""

    points: Sequence[tuple[int, float]] = ()
    excess: float = 1.0
    limit: float = 1.0
    untold: tuple[int, str] | None = None

    @property
    def steps(self) -> int:
        """Those with a multiple below 1."""
        return self.points[-1][0] - 1 if self.points else 0

    @property
    def linear(self) -> int:
        """The steps of the shortest linear warm-up that is never above the points."""
        return math.ceil(max((step / multiple for step, multiple in self.points), default=0))

    def at(self, step: int) -> float:
        """The multiple of a step."""
        for (first, low), (last, high) in pairwise(self.points):
            if step <= last:
                return _between(first, low, last, high, step)
        return 1.0

    @property
    def multiples(self) -> list[float]:
        """Those of the steps from 1 on, at most so many as are listed."""
        return [float(f"{self.at(n):.3g}") for n in range(1, min(self.steps, LISTED) + 1)]


def first_steps(kinds: Iterable[Fresh]) -> FirstSteps:
    """Of groups that may be trained differently the smallest multiple of each step. A step that
    theory refuses, as the first ones of RAdam, has the multiple 1."""
    found = [*kinds]
    curves = [curve for kind in found if (curve := _excess(kind)) is not None]
    untold = max(map(_untold, found), default=(0, ""))

    def over(step: int) -> float:
        return max((curve(step) for curve in curves), default=1.0)

    last = _last(over)
    sampled = [(n, float(f"{1 / max(1.0, over(n)):.3g}")) for n in _sampled(last)]
    points = _fitted([*sampled, (last + 1, 1.0)]) if last else ()
    limit = max(map(_limit, found), default=1.0)
    return FirstSteps(points, over(1) if last else 1.0, limit, untold if untold[0] else None)


def _last(over: Callable[[int], float]) -> int:
    """The last step that is too large, 0 where none is."""
    low = max((2**n for n in range(_OCTAVES) if over(2**n) > WITHIN), default=0)
    high = 2 * low
    while high - low > 1:
        middle = (high + low) // 2
        low, high = (middle, high) if over(middle) > WITHIN else (low, middle)
    return low


def _sampled(last: int) -> Iterator[int]:
    step = 1
    while step < last:
        yield step
        step = step + 1 if step < _EACH else math.ceil(step * _RATIO)
    if last:
        yield last


def _fitted(samples: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """As few of the samples as have the others between them within the fit."""
    kept = [samples[0]]
    start = 0
    while start < len(samples) - 1:
        end = start + 1
        while end + 1 < len(samples) and _fits(samples[start : end + 2]):
            end += 1
        kept.append(samples[end])
        start = end
    return kept


def _fits(samples: Sequence[tuple[int, float]]) -> bool:
    first, last = samples[0], samples[-1]
    return all(
        math.isclose(_between(*first, *last, step), multiple, rel_tol=_FIT)
        for step, multiple in samples[1:-1]
    )


def _between(first: int, low: float, last: int, high: float, step: int) -> float:
    return float(low * (high / low) ** (math.log(step / first) / math.log(last / first)))


def _excess(kind: Fresh) -> Callable[[int], float] | None:
    """The update of each step up to the later one over that; None where that is not known.

    Where a state measured another update than theory expects, its power by which the first one,
    which does not depend on what gradients follow, is as many times the measured one.
    """
    later, _ = _update(kind, kind.step)
    if not later:
        return None
    first, _ = _update(kind, 1)
    measured, power = kind.update * _capped(kind, kind.step), 1.0
    if first is not None and first > WITHIN * later and measured > 0:
        power = max(0.0, math.log(first / measured) / math.log(first / later))

    def over(step: int) -> float:
        update = None if kind.step is not None and step > kind.step else _update(kind, step)[0]
        return 1.0 if update is None else (update / later) ** power

    return over


def _limit(kind: Fresh) -> float:
    later, steady = _update(kind, kind.step)[0], _update(kind, None)[0]
    return steady / later if later and steady else 1.0


def _untold(kind: Fresh) -> tuple[int, str]:
    """The first steps that theory refuses, and why; 0 where it tells the first one. Where it
    refuses all that are listed, as many as those."""
    update, why = _update(kind, 1)
    if update is not None:
        return 0, ""
    low, high = 1, LISTED + 1
    while high - low > 1:
        middle = (high + low) // 2
        low, high = (low, middle) if _update(kind, middle)[0] is not None else (middle, high)
    return low, why


def _update(kind: Fresh, step: int | None) -> tuple[float | None, str]:
    """The RMS of an update over the lr, what an optimizer caps its lr by included; None with the
    reason where theory refuses."""
    update, why = expected_update(kind.optimizer, kind.rms, kind.shape, kind.gradient, step)
    return None if update is None else update * _capped(kind, step), why


def _capped(kind: Fresh, step: int | None) -> float:
    return kind.optimizer.effective_lr(kind.lr, step) / kind.lr
