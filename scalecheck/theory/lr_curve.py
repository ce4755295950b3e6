"""The lr of each step of a run, by a schedule or by the lrs that were recorded of some steps; and
the exponent of a displacement that grows as a power of the steps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalecheck.theory.schedule import Schedule, Sums

LONG = 1 << 14  # steps between two checkpoints from which on only so many of them are looked at
_LISTED = 1 << 20  # steps of a schedule whose lrs are all held


@dataclass(frozen=True, eq=False)
class RecordedLrs:
    """The lr of a step by those recorded of others, in a line between two of them and constant
    beyond the last."""

    lrs: Mapping[int, float]

    @cached_property
    def _known(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        steps = sorted(self.lrs)
        return np.array(steps, np.float64), np.array([self.lrs[step] for step in steps])

    def at(self, steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """The lrs of steps, shape (n,)."""
        return np.interp(steps, *self._known)


@dataclass(frozen=True)
class PlannedLrs:
    """The lr of a step by a schedule and its peak lr; that of the last step beyond it."""

    plan: Schedule
    peak: float

    def at(self, steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """The lrs of steps, shape (n,)."""
        places = np.clip(np.rint(steps), 1, self.plan.steps)
        if self.plan.steps <= _LISTED:
            return self.peak * _multiples(self.plan)[places.astype(np.intp) - 1]
        return self.peak * np.array([self.plan.at(int(step)) for step in places.tolist()])


@lru_cache(maxsize=4)
def _multiples(plan: Schedule) -> NDArray[np.float64]:
    return plan.multiples()


LrCurve = RecordedLrs | PlannedLrs


@lru_cache(maxsize=4096)
def lr_sums(curve: LrCurve, after: int, last: int) -> Sums:
    """Σlr and Σlr² of the steps after one and up to another."""
    count = last - after
    if count <= 0:
        return Sums(0.0, 0.0)
    looked_at = min(count, LONG)
    share = count / looked_at
    # The middles of as many stretches, which are the steps themselves where each is one.
    middles = after + 0.5 + (np.arange(looked_at, dtype=np.float64) + 0.5) * share
    lrs = curve.at(middles)
    return Sums(share * float(lrs.sum()), share * float((lrs * lrs).sum()))


class Power(NamedTuple):
    """The exponent of a power law and its standard error."""

    exponent: float
    error: float


def fitted_power(steps: Sequence[float], sizes: Sequence[float]) -> Power | None:
    """The exponent p of size ∝ steps^p by least squares of logarithms; None of fewer than three
    points. The points of a walk depend on each other, so that its error is the least."""
    known = [(s, x) for s, x in zip(steps, sizes, strict=True) if s > 0 and 0 < x < math.inf]
    if len(known) < 3:
        return None
    x, y = np.log(np.array(known, np.float64)).T
    x, y = x - x.mean(), y - y.mean()
    spread = float(x @ x)
    if not spread:
        return None
    exponent = float(x @ y) / spread
    rest = y - exponent * x
    return Power(exponent, math.sqrt(float(rest @ rest) / (len(known) - 2) / spread))
