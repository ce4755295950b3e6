"""How far one checkpoint is from another, tensor by tensor, beside what noise would have moved it
by, and how far as many steps again will."""

from pathlib import Path

from scalecheck.checkpoint.evidence.wrappers import difference
from scalecheck.checkpoint.provenance import not_read, skipped, source
from scalecheck.checkpoint.selection import Selection
from scalecheck.checkpoint.shared_names import SharedNames
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import Fix, UsageError
from scalecheck.measure import adapted_change
from scalecheck.measure.change import Change
from scalecheck.measure.comparison import (
    compared,
    opened,
    pairs_of,
    renamed,
    same_memory,
    unread_of,
)
from scalecheck.measure.groups import grouped, row
from scalecheck.measure.pipeline import Progress
from scalecheck.optimizers.contract import Gradient
from scalecheck.report.formatting import plural, printable
from scalecheck.report.report import Report, Row, Rows, Table
from scalecheck.settings import Settings
from scalecheck.updates.cast_change import COLUMNS as CASTS
from scalecheck.updates.cast_change import are_casts, cast_change
from scalecheck.updates.cast_change import figures as cast_figures
from scalecheck.updates.cast_change import sentences as cast_sentences
from scalecheck.updates.displacement import (
    AHEAD,
    BAR,
    COLUMNS,
    EXPECTED,
    Displacement,
    Run,
    together,
)
from scalecheck.updates.displacement_summary import conclusion, figures, notes, sentences
from scalecheck.updates.forecast import planned
from scalecheck.updates.training import Trainings

_SHOWN = {"name", "status", "rms_before", "rms_after", "relative_change", "cosine", "max_abs"}
_UNLIKE = {"added", "removed", "reshaped", "retyped"}
_SAME = {"identical", "alike"}
_SHOWN |= {"changed", *(c.name for c in (*CASTS, *AHEAD, *EXPECTED) if c.name != "reason")}


def diff(
    before: Checkpoint | str | Path,
    after: Checkpoint | str | Path,
    settings: Settings,
    progress: Progress,
) -> Report:
    """The report of `diff`. Raises UsageError, CheckpointError."""
    trainings = Trainings.asked(settings)
    run = _run(settings, trainings)
    of_run = (
        *(AHEAD if run is not None else ()),
        *(EXPECTED if run is not None and run.plan is not None else ()),
    )
    selection = Selection.of(settings)
    selection.check((*COLUMNS, *CASTS, *of_run))
    recursive, raw = settings.recursive, settings.raw
    sides = opened(before, recursive, raw), opened(after, recursive, raw)
    unread = [folder for side in sides for folder in unread_of(side)]
    names = renamed(*sides)
    wanted = selection.tensors(pairs_of(*sides, names), unread)
    casts = CASTS if any(map(are_casts, wanted)) else ()
    columns = (*COLUMNS, *casts, *of_run)
    trainings.check([pair.name for pair in wanted])
    shared = SharedNames.of(
        {pair.name: pair.before.shape for pair in wanted if pair.before is not None},
        {pair.name: pair.after.shape for pair in wanted if pair.after is not None},
    )
    count = plural(len(wanted), "tensor")
    asked, adapted = adapted_change.asked_changes(
        sides, (pair.name for pair in wanted), names, settings
    )
    comparisons = list(compared(wanted, settings.jobs, progress))
    of_model = [each for each in comparisons if each.is_of_model]
    total = together(of_model) or Change()
    tensors = [Displacement(each.name, [each], run) for each in comparisons]
    groups = tensors
    if settings.by != "tensor":
        # an average would count the model twice
        counted = (each for each in comparisons if each.kind.kind != "average")
        groups = [Displacement(*one, run) for one in grouped(counted, settings.by).items()]
    behind = cast_change(of_model)
    found = figures(tensors, total)
    shown = _SHOWN | ({"tensors"} if settings.by != "tensor" else set())
    shown |= {"apart"} if total.non_finite else set()
    for status, what in (("reshaped", "shape"), ("retyped", "dtype")):
        if status in found["statuses"]:
            shown |= {f"{what}_before", f"{what}_after"}
    return Report(
        kind="diff",
        tables=[
            Table(
                "rows",
                selection.fields(columns),
                selection.shown(columns, [*(c for c in columns if c.name in shown), BAR]),
                selection.rows(Rows(groups, lambda each: row(columns, each.name, [each]))),
                mark=_mark,
                order=None if settings.sort or settings.reverse else _by_change,
            ),
            *adapted_change.tables(adapted, selection),
        ],
        source={"before": source(sides[0]), "after": source(sides[1]), **asked.source},
        settings=settings.recorded(),
        summary={
            "tensors_before": shared.before,
            "tensors_after": shared.after,
            "shared": shared.both,
            **cast_figures(behind),
            **adapted_change.summary(adapted),
            **found,
        },
        skipped=[
            *(
                skipped(each.pair.some, each.pair.unmeasured)
                for each in comparisons
                if each.pair.unmeasured and not each.bytes
            ),
            *asked.skipped,
            *not_read(selection.folders(unread), ""),
        ],
        conclusion=[*conclusion(tensors, found)] if shared.both else [_nothing_shared(shared)],
        tone="" if shared.both else "warning",
        headline=f"{printable(str(sides[0].path))} → {printable(str(sides[1].path))}: {count}",
        totals="\n".join(
            [
                *adapted_change.sentences(adapted),
                *sentences(tensors, found),
                *cast_sentences(behind),
            ]
        ),
        notes=[
            *([difference(names)] if names else []),
            *same_memory(wanted),
            *notes(sides, total),
            *adapted_change.notes(adapted, asked),
        ],
    )


def _nothing_shared(shared: SharedNames) -> str:
    return f"Nothing is compared: {shared.none_shared('before', 'after')}."


def _by_change(row: Row) -> tuple[int, float]:
    """First what is on one side alone or has another shape or type, then the largest change; what
    has no relative change after it, and last what is identical."""
    moved = row["relative_change"]
    is_same = row["status"] in _SAME
    rank = 0 if row["status"] in _UNLIKE else 3 if is_same else 2 if moved is None else 1
    return rank, -(moved or 0.0)


def _mark(row: Row, column: str) -> str:
    if column in ("name", "status") and row["status"] in _UNLIKE:
        return "warning"
    return "dim" if row["status"] in _SAME else ""


def _run(settings: Settings, trainings: Trainings) -> Run | None:
    """What was done between both sides; None without --steps. Raises UsageError."""
    plan = planned(settings)
    if settings.lr is None:
        if settings.schedule != "constant" or settings.warmup or settings.final:
            problem = "--schedule, --warmup and --final: need --lr, the peak lr of the run"
            raise UsageError(problem, "for example", Fix("3e-4", flag="--lr"))
        return None if plan is None else Run(plan.steps)
    if plan is None:
        problem = "--lr: needs --steps, the steps of the run between the two"
        raise UsageError(problem, "for example", Fix("1000", flag="--steps"))
    gradient = Gradient(settings.grad_rms, settings.snr)
    return Run(plan.steps, trainings, plan, gradient)
