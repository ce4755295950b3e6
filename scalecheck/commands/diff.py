"""How far one checkpoint is from another, tensor by tensor, and where that lies between noise and
drift."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from scalecheck.checkpoint.provenance import source
from scalecheck.checkpoint.recorded import Recorded
from scalecheck.checkpoint.selection import Selection
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import UsageError
from scalecheck.measure.change import Change
from scalecheck.measure.comparison import STATUSES, Comparison, Side, compared, opened, pairs_of
from scalecheck.measure.pipeline import Progress
from scalecheck.optimizers.contract import Gradient
from scalecheck.report.formatting import number, plural, printable
from scalecheck.report.report import Report, Row, Table
from scalecheck.settings import Settings
from scalecheck.updates.bands import ROLES
from scalecheck.updates.displacement import COLUMNS, EXPECTED, Run, merged, row_of, together
from scalecheck.updates.schedule_forecast import schedule as planned
from scalecheck.updates.training import Trainings

_SHOWN = {"name", "status", "rms_before", "rms_after", "relative_change", "cosine", "max_abs"}
_SHOWN |= {"changed", *(column.name for column in EXPECTED)}


def diff(
    before: Checkpoint | str | Path,
    after: Checkpoint | str | Path,
    settings: Settings,
    progress: Progress,
) -> Report:
    """The report of `diff`. Raises UsageError, CheckpointError."""
    if (settings.lr is None) != (settings.steps is None):
        raise UsageError("--lr and --steps: one needs the other")
    plan = planned(settings.schedule, settings.steps, settings.warmup, settings.final)
    fields = (*COLUMNS, *(EXPECTED if plan else ()))
    selection = Selection.of(settings)
    selection.check(fields)
    trainings = Trainings(settings.optimizer, settings.lr, settings.hyperparameters, settings.group)
    sides = opened(before), opened(after)
    wanted = selection.tensors(pairs_of(*sides))
    trainings.check([pair.name for pair in wanted])
    run = None
    if plan is not None:
        gradient = Gradient(settings.grad_rms, settings.snr)
        run = Run(trainings, plan, gradient, settings.grad_rms is not None)
    lines = list(compared(wanted, settings.jobs, progress))
    rows = [row_of(line, run) for line in lines]
    beside = frozenset[str]().union(*(s.non_model for s in sides if isinstance(s, Checkpoint)))
    total = together([p for p in zip(lines, rows, strict=True) if p[0].pair.name not in beside])
    total = total or Change()
    placed = [row["place"] for row in rows if row["role"] in ROLES and row.get("place") is not None]
    if settings.by != "tensor":
        rows = merged(settings.by, lines, rows, run)
    chosen = selection.chosen(fields)
    shown = _SHOWN | ({"tensors"} if settings.by != "tensor" else set())
    shown |= {"apart"} if total.non_finite else set()
    return Report(
        kind="diff",
        tables=[
            Table(
                "rows",
                chosen or fields,
                [replace(c, rank=0) for c in chosen] or [c for c in fields if c.name in shown],
                selection.rows(rows),
            )
        ],
        source={"before": _source(sides[0]), "after": _source(sides[1])},
        settings=settings.recorded(),
        skipped=[_skipped(line) for line in lines if line.pair.unmeasured and not line.bytes],
        headline=f"{_path(sides[0])} → {_path(sides[1])}: {plural(len(wanted), 'tensor')}",
        totals="\n".join(_sentences(lines, rows, total, placed)),
        notes=_notes(sides, total, run),
    )


def _sentences(
    lines: Sequence[Comparison], rows: Sequence[Row], total: Change, places: Sequence[float]
) -> Iterator[str]:
    """places: of the matrices that have one."""
    counts = Counter(line.status for line in lines)
    if counts.keys() == {"identical"}:
        numel = sum(line.pair.some.numel for line in lines if not line.is_copy)
        yield f"no tensor differs: zero change in {numel:,} elements of {len(lines)} tensors"
        return
    words = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
    yield f"of {len(lines)} tensors {words or 'none could be compared'}"
    if total.relative_change is not None:
        beside = "" if total.cosine is None else f", at a cosine of {number(total.cosine)}"
        yield (
            f"together, buffers left out, they changed by {number(total.relative_change)} "
            f"of their norm{beside}"
        )
    judged = [row for row in rows if row["relative_change"] is not None]
    if len(judged) > 1:
        most = max(judged, key=lambda row: row["relative_change"])
        least = min(judged, key=lambda row: row["relative_change"])
        yield (
            f"{_name(most)} changed most, by {number(most['relative_change'])} of its "
            f"norm, {_name(least)} least, by {number(least['relative_change'])}"
        )
    if places:
        below, above = sum(place < 0 for place in places), sum(place > 1 for place in places)
        yield (
            f"{len(places) - below - above} of {len(places)} matrices moved further than noise and "
            f"less far than drift would carry them, {below} less far, {above} further; the median "
            f"lies at {number(median(places))}, where noise is 0 and drift 1"
        )


def _notes(sides: tuple[Side, Side], total: Change, run: Run | None) -> list[str]:
    notes = []
    if total.non_finite:
        notes.append(
            f"{total.non_finite:,} elements are NaN or inf on a side: counted, and in no norm"
        )
    for side in sides:
        if isinstance(side, Recorded):
            notes.append(f"{side.path} is a report: figures are compared, and no elements")
    if run is not None:
        name = run.trainings.of("").name
        notes.append(f"noise and drift are those of {name} without weight decay, which pulls back")
    return [printable(note) for note in notes]


def _skipped(line: Comparison) -> dict[str, Any]:
    some = line.pair.some
    return {
        "name": line.pair.name,
        "dtype": getattr(some.dtype, "name", some.dtype),
        "shape": list(some.shape),
        "reason": line.pair.unmeasured,
    }


def _source(side: Side) -> dict[str, Any]:
    if isinstance(side, Recorded):
        return {
            "path": str(side.path),
            "format": "report",
            "tensors": len(side.every),
            "parameters": side.source.get("parameters"),
            "nbytes": side.source.get("nbytes"),
        }
    return source(side)


def _path(side: Side) -> str:
    return printable(str(side.path))


def _name(row: Row) -> str:
    return printable(row["name"])
