"""From an lr to the relative update that each tensor will feel, and back."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.provenance import skipped as skipped_entry
from scalecheck.checkpoint.provenance import source as source_of
from scalecheck.checkpoint.selection import Selection
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import UsageError
from scalecheck.measure.groups import By
from scalecheck.measure.measuring import measure
from scalecheck.measure.pipeline import Progress
from scalecheck.measure.sketch import Sketch
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.optimizers.contract import Gradient
from scalecheck.report import formatting
from scalecheck.report.report import Report
from scalecheck.settings import Settings
from scalecheck.updates import lr_for
from scalecheck.updates.assumed import COLUMNS as ASSUMED
from scalecheck.updates.assumed import Assumption, assumed_checkpoint
from scalecheck.updates.bands import Bands
from scalecheck.updates.columns import COLUMNS, LATE, SAVED
from scalecheck.updates.forecaster import Forecaster, untrained
from scalecheck.updates.precision import param_dtype as stored
from scalecheck.updates.rescaled_settings import scaled_table
from scalecheck.updates.saved_state import States, states_of
from scalecheck.updates.schedule_forecast import schedule as planned
from scalecheck.updates.summary import sentences
from scalecheck.updates.tables import tables as tables_of
from scalecheck.updates.tables import usual
from scalecheck.updates.tensor_forecast import TensorForecast, merged
from scalecheck.updates.training import Trainings


def translate(
    checkpoint: Checkpoint | str | Path | None, settings: Settings, progress: Progress
) -> Report:
    """The report of `translate`. Raises UsageError, CheckpointError."""
    judged = Bands(tuple(settings.bands))
    trainings = Trainings(settings.optimizer, settings.lr, settings.hyperparameters, settings.group)
    plan = planned(settings.schedule, settings.steps, settings.warmup, settings.final)
    checkpoint = _opened(checkpoint, settings.shape, settings.assume)
    states = states_of(checkpoint, settings.state)
    asked = [
        *(SAVED if states.path else ()),
        *(LATE if plan else ()),
        *(lr_for.TARGET if settings.target is not None else ()),
        *(lr_for.LIKE if settings.like is not None else ()),
        *(lr_for.TO if settings.to is not None else ()),
        *(ASSUMED if settings.assume is not None else ()),
    ]
    fields = (*COLUMNS, *asked)
    selection = Selection.of(settings)
    selection.check(fields)
    wanted = selection.tensors(checkpoint.tensors)
    trainings.check([tensor.name for tensor in wanted])
    others = None
    if settings.like is not None and settings.target is not None:
        raise UsageError("--like and --target: each asks for an lr, give one")
    if settings.like is not None:
        if settings.lr is None:
            raise UsageError("--like: needs --lr, the lr that is right for the other checkpoint")
        same = ("lr", "optimizer", "hyperparameters", "snr", "grad_rms", "step", "by", "jobs")
        there = translate(settings.like, settings.only(*same, state="none"), progress)
        others = lr_for.Others(there.rows)

    translator = Forecaster(
        trainings,
        states,
        Gradient(settings.grad_rms, settings.snr),
        settings.step,
        plan,
        stored(settings.param_dtype),
        None
        if settings.to is None
        else Trainings(settings.to, 1.0, {}, option="to").of("").optimizer,
        None
        if settings.assume is None
        else Assumption(
            settings.assume, {tensor.name: tensor.shape for tensor in checkpoint.tensors}
        ),
    )
    skipped = [
        skipped_entry(t, reason) for t in wanted if (reason := untrained(t, checkpoint, states))
    ]
    trained = tuple(t for t in wanted if untrained(t, checkpoint, states) is None)
    if settings.shape:
        lines = [translator.line(translator.assumed(tensor), Sketch()) for tensor in trained]
    else:
        lines = [
            translator.line(TensorStats.of(tensor, sketch), sketch)
            for tensor, sketch in measure(trained, settings.jobs, progress)
        ]
    if not lines:
        reasons = ", ".join(dict.fromkeys(entry["reason"] for entry in skipped))
        raise UsageError(f"no optimizer trains any of the {len(skipped)} tensors: {reasons}")
    _require_sizes(lines)
    if settings.to is not None and all(line.more["to_update"] is None for line in lines):
        raise UsageError(f"--to {settings.to}: {lines[0].more['to_reason']}")
    rows = _rows(lines, settings.by, judged)
    for row in rows:
        if settings.target is not None:
            row |= lr_for.towards(row, settings.target)
        if others is not None:
            row |= lr_for.alike(row, others)
        if settings.to is not None:
            row["to_lr"] = lr_for.to_lr(row)
    ordered = selection.rows(rows)
    chosen = selection.chosen(fields)
    tables = tables_of(
        ordered,
        chosen or fields,
        [replace(c, rank=0) for c in chosen] or usual(settings.by, asked, states.path is not None),
        split=not (chosen or settings.sort or settings.top),
        whole=settings.by == "tensor" and not (chosen or settings.sort or settings.top),
        unnamed=[
            translator.unnamed(one)
            for one in states.unnamed
            if not (settings.match or settings.exclude)
            or one.shape in {line.scale.shape for line in lines}
        ],
    )
    if settings.scale_by is not None:
        tables += [
            scaled_table(one, settings.scale_by)
            for one in dict.fromkeys(line.training for line in lines)
        ]
    return Report(
        kind="translate",
        tables=tables,
        source={
            **source_of(checkpoint),
            "state": None if states.path is None else str(states.path),
        },
        settings={**settings.recorded("state"), "param_dtype": translator.dtype},
        skipped=skipped,
        headline=_headline(checkpoint, lines, states),
        totals="\n".join(
            [
                *sentences(rows, judged, plan),
                *([] if translator.assumption is None else [translator.assumption.sentence(rows)]),
            ]
        ),
        notes=[
            f"bands of the relative update, rules of thumb for matrices: {judged}",
            *(formatting.printable(note) for note in (*states.notes, *_reasons(lines))),
            *states.doubts(trained, {"lr", *settings.hyperparameters}),
            *_on_lrs(lines, states, settings.lr),
        ],
    )


def _opened(
    checkpoint: Checkpoint | str | Path | None, shapes: Sequence[str], assume: str | None
) -> Checkpoint:
    """The checkpoint, or one of tensors that do not exist yet."""
    if isinstance(checkpoint, Checkpoint):
        return checkpoint
    if checkpoint is not None and not shapes:
        return open_checkpoint(checkpoint)
    if checkpoint is not None or not shapes:
        raise UsageError("a checkpoint, or --shape NAME=4096x1024 with --assume in its place")
    if assume is None:
        raise UsageError("--shape: needs --assume, the initialization that gives the scale")
    return assumed_checkpoint(shapes)


def _rows(lines: Sequence[TensorForecast], by: By, bands: Bands) -> list[dict[str, Any]]:
    if by == "tensor":
        return [line.row(bands) for line in lines]
    groups: dict[str, list[TensorForecast]] = {}
    for line in lines:
        groups.setdefault(getattr(line.scale, by), []).append(line)
    return [merged(key, members, bands) for key, members in groups.items()]


def _require_sizes(lines: Sequence[TensorForecast]) -> None:
    """Raises UsageError where the optimizer leaves the size of every update unknown."""
    sized = [line for line in lines if line.is_finite and line.scale.rms]
    if sized and all(line.update.update_rms is None for line in sized):
        first = sized[0]
        raise UsageError(f"--optimizer {first.training.name}: {first.update.reason}")


def _on_lrs(lines: Sequence[TensorForecast], states: States, lr: float | None) -> list[str]:
    """What an lr is that stands in the report."""
    notes = []
    if states.path is not None and lr is None:
        notes.append(
            "the lr is the state's, which a scheduler may have moved on after the last update"
        )
    relative = sorted({line.training.name for line in lines if line.training.optimizer.relative_lr})
    notes += [f"the lr of {name} is relative to the weights already" for name in relative]
    return notes


def _reasons(lines: Sequence[TensorForecast]) -> list[str]:
    """Why updates are not known, each reason once."""
    sized = [line for line in lines if line.is_finite and line.scale.rms]
    counts = Counter(line.update.reason for line in sized if line.update.reason)
    return [f"no update for {n} of {len(lines)} tensors: {reason}" for reason, n in counts.items()]


def _headline(checkpoint: Checkpoint, lines: Sequence[TensorForecast], states: States) -> str:
    """The checkpoint, who trains it, and where that was found."""
    first = lines[0].training
    names = {line.training.name for line in lines}
    lrs = {line.training.lr for line in lines}
    lr = f"lr {formatting.setting(first.lr)}" if len(lrs) == 1 else f"{len(lrs)} lrs"
    at = "" if states.path is None else f", state of {formatting.printable(str(states.path))}"
    words = f"{formatting.printable(str(checkpoint.path))}: {checkpoint.format}, "
    words += formatting.plural(len(lines), "tensor")
    return f"{words}\n{', '.join(sorted(names))}, {lr}{at}"
