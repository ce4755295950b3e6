"""The scale of every tensor of a checkpoint, one by one or merged by layer, family or role."""

from collections.abc import Sequence
from pathlib import Path

from scalecheck.checkpoint.naming import layer
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.provenance import not_read, skipped, source
from scalecheck.checkpoint.selection import Selection, retied
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.measure.columns import columns as columns_of
from scalecheck.measure.columns import quantiles as quantiles_of
from scalecheck.measure.columns import spread
from scalecheck.measure.flags import FlaggedStats, flagged
from scalecheck.measure.group_stats import GroupStats, Sketches, in_order
from scalecheck.measure.groups import grouped, row
from scalecheck.measure.measuring import measure
from scalecheck.measure.pipeline import Progress
from scalecheck.measure.summary import (
    Total,
    conclusion,
    flag_figures,
    flag_words,
    headline,
    notes,
    total_words,
)
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.report.part import Part
from scalecheck.report.report import Report, Rows, Table
from scalecheck.settings import Settings

_MARKED = ("name", "flags")


def inspect(checkpoint: Checkpoint | str | Path, settings: Settings, progress: Progress) -> Report:
    """The report of `inspect`. Raises UsageError, CheckpointError."""
    initialization = None
    if settings.init is not None:
        from scalecheck.measure.initial_scale import scheme

        initialization = scheme(settings.init)
    fields, usual = columns_of(settings.by, initialization is not None, settings.quantiles)
    selection = Selection.of(settings)
    selection.check(fields)
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint, recursive=settings.recursive, raw=settings.raw)
    wanted = retied(selection.tensors(checkpoint.tensors, checkpoint.unread))
    adapted = _adapted(checkpoint, wanted, settings, selection)

    measured: list[TensorStats] = []
    percentiles: dict[str, dict[str, float | None]] = {}
    sketches = Sketches(settings.by)
    total = Total()
    readable = tuple(tensor for tensor in wanted if tensor.unmeasured is None)
    layers = {layer(tensor.name) for tensor in readable if tensor.kind.is_weight}

    def is_counted(stats: TensorStats) -> bool:
        """Nor an average, which would count the model twice, nor the buffers beside weights."""
        is_beside = settings.by == "layer" and stats.layer in layers
        return stats.kind.kind != "average" and not (is_beside and stats.kind.kind == "buffer")

    for tensor, sketch in measure(readable, settings.jobs, progress):
        stats = TensorStats.of(tensor, sketch)
        measured.append(stats)
        total.add(stats, sketch)
        if settings.by != "tensor" and is_counted(stats):
            sketches.add(stats, sketch)
        if settings.quantiles and settings.by == "tensor":
            percentiles[stats.name] = quantiles_of(sketch)

    references = initialization.references(measured, checkpoint.tensors) if initialization else {}
    tensors = flagged(measured, checkpoint.siblings, references, percentiles)
    items: Sequence[FlaggedStats | GroupStats] = tensors
    if settings.by != "tensor":
        members = grouped(filter(is_counted, tensors), settings.by)
        items = [
            GroupStats(
                name,
                in_order(members[name]),
                sketch,
                quantiles_of(sketch) if settings.quantiles else None,
            )
            for name, sketch in sketches.merged().items()
        ]
    if settings.flagged:
        items = [each for each in items if each.flag_counts]
    rows = Rows(
        items,
        lambda each: (
            row(fields, each.name, [each])
            | {"flag_counts": each.flag_counts, "faults": each.faults}
        ),
    )
    totals, flags = total.figures(), flag_figures(tensors)
    return Report(
        kind="inspect",
        tables=[
            Table(
                "rows",
                columns=selection.fields(fields),
                shown=spread(selection.shown(fields, usual)),
                rows=selection.rows(rows),
                mark=lambda row, column: "error" if row["faults"] and column in _MARKED else "",
                order=None if settings.sort or settings.reverse else lambda row: not row["faults"],
            ),
            *adapted.tables,
        ],
        source={**source(checkpoint), **adapted.source},
        settings=settings.recorded(*([] if initialization else ["init"])),
        skipped=[
            *(skipped(t, t.unmeasured) for t in wanted if t.unmeasured is not None),
            *adapted.skipped,
            *not_read(selection.folders(checkpoint.unread), "inspect"),
        ],
        summary={**totals, **flags, **adapted.summary},
        conclusion=[conclusion(tensors, flags)],
        tone="error" if flags["faults"] else "ok",
        headline=headline(checkpoint),
        in_headline=("dtype",) if len({one.dtype.name for one in checkpoint.tensors}) == 1 else (),
        totals="\n".join([*adapted.sentences, total_words(totals), *flag_words(flags)]),
        notes=[
            *notes(checkpoint, wanted, len(rows), settings.top),
            *adapted.notes,
            *_of_masters(checkpoint, wanted, settings),
            *(initialization.silence(references) if initialization else ()),
        ],
    )


def _adapted(
    checkpoint: Checkpoint, wanted: Sequence[Tensor], settings: Settings, selection: Selection
) -> Part:
    """What adapters add to the matrices of a model; nothing where there are none."""
    if settings.base is None and not checkpoint.may_have_adapters:
        return Part()
    from scalecheck.measure.adapted import inspected

    return inspected(checkpoint, wanted, settings, selection)


def _of_masters(
    checkpoint: Checkpoint, wanted: Sequence[Tensor], settings: Settings
) -> Sequence[str]:
    """Whether weights and master weights agree, where there are both."""
    if not checkpoint.masters and not checkpoint.rounded:
        return ()
    from scalecheck.measure.masters import agreement

    return agreement(checkpoint, [tensor.name for tensor in wanted], settings.jobs)
