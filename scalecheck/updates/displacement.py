"""How far a tensor, or several as one, lie from where they were, beside what a run is expected to
do."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

from scalecheck.checkpoint.naming import MATRICES
from scalecheck.checkpoint.recorded import RecordedStats
from scalecheck.measure.change import Change
from scalecheck.measure.comparison import Comparison, dtype_of
from scalecheck.measure.groups import FAMILY, LAYER, NAME, ROLE, shared
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.optimizers.contract import Gradient
from scalecheck.report.formatting import finite
from scalecheck.report.report import Column, Row
from scalecheck.theory.schedule import Schedule
from scalecheck.updates.forecast import displacements, next_displacement
from scalecheck.updates.training import Trainings


@dataclass(frozen=True)
class Run:
    """What was done between both sides: so many steps, and where the lr is given, how they were
    trained."""

    steps: int
    trainings: Trainings | None = None
    plan: Schedule | None = None
    gradient: Gradient = field(default_factory=Gradient)


@dataclass(frozen=True)
class Displacement:
    """What became of one tensor, or of several as one: the sums over all their elements, None where
    there are none."""

    name: str
    comparisons: Sequence[Comparison]
    run: Run | None = None

    @cached_property
    def role(self) -> str | None:
        """None where theirs differ."""
        role: str | None = shared(each.role for each in self.comparisons)
        return role

    @property
    def status(self) -> str | None:
        words = [each.status for each in self.comparisons]
        return words[0] if len(words) == 1 else shared(words) or "mixed"

    @cached_property
    def change(self) -> Change | None:
        """None where no elements were compared."""
        if len(self.comparisons) == 1:
            return self.comparisons[0].change
        return together(self.comparisons)

    @property
    def norms(self) -> Change | None:
        """None of buffers too, whose size says nothing."""
        return None if self.role == "buffer" else self.change

    @property
    def rms_before(self) -> float | None:
        if self.change is not None:
            return self.change.rms_before
        return _rms([each.before for each in self.comparisons])

    @property
    def rms_after(self) -> float | None:
        if self.change is not None:
            return self.change.rms_after
        return _rms([each.after for each in self.comparisons])

    @property
    def rms_ratio(self) -> float | None:
        before, after = self.rms_before, self.rms_after
        return finite(after / before) if after is not None and before else None

    @property
    def relative_change(self) -> float | None:
        return None if self.norms is None else self.norms.relative_change

    @cached_property
    def _expected(self) -> tuple[float | None, float | None, str]:
        """How far noise and drift carry its tensors, and why that is not known; nothing where they
        are trained in several ways."""
        run = self.run
        if run is None or run.trainings is None or run.plan is None or self.norms is None:
            return None, None, ""
        training, *others = {run.trainings.of(each.name) for each in self.comparisons}
        if others:
            return None, None, "as they are trained in several ways"
        walk, drift, why = displacements(training, run.plan, run.gradient)
        return walk, drift, why and f"under {training.name}: {why}"

    @property
    def expected_walk(self) -> float | None:
        return self._over_rms(self._expected[0])

    @property
    def expected_drift(self) -> float | None:
        return self._over_rms(self._expected[1])

    @property
    def reason(self) -> str | None:
        """Why there is no expected_walk."""
        return self._expected[2] or None

    def _over_rms(self, moved: float | None) -> float | None:
        return finite(moved / self.rms_before) if moved is not None and self.rms_before else None

    def next_change(self, times: float = 1) -> float | None:
        """What `times` as many steps as were done between both sides will change, as a share of the
        norm after."""
        if self.run is None or self.norms is None:
            return None
        steps, last = self.run.steps, self.norms.difference.root_over(self.norms.after)
        return None if last is None else finite(next_displacement(last, steps, times * steps))

    @property
    def drift_position(self) -> float | None:
        """Where the change lies: 0 at noise, 1 at drift, on a logarithmic scale."""
        moved, walk, drift = self.relative_change, self.expected_walk, self.expected_drift
        if not moved or not walk or not drift or walk >= drift:
            return None
        return (math.log(moved) - math.log(walk)) / (math.log(drift) - math.log(walk))

    @property
    def is_of_model(self) -> bool:
        return all(each.is_of_model for each in self.comparisons)

    @property
    def is_matrix(self) -> bool:
        return self.role in MATRICES and self.is_of_model


def together(comparisons: Sequence[Comparison]) -> Change | None:
    """The change of all tensors that were compared, tied ones counted once; where some are no
    buffers, buffers are counted and not summed."""
    own = [
        (each.change, each.role == "buffer")
        for each in comparisons
        if each.change is not None and not each.is_copy
    ]
    judged = [change for change, is_buffer in own if not is_buffer]
    if not judged:
        return sum((change for change, _ in own), Change()) if own else None
    counted = [change.counted for change, is_buffer in own if is_buffer]
    return sum((*judged, *counted), Change())


def _rms(scales: Sequence[TensorStats | RecordedStats | None]) -> float | None:
    """The rms of tensors together, of which each has one."""
    known = [
        (scale.numel - (scale.nan or 0) - (scale.inf or 0), scale.rms)
        for scale in scales
        if scale is not None and scale.rms is not None
    ]
    if len(known) <= 1:
        return known[0][1] if known else None
    numel = sum(n for n, _ in known)
    return math.hypot(*(math.sqrt(n / numel) * rms for n, rms in known)) if numel else None


def _shared(name: str) -> Callable[[Displacement], Any]:
    """What all its tensors have; None where they differ."""
    return lambda each: shared(getattr(one, name) for one in each.comparisons)


def _of_side(place: str, what: Callable[[Any], Any]) -> Callable[[Displacement], Any]:
    """The same of the tensors on a side; None where there is none."""
    return lambda each: shared(
        None if (side := getattr(one.pair, place)) is None else what(side)
        for one in each.comparisons
    )


def _sizes(side: Any) -> list[int]:
    return [*side.shape]


def _moved(row: Row) -> float | str | None:
    from_zero = row["rms_before"] == 0 and row["role"] != "buffer" and row["max_abs"]
    moved: float | None = row["relative_change"]
    return "from zero" if from_zero else moved


COLUMNS = (
    NAME,
    Column(
        "status",
        "status",
        "sentence",
        "identical, changed, added, removed, reshaped or retyped; alike where a report has equal "
        "figures and no elements; mixed for a group",
        1,
    ),
    Column("dtype_before", "was", "text", "storage type before", 6, _of_side("before", dtype_of)),
    Column("dtype_after", "dtype", "text", "storage type after", 7, _of_side("after", dtype_of)),
    Column(
        "shape_before",
        "had shape",
        "shape",
        "sizes of the dimensions before",
        6,
        _of_side("before", _sizes),
    ),
    Column(
        "shape_after",
        "shape",
        "shape",
        "sizes of the dimensions after",
        7,
        _of_side("after", _sizes),
    ),
    ROLE,
    replace(LAYER, get=_shared("layer")),
    replace(FAMILY, get=_shared("family")),
    Column(
        "tensors",
        "tensors",
        "count",
        "number of tensors in the row",
        6,
        lambda each: len(each.comparisons),
    ),
    Column(
        "numel",
        "numel",
        "count",
        "number of elements",
        8,
        lambda each: sum(one.numel for one in each.comparisons),
    ),
    Column(
        "rms_before",
        "rms before",
        "number",
        "√mean(w²) before, of what is finite in both; of a group's tensors that were compared",
        2,
    ),
    Column("rms_after", "rms after", "number", "the same after", 3),
    Column("rms_ratio", "× rms", "number", "rms_after over rms_before", 4),
    Column(
        "relative_change",
        "change %",
        "percent_of_norm",
        "‖ΔW‖/‖W‖, W before, in tables in %; null where W is zero (from zero), a buffer, or only "
        "figures are known",
        cell=_moved,
    ),
    Column(
        "cosine",
        "cosine",
        "number",
        "of the angle between before and after",
        2,
        lambda each: each.norms and each.norms.cosine,
    ),
    Column(
        "max_abs",
        "largest",
        "number",
        "largest |Δw|",
        5,
        lambda each: each.change and each.change.max_abs,
    ),
    Column(
        "changed",
        "changed %",
        "percent",
        "share of elements that differ; in tables in %",
        1,
        lambda each: each.change and each.change.changed_share,
    ),
    Column(
        "apart",
        "not finite",
        "count",
        "elements not compared: NaN or inf on a side",
        1,
        lambda each: each.change and each.change.non_finite,
    ),
)
BAR = Column(
    "log_change",
    "log change",
    "bar",
    "relative_change on a logarithmic scale",
    4,
    cell=lambda row: row["relative_change"],
)
AHEAD = (
    Column(
        "next_change",
        "next %",
        "percent_of_norm",
        "‖ΔW‖/‖W‖, W after, of as many steps again at the same lr, a group's tensors taken as one: "
        "right within a factor of 2 for 9 of 10 tensors",
        3,
        lambda each: each.next_change(),
    ),
    Column(
        "next_change_10",
        "next ×10 %",
        "percent_of_norm",
        "the same of ten times as many steps: √10 times as far",
        4,
        lambda each: each.next_change(10),
    ),
)
EXPECTED = (
    Column(
        "expected_walk",
        "noise %",
        "percent_of_norm",
        "displacement over rms_before that the schedule gives, from a fresh optimizer on, for "
        "gradients of --snr: by default noise, of which 9 of 10 tensors of AdamW runs moved 0.3 to "
        "4 times as far",
        1,
    ),
    Column(
        "expected_drift",
        "drift %",
        "percent_of_norm",
        "the same for gradients that keep their sign: the bound",
        1,
    ),
    Column(
        "place",
        "place",
        "number",
        "relative_change on a logarithmic scale where noise is 0 and drift 1; below 0 where "
        "gradients turned back, as in 4 of 10 tensors",
        get=attrgetter("drift_position"),
    ),
    Column(
        "reason",
        "reason",
        "sentence",
        "why there is no expected_walk",
    ),
)
