"""From an lr to the relative update that each tensor will feel, and back."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.provenance import skipped as skipped_entry
from scalecheck.checkpoint.provenance import source as source_of
from scalecheck.checkpoint.selection import Selection, as_list
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
from scalecheck.updates import lr_for
from scalecheck.updates.assumed import COLUMNS as ASSUMED
from scalecheck.updates.assumed import Assumption, assumed_checkpoint
from scalecheck.updates.bands import LIMITS, Bands
from scalecheck.updates.columns import COLUMNS, LATE, SAVED
from scalecheck.updates.forecast import UNSEEN
from scalecheck.updates.forecaster import Forecaster, check_numbers, untrained
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
    checkpoint: Checkpoint | str | Path | None = None,
    *,
    lr: float | None = None,
    optimizer: str | None = None,
    group: str | Sequence[str] = (),
    snr: float = 0.0,
    grad_rms: float | None = None,
    step: int | None = None,
    state: str | Path | None = None,
    steps: int | None = None,
    schedule: str = "constant",
    warmup: int = 0,
    final: float = 0.0,
    bands: Sequence[float] = LIMITS,
    param_dtype: str | None = None,
    target: float | None = None,
    like: Checkpoint | str | Path | None = None,
    to: str | None = None,
    scale_by: float | None = None,
    assume: str | None = None,
    shape: str | Sequence[str] = (),
    match: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    by: By = "tensor",
    sort: str | None = None,
    reverse: bool = False,
    top: int | None = None,
    columns: str | Sequence[str] | None = None,
    jobs: int | None = None,
    progress: Progress = lambda done, total: None,
    **hyperparameters: Any,
) -> Report:
    """The relative update of each tensor at an lr: expected, nominal, and where an optimizer state
    was saved, measured.

    lr, optimizer and hyperparameters go before those of the state, which go before the optimizer's
    defaults; `group` holds GLOB:lr=1e-4,weight_decay=0 for some tensors. snr, grad_rms: the
    gradients' mean/std and RMS, for the expected update. step: of the expected update; the state's
    where None, else the late one. state: a file, "none", or what lies with the checkpoint. steps,
    schedule, warmup, final: a whole run; final is a share of lr. bands: limits of the relative
    update. param_dtype: the type that the weights are trained in, where it is not the stored one.
    target: a relative update, like: another checkpoint, to: another optimizer, to give the lr for;
    scale_by: a factor of the weights, to give the settings for.
    assume: an initialization, to show what is believed of it; with it shape, NAME=4096x1024, may
    take the place of a checkpoint.
    The others are as in `inspect`. Raises UsageError, CheckpointError.
    """
    if by not in get_args(By):
        raise UsageError(f"--by {by}: not known; there are {', '.join(get_args(By))}")
    check_numbers(lr, snr, grad_rms, step, target, scale_by)
    judged = Bands(tuple(bands))
    trainings = Trainings(optimizer, lr, hyperparameters, as_list(group))
    plan = planned(schedule, steps, warmup, final)
    checkpoint = _opened(checkpoint, as_list(shape), assume)
    states = states_of(checkpoint, state)
    asked = [
        *(SAVED if states.path else ()),
        *(LATE if plan else ()),
        *(lr_for.TARGET if target is not None else ()),
        *(lr_for.LIKE if like is not None else ()),
        *(lr_for.TO if to is not None else ()),
        *(ASSUMED if assume is not None else ()),
    ]
    fields = (*COLUMNS, *asked)
    selection = Selection(
        as_list(match), as_list(exclude), sort, reverse, top, columns and as_list(columns)
    )
    selection.check(fields)
    wanted = selection.tensors(checkpoint.tensors)
    trainings.check([tensor.name for tensor in wanted])
    others = None
    if like is not None and target is not None:
        raise UsageError("--like and --target: each asks for an lr, give one")
    if like is not None:
        if lr is None:
            raise UsageError("--like: needs --lr, the lr that is right for the other checkpoint")
        there = translate(
            like,
            lr=lr,
            optimizer=optimizer,
            snr=snr,
            grad_rms=grad_rms,
            step=step,
            state="none",
            by=by,
            jobs=jobs,
            progress=progress,
            **hyperparameters,
        )
        others = lr_for.Others(there.rows)

    translator = Forecaster(
        trainings,
        states,
        Gradient(UNSEEN if grad_rms is None else grad_rms, snr),
        step,
        plan,
        stored(param_dtype),
        None if to is None else Trainings(to, 1.0, {}, option="--to").of("").optimizer,
        None
        if assume is None
        else Assumption(assume, {tensor.name: tensor.shape for tensor in checkpoint.tensors}),
    )
    skipped = [
        skipped_entry(t, reason) for t in wanted if (reason := untrained(t, checkpoint, states))
    ]
    trained = tuple(t for t in wanted if untrained(t, checkpoint, states) is None)
    if shape:
        lines = [translator.line(translator.assumed(tensor), Sketch()) for tensor in trained]
    else:
        lines = [
            translator.line(TensorStats.of(tensor, sketch), sketch)
            for tensor, sketch in measure(trained, jobs, progress)
        ]
    if not lines:
        reasons = ", ".join(dict.fromkeys(entry["reason"] for entry in skipped))
        raise UsageError(f"no optimizer trains any of the {len(skipped)} tensors: {reasons}")
    _require_sizes(lines)
    if to is not None and all(line.more["to_update"] is None for line in lines):
        raise UsageError(f"--to {to}: {lines[0].more['to_reason']}")
    rows = _rows(lines, by, judged)
    for row in rows:
        if target is not None:
            row |= lr_for.towards(row, target)
        if others is not None:
            row |= lr_for.alike(row, others)
        if to is not None:
            row["to_lr"] = lr_for.to_lr(row)
    ordered = selection.rows(rows)
    chosen = selection.chosen(fields)
    tables = tables_of(
        ordered,
        chosen or fields,
        [replace(c, rank=0) for c in chosen] or usual(by, asked, states.path is not None),
        split=not (chosen or sort or top),
        whole=by == "tensor" and not (chosen or sort or top),
        unnamed=[
            translator.unnamed(one)
            for one in states.unnamed
            if not (match or exclude) or one.shape in {line.scale.shape for line in lines}
        ],
    )
    if scale_by is not None:
        tables += [
            scaled_table(one, scale_by) for one in dict.fromkeys(line.training for line in lines)
        ]
    return Report(
        kind="translate",
        tables=tables,
        source={
            **source_of(checkpoint),
            "state": None if states.path is None else str(states.path),
        },
        settings={
            **selection.settings(),
            "by": by,
            "lr": lr,
            "optimizer": optimizer,
            "hyperparameters": hyperparameters,
            "group": list(as_list(group)),
            "snr": snr,
            "grad_rms": grad_rms,
            "step": step,
            "steps": steps,
            "schedule": schedule,
            "warmup": warmup,
            "final": final,
            "bands": list(judged.limits),
            "param_dtype": translator.dtype,
            "target": target,
            "like": None if like is None else str(getattr(like, "path", like)),
            "to": to,
            "scale_by": scale_by,
            "assume": assume,
            "shape": list(as_list(shape)),
        },
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
            *(formatting.text(note) for note in (*states.notes, *_reasons(lines))),
            *states.doubts(trained, {"lr", *hyperparameters}),
            *_on_lrs(lines, states, lr),
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
    at = "" if states.path is None else f", state of {formatting.text(str(states.path))}"
    words = f"{formatting.text(str(checkpoint.path))}: {checkpoint.format}, "
    words += formatting.plural(len(lines), "tensor")
    return f"{words}\n{', '.join(sorted(names))}, {lr}{at}"
