"""How far one checkpoint is from another, tensor by tensor, and where that lies between noise and
drift."""

from pathlib import Path

from scalecheck.checkpoint.evidence.wrappers import difference
from scalecheck.checkpoint.provenance import not_read, skipped, source
from scalecheck.checkpoint.selection import Selection
from scalecheck.checkpoint.shared_names import SharedNames
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import UsageError
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
from scalecheck.report.report import Report, Rows, Table
from scalecheck.settings import Settings
from scalecheck.updates.cast_change import COLUMNS as CASTS
from scalecheck.updates.cast_change import are_casts, cast_change, figures
from scalecheck.updates.cast_change import sentences as cast_sentences
from scalecheck.updates.displacement import COLUMNS, EXPECTED, Displacement, Run, together
from scalecheck.updates.displacement_summary import notes, sentences
from scalecheck.updates.forecast import planned
from scalecheck.updates.training import Trainings

_SHOWN = {"name", "status", "rms_before", "rms_after", "relative_change", "cosine", "max_abs"}
_SHOWN |= {"changed", *(column.name for column in (*CASTS, *EXPECTED))}


def diff(
    before: Checkpoint | str | Path,
    after: Checkpoint | str | Path,
    settings: Settings,
    progress: Progress,
) -> Report:
    """The report of `diff`. Raises UsageError, CheckpointError."""
    if (settings.lr is None) != (settings.steps is None):
        raise UsageError("--lr and --steps: one needs the other")
    plan = planned(settings)
    selection = Selection.of(settings)
    selection.check((*COLUMNS, *CASTS, *(EXPECTED if plan else ())))
    trainings = Trainings.asked(settings)
    recursive, raw = settings.recursive, settings.raw
    sides = opened(before, recursive, raw), opened(after, recursive, raw)
    unread = [folder for side in sides for folder in unread_of(side)]
    names = renamed(*sides)
    wanted = selection.tensors(pairs_of(*sides, names), unread)
    casts = CASTS if any(map(are_casts, wanted)) else ()
    columns = (*COLUMNS, *casts, *(EXPECTED if plan else ()))
    trainings.check([pair.name for pair in wanted])
    shared = SharedNames.of(
        {pair.name: pair.before.shape for pair in wanted if pair.before is not None},
        {pair.name: pair.after.shape for pair in wanted if pair.after is not None},
    )
    count = plural(len(wanted), "tensor")
    gradient = Gradient(settings.grad_rms, settings.snr)
    run = None if plan is None else Run(trainings, plan, gradient)
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
    shown = _SHOWN | ({"tensors"} if settings.by != "tensor" else set())
    shown |= {"apart"} if total.non_finite else set()
    return Report(
        kind="diff",
        tables=[
            Table(
                "rows",
                selection.fields(columns),
                selection.shown(columns, [c for c in columns if c.name in shown]),
                selection.rows(Rows(groups, lambda each: row(columns, each.name, [each]))),
            ),
            *adapted_change.tables(adapted, selection),
        ],
        source={"before": source(sides[0]), "after": source(sides[1]), **asked.source},
        settings=settings.recorded(),
        summary={
            "tensors_before": shared.before,
            "tensors_after": shared.after,
            "shared": shared.both,
            **figures(behind),
            **adapted_change.summary(adapted),
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
        headline=f"{printable(str(sides[0].path))} → {printable(str(sides[1].path))}: "
        f"{count if shared.both else shared.none_shared('before', 'after')}",
        totals="\n".join(
            [
                *adapted_change.sentences(adapted),
                *sentences(tensors, total),
                *cast_sentences(behind),
            ]
        ),
        notes=[
            *([difference(names)] if names else []),
            *same_memory(wanted),
            *notes(sides, total, run),
            *adapted_change.notes(adapted, asked),
        ],
    )
