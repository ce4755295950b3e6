"""The rows of a history: one a family and checkpoint, one a family, and one a checkpoint."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from operator import attrgetter
from typing import Any

from scalecheck.measure.change import Change
from scalecheck.measure.groups import NAME, ROLE, shared
from scalecheck.measure.tracks import TrackPoint
from scalecheck.report.report import Column
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


def _change(which: str, name: str) -> Callable[[GroupPoint], Any]:
    """A figure of the change since the checkpoint before, the first or the chosen one."""

    def read(point: GroupPoint) -> Any:
        change = getattr(point.point, which)
        return None if change is None else getattr(change, name)

    return read


_OF_LAST = "‖ΔW‖/‖W‖ since the checkpoint before, W before; in tables in %"
POINTS = (
    NAME,
    Column("checkpoint", "checkpoint", "text", "the checkpoint's name in the run"),
    Column("step", "step", "count", "the step it was saved at; null where that is not known"),
    Column("tensors", "tensors", "count", "number of tensors in the row"),
    Column("lr", "lr", "setting", "learning rate of that step, as recorded or given"),
    Column("rms", "rms", "number", "√mean(w²) of the finite elements"),
    Column("absmax", "absmax", "number", "largest |w|", get=attrgetter("point.absmax")),
    Column(
        "not_finite",
        "not finite",
        "count",
        "elements that are NaN or inf",
        get=lambda each: each.point.numel - each.point.finite,
    ),
    Column(
        "relative_change",
        "change %",
        "percent_of_norm",
        _OF_LAST,
        get=_change("previous", "relative_change"),
    ),
    Column(
        "cosine",
        "cosine",
        "number",
        "of the angle to the checkpoint before",
        get=_change("previous", "cosine"),
    ),
    Column(
        "changed",
        "changed %",
        "percent",
        "share of elements that differ from the checkpoint before",
        get=_change("previous", "changed_share"),
    ),
    Column(
        "relative_change_first",
        "from start %",
        "percent_of_norm",
        "‖ΔW‖/‖W‖ since the first checkpoint, W there",
        get=_change("first", "relative_change"),
    ),
    Column(
        "cosine_first",
        "cosine to start",
        "number",
        "of the angle to the first checkpoint",
        get=_change("first", "cosine"),
    ),
    Column(
        "relative_change_against",
        "from that %",
        "percent_of_norm",
        "‖ΔW‖/‖W‖ between it and the checkpoint of `--against`, W there",
        get=_change("chosen", "relative_change"),
    ),
    Column(
        "cosine_against",
        "cosine to that",
        "number",
        "of the angle to the checkpoint of `--against`",
        get=_change("chosen", "cosine"),
    ),
    Column(
        "expected_walk",
        "noise %",
        "percent_of_norm",
        "displacement over rms since the checkpoint before that the lrs give for gradients of "
        "--snr, by default noise",
    ),
    Column(
        "expected_drift",
        "drift %",
        "percent_of_norm",
        "the same for gradients that keep their sign: the bound",
    ),
    Column(
        "expected_walk_first", "noise %", "percent_of_norm", "expected_walk since the first one"
    ),
    Column(
        "expected_drift_first", "drift %", "percent_of_norm", "expected_drift since the first one"
    ),
    Column(
        "relative_update",
        "update % per step",
        "percent_per_step",
        "RMS of the last update over that of the weights, by the optimizer state saved with the "
        "checkpoint; null where none tells it",
    ),
    Column(
        "equilibrium_rms",
        "equilibrium",
        "number",
        "rms at which updates and weight decay hold it at this lr",
    ),
    Column("equilibrium_ratio", "of equilibrium", "number", "rms over equilibrium_rms"),
    Column(
        "equilibrium_steps",
        "steps to it",
        "count",
        "steps at this lr until its rms is within 10 % of equilibrium_rms; 0 where it is",
    ),
)


def _last(name: str) -> Callable[[GroupRow], Any]:
    """What the last point has by the column of this name."""
    read = next(column.read for column in POINTS if column.name == name)
    return lambda row: read(row.last)


def _of_last(name: str, rank: int, title: str = "") -> Column:
    column = next(column for column in POINTS if column.name == name)
    words = f"at the last checkpoint: {column.help}"
    return replace(column, get=_last(name), help=words, rank=rank, title=title or column.title)


GROUPS = (
    NAME,
    Column("status", "status", "sentence", "moves, stopped, or never moved", 8),
    ROLE,
    Column("tensors", "tensors", "count", "number of tensors in the row", 7),
    Column("numel", "numel", "count", "number of elements", 8),
    Column(
        "rms_by_checkpoint",
        "rms over steps",
        "spark",
        "rms at each checkpoint, in order; drawn on a logarithmic scale",
        5,
    ),
    _of_last("rms", 1, "rms"),
    Column("rms_ratio", "× rms", "number", "rms over that of the first checkpoint", 3),
    Column(
        "change_by_checkpoint",
        "change over steps",
        "spark",
        "relative_change at each checkpoint, in order; drawn on a logarithmic scale",
        6,
    ),
    _of_last("relative_change", 1, "last change %"),
    _of_last("relative_change_first", 0),
    _of_last("cosine_first", 4),
    Column(
        "exponent",
        "exponent",
        "number",
        "p of ‖W − W first‖ ∝ steps^p by least squares of logarithms: 0.5 is noise, 1 is drift; "
        f"null of less than {LEAST} checkpoints",
        2,
    ),
    Column("exponent_error", "±", "number", "its standard error", 3),
    _of_last("expected_walk_first", 3),
    _of_last("expected_drift_first", 6),
    _of_last("relative_update", 2),
    _of_last("equilibrium_ratio", 5),
    _of_last("equilibrium_steps", 6),
)
CHECKPOINTS = (
    *(
        replace(column, rank=rank)
        for rank, name in enumerate(
            (
                *("checkpoint", "step", "relative_change", "rms", "lr", "relative_update"),
                *("relative_change_first", "cosine", "cosine_first", "expected_walk"),
                *("expected_drift", "absmax", "not_finite"),
            )
        )
        for column in POINTS
        if column.name == name
    ),
    Column(
        "state_step",
        "state's step",
        "count",
        "steps that the optimizer state has counted",
        10,
        get=lambda each: each.group.run[each.number].state_step,
    ),
    Column(
        "step_by",
        "step by",
        "sentence",
        "what says the step",
        11,
        get=lambda each: each.group.run[each.number].step_by or None,
    ),
)
