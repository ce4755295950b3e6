"""The rows of a diff, tensor by tensor or merged, beside what a run is expected to do."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scalecheck.checkpoint.naming import family, layer, role
from scalecheck.checkpoint.recorded import RecordedStats
from scalecheck.dtypes import DTYPES
from scalecheck.measure.change import Change
from scalecheck.measure.comparison import Comparison, dtype_of
from scalecheck.measure.groups import By, common
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.optimizers.contract import Gradient
from scalecheck.report.formatting import finite, number
from scalecheck.report.report import Column, Row
from scalecheck.theory.schedule import Schedule
from scalecheck.updates.schedule_forecast import schedule_fields
from scalecheck.updates.training import Trainings


def _moved(row: Row) -> str:
    from_zero = row["rms_before"] == 0 and row["role"] != "buffer" and row["max_abs"]
    return "from zero" if from_zero else number(row["relative_change"])


COLUMNS = (
    Column("name", "name", "text", "the tensor's name as stored, or the group's"),
    Column(
        "status",
        "status",
        "sentence",
        "identical, changed, added, removed, reshaped or retyped; alike where a report has equal "
        "figures and no elements; mixed for a group",
    ),
    Column("dtype_before", "was", "text", "storage type before", 6),
    Column("dtype_after", "dtype", "text", "storage type after", 7),
    Column("shape_before", "had shape", "shape", "sizes of the dimensions before", 6),
    Column("shape_after", "shape", "shape", "sizes of the dimensions after", 7),
    Column("role", "role", "text", "what the tensor is; null where a group's differ", 9),
    Column("layer", "layer", "text", "module path up to and including the block index"),
    Column("family", "family", "text", "the name with every index replaced by N"),
    Column("tensors", "tensors", "count", "number of tensors in the row", 6),
    Column("numel", "numel", "count", "number of elements", 8),
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
        "change",
        "written",
        "‖ΔW‖/‖W‖, W before; null where W is zero (from zero), a buffer, or only figures are known",
        cell=_moved,
    ),
    Column("cosine", "cosine", "number", "of the angle between before and after", 2),
    Column("max_abs", "largest", "number", "largest |Δw|", 5),
    Column("changed", "changed %", "percent", "share of elements that differ; in tables in %", 1),
    Column("apart", "not finite", "count", "elements not compared: NaN or inf on a side", 1),
)
EXPECTED = (
    Column(
        "expected_walk",
        "noise",
        "number",
        "displacement over rms_before that the schedule gives for gradients of --snr",
        1,
    ),
    Column(
        "expected_drift",
        "drift",
        "number",
        "the same for gradients that keep their sign: the bound",
        1,
    ),
    Column(
        "place",
        "place",
        "number",
        "where relative_change lies: 0 at noise, 1 at drift, on a logarithmic scale",
    ),
)


@dataclass(frozen=True)
class Run:
    """What was done between both sides. is_known: the RMS of the gradients is."""

    trainings: Trainings
    plan: Schedule
    gradient: Gradient
    is_known: bool

    def fields(self, names: Sequence[str], change: Change) -> dict[str, Any]:
        """The fields of EXPECTED; None where the tensors are trained in several ways."""
        training, *others = {self.trainings.of(name) for name in names}
        if others:
            return _UNKNOWN
        rms, moved = change.rms_before, change.relative_change
        late = schedule_fields(training, rms, self.plan, self.gradient, self.is_known)
        walk, drift = (finite(late[name]) for name in ("random_walk", "drift"))
        place = None
        if moved and walk and drift and walk < drift:
            place = (math.log(moved) - math.log(walk)) / (math.log(drift) - math.log(walk))
        return {"expected_walk": walk, "expected_drift": drift, "place": place}


_UNKNOWN: dict[str, Any] = dict.fromkeys(column.name for column in EXPECTED)


def row_of(line: Comparison, run: Run | None) -> dict[str, Any]:
    """The fields of COLUMNS, and with a run of EXPECTED."""
    pair, before, after = line.pair, line.pair.before, line.pair.after
    what = role(pair.name, DTYPES.get(dtype_of(pair.some), DTYPES["F32"]), pair.some.shape)
    return {
        "name": pair.name,
        "status": line.status,
        "dtype_before": None if before is None else dtype_of(before),
        "dtype_after": None if after is None else dtype_of(after),
        "shape_before": None if before is None else list(before.shape),
        "shape_after": None if after is None else list(after.shape),
        "role": what,
        "layer": layer(pair.name),
        "family": family(pair.name),
        "tensors": 1,
        "numel": pair.some.numel,
        **_figures(what, line.change, _rms_of([line.before]), _rms_of([line.after])),
        **_expected([pair.name], what, line.change, run),
    }


def merged(
    by: By, lines: Sequence[Comparison], rows: Sequence[Row], run: Run | None
) -> list[dict[str, Any]]:
    """A row a group: the sums of its tensors together, fields where they are the same for all."""
    groups: dict[str, list[tuple[Comparison, Row]]] = {}
    for line, row in zip(lines, rows, strict=True):
        groups.setdefault(row[by], []).append((line, row))
    return [_merged(key, members, run) for key, members in groups.items()]


def _merged(key: str, members: Sequence[tuple[Comparison, Row]], run: Run | None) -> dict[str, Any]:
    rows = [row for _, row in members]
    if len(rows) == 1:
        return {**rows[0], "name": key}
    shared = {name: common(row[name] for row in rows) for name in rows[0]}
    whole = together(members)
    was, now = ([getattr(line, side) for line, _ in members] for side in ("before", "after"))
    return shared | {
        "name": key,
        "status": shared["status"] or "mixed",
        "tensors": len(rows),
        "numel": sum(row["numel"] for row in rows),
        **_figures(shared["role"], whole, _rms_of(was), _rms_of(now)),
        **_expected([row["name"] for row in rows], shared["role"], whole, run),
    }


def together(members: Sequence[tuple[Comparison, Row]]) -> Change | None:
    """The change of all tensors that were compared, tied ones counted once; where some are no
    buffers, buffers are counted and not summed."""
    own = [
        (line.change, row["role"])
        for line, row in members
        if line.change is not None and not line.is_copy
    ]
    judged = [change for change, what in own if what != "buffer"]
    if not judged:
        return sum((change for change, _ in own), Change()) if own else None
    counted = [change.counted for change, what in own if what == "buffer"]
    return sum((*judged, *counted), Change())


def _rms_of(scales: Sequence[TensorStats | RecordedStats | None]) -> float | None:
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


def _figures(
    what: str | None,
    change: Change | None,
    before: float | None,
    after: float | None,
) -> dict[str, Any]:
    """The figures of a change, or where there is none of the rms before and after."""
    if change is not None:
        before, after = change.rms_before, change.rms_after
    norms = change if what != "buffer" else None
    return {
        "rms_before": before,
        "rms_after": after,
        "rms_ratio": _ratio(after, before),
        "relative_change": norms and norms.relative_change,
        "cosine": norms and norms.cosine,
        "max_abs": change and change.max_abs,
        "changed": change and change.changed_share,
        "apart": change and change.non_finite,
    }


def _ratio(a: float | None, b: float | None) -> float | None:
    return finite(a / b) if a is not None and b else None


def _expected(
    names: Sequence[str], what: str | None, change: Change | None, run: Run | None
) -> dict[str, Any]:
    if run is None:
        return {}
    return _UNKNOWN if change is None or what == "buffer" else run.fields(names, change)
