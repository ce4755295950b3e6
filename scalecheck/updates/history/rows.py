"""The rows of a history: one a family and checkpoint, one a family, and one a checkpoint."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from scalecheck.measure.change import Change
from scalecheck.measure.groups import shared
from scalecheck.measure.tracks import TrackPoint
from scalecheck.theory.lr_curve import Power, fitted_power
from scalecheck.updates.history.followed import Group

LEAST = 4  # checkpoints from which on an exponent is fitted
STOPPED = 0.01
"""A tensor has stopped where it moves by less than this share of its usual rate, as the model does
not."""


@dataclass(frozen=True)
class GroupPoint:
    """A group of tensors at one checkpoint of the run, beside the one before and the first."""

    group: Group
    number: int

    @cached_property
    def point(self) -> TrackPoint:
        return self.group.point(self.number) or TrackPoint()

    @property
    def name(self) -> str:
        return self.group.name

    @property
    def checkpoint(self) -> str:
        return self.group.run[self.number].name

    @property
    def step(self) -> int | None:
        return self.group.run[self.number].step

    @property
    def tensors(self) -> int:
        return sum(self.number in member.points for member in self.group.members)

    @property
    def lr(self) -> float | None:
        return self.group.lr(self.number)

    @property
    def rms(self) -> float | None:
        return self.point.rms

    @cached_property
    def expected_walk(self) -> float | None:
        return self._expected("walk", self.number - 1)

    @cached_property
    def expected_drift(self) -> float | None:
        return self._expected("drift", self.number - 1)

    @cached_property
    def expected_walk_first(self) -> float | None:
        return self._expected("walk", 0)

    @cached_property
    def expected_drift_first(self) -> float | None:
        return self._expected("drift", 0)

    def _expected(self, kind: str, after: int) -> float | None:
        return self.group.expected(after, self.number, kind) if self.number else None

    @cached_property
    def relative_update(self) -> float | None:
        return self.group.update(self.number)

    @property
    def equilibrium_rms(self) -> float | None:
        held = self.group.held(self.number)
        return None if held is None else held[0]

    @property
    def equilibrium_ratio(self) -> float | None:
        held, rms = self.equilibrium_rms, self.rms
        return rms / held if held and rms is not None else None

    @property
    def equilibrium_steps(self) -> int | None:
        return self.group.steps_to_equilibrium(self.number)


@dataclass(frozen=True)
class GroupRow:
    """A group of tensors over the whole run."""

    group: Group

    @cached_property
    def points(self) -> list[GroupPoint]:
        return [GroupPoint(self.group, number) for number in self.group.numbers]

    @property
    def last(self) -> GroupPoint:
        return self.points[-1]

    @property
    def name(self) -> str:
        return self.group.name

    @property
    def role(self) -> str | None:
        role: str | None = shared(member.role for member in self.group.members)
        return role

    @property
    def tensors(self) -> int:
        return len(self.group.members)

    @property
    def numel(self) -> int:
        return self.group.numel

    @property
    def rms_by_checkpoint(self) -> list[float | None]:
        return [point.rms for point in self.points]

    @property
    def change_by_checkpoint(self) -> list[float | None]:
        return [moved(point.point.previous) for point in self.points[1:]]

    @cached_property
    def power(self) -> Power | None:
        """How the distance to the first grows with the steps since it; None of less than LEAST
        checkpoints."""
        if len(self.points) < LEAST or self.points[0].number or self.points[0].step is None:
            return None
        start = self.points[0].step
        known = [
            ((point.step or start) - start, x)
            for point in self.points[1:]
            if (x := moved(point.point.first)) is not None
        ]
        return fitted_power(*zip(*known, strict=True)) if known else None

    @cached_property
    def power_by_lr(self) -> Power | None:
        """The same with the changes of the lr taken out: size·Σlr/Σlr² over (Σlr)²/Σlr² steps, so
        that √Σlr² has the exponent of noise and Σlr that of drift."""
        if self.power is None:
            return None
        known = [
            (sums.first**2 / sums.second, x * sums.first / sums.second)
            for point in self.points[1:]
            if (x := moved(point.point.first)) is not None
            if (sums := self.group.lr_sums(0, point.number)) is not None and sums.second
        ]
        return fitted_power(*zip(*known, strict=True)) if known else None

    @property
    def exponent_by_lr(self) -> float | None:
        return None if self.power_by_lr is None else self.power_by_lr.exponent

    @property
    def exponent(self) -> float | None:
        return None if self.power is None else self.power.exponent

    @property
    def exponent_error(self) -> float | None:
        return None if self.power is None else self.power.error

    @property
    def rms_ratio(self) -> float | None:
        first, last = self.points[0].rms, self.last.rms
        return last / first if first and last is not None else None

    @cached_property
    def status(self) -> str:
        """moves, stopped, or never moved."""
        changes = [point.point.previous for point in self.points]
        counts = [change.changed for change in changes if change is not None]
        if not any(counts):
            return "never moved" if counts else ""
        return "stopped" if not counts[-1] else "moves"


def moved(change: Change | None) -> float | None:
    """‖ΔW‖/‖W‖, W before."""
    return None if change is None else change.relative_change


def rates(points: Sequence[GroupPoint]) -> dict[int, float]:
    """How far each step carried it, by the checkpoints that end the stretches: RMS of Δw over the
    root of the steps, as noise moves."""
    found = {}
    for before, point in pairwise(points):
        change = point.point.previous
        size = None if change is None else change.difference.root_over(change.after)
        if size is None or point.rms is None:
            continue
        steps = 1 if before.step is None or point.step is None else point.step - before.step
        if steps > 0:
            found[point.number] = size * point.rms / math.sqrt(steps)
    return found
