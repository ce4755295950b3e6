"""A run over time: the scale of every family at each checkpoint, how far it moved, and what theory
expects of that."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.provenance import skipped
from scalecheck.checkpoint.run.opened import Run, RunCheckpoint, Unopened, opened_run
from scalecheck.checkpoint.selection import Selection, retied
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.errors import CheckpointError, OptionError
from scalecheck.measure.comparison import called, renamed
from scalecheck.measure.groups import grouped, row
from scalecheck.measure.pipeline import Progress
from scalecheck.measure.tracks import Track, Unreadable, follow
from scalecheck.optimizers.contract import Gradient
from scalecheck.report.finding import FINDINGS, Finding
from scalecheck.report.formatting import plural, printable
from scalecheck.report.report import Column, Report, Row, Rows, Table
from scalecheck.settings import Settings
from scalecheck.updates.history.columns import CHECKPOINTS, GROUPS, POINTS
from scalecheck.updates.history.findings import TOLD, findings, told
from scalecheck.updates.history.followed import Expectation, Followed, Group
from scalecheck.updates.history.rows import GroupPoint, GroupRow
from scalecheck.updates.history.steps import Lrs, Snapshot, lrs_of, planned_end, snapshots
from scalecheck.updates.history.summary import conclusion, figures, notes, sentences
from scalecheck.updates.training import Trainings

Given = Checkpoint | str | Path
_SHOWN = {
    *("name", "rms_by_checkpoint", "rms", "change_by_checkpoint", "relative_change"),
    *("relative_change_first", "cosine_first", "exponent", "exponent_by_lr"),
    "expected_walk_first",
    *("relative_update", "equilibrium_ratio"),
}
_SHOWN_CHECKPOINTS = {
    *("checkpoint", "step", "lr", "rms", "relative_change", "relative_update"),
    *("relative_change_first", "cosine_first"),
}


def history(run: Given | Sequence[Given], settings: Settings, progress: Progress) -> Report:
    """The report of `history`. Raises UsageError, CheckpointError."""
    given = [*run] if isinstance(run, Sequence) and not isinstance(run, str) else [run]
    if settings.resumed_from is not None:
        given = [settings.resumed_from, *given]
    trainings = Trainings.asked(settings, needs_lr=False)
    selection = Selection.of(settings)
    replace(selection, columns=None).check(GROUPS)
    replace(selection, sort=None).check(_once((*GROUPS, *POINTS)))
    opened = opened_run(given, settings.raw)
    followed: _Followed | None = None
    while followed is None:
        try:
            followed = _Followed(opened, trainings, settings, progress)
        except _Damaged as damaged:
            opened = _without(opened, damaged)
    snapshot, tensors = followed.run, followed.tensors
    end = settings.steps or planned_end(snapshot)
    found = findings(snapshot, opened.unread, tensors, end)
    summary = figures(snapshot, tensors, found, followed.lrs)
    groups = [Group(*one) for one in grouped(tensors, settings.by).items()]
    return Report(
        kind="history",
        tables=[
            *_family_tables(groups, selection, settings),
            _checkpoint_table(tensors),
            Table("findings", FINDINGS, [], found),
            _told_table(found),
        ],
        source={
            "path": str(opened.path),
            "checkpoints": [str(one.checkpoint.path) for one in snapshot],
            "tensors": summary["tensors"],
            "parameters": snapshot[-1].checkpoint.parameters,
            "nbytes": sum(one.checkpoint.nbytes for one in snapshot),
        },
        settings=settings.recorded(),
        skipped=[
            *(
                {"name": one.name, "dtype": None, "shape": None, "reason": one.problem}
                for one in opened.unread
            ),
            *(skipped(tensor, why) for tensor, why in followed.left_out),
        ],
        summary=summary,
        conclusion=[*conclusion(summary)],
        tone="error" if summary["errors"] else "warning" if summary["warnings"] else "ok",
        headline=printable(
            f"{opened.path}: {plural(len(snapshot), 'checkpoint')}, "
            f"{plural(summary['tensors'], 'tensor')}"
        ),
        totals="\n".join(sentences(summary)),
        notes=[
            *notes(snapshot, followed.lrs, followed.tracks, summary),
            *map(printable, opened.notes),
        ],
        failed=any(one.fails(settings.fail_on) for one in found),
    )


class _Damaged(Exception):
    """A checkpoint of a run whose tensors cannot be read."""

    def __init__(self, checkpoint: Checkpoint, error: CheckpointError) -> None:
        super().__init__(str(error))
        self.path, self.error = checkpoint.path, error


class _Followed:
    """The tensors of a run through its checkpoints. Raises _Damaged, UsageError."""

    def __init__(
        self, opened: Run, trainings: Trainings, settings: Settings, progress: Progress
    ) -> None:
        self.run = snapshots(_renamed(opened.checkpoints))
        self.lrs: Lrs = lrs_of(self.run, settings)
        self.left_out: list[tuple[Tensor, str]] = []
        self.tracks = self._tracks(Selection.of(settings))
        trainings.check([track.name for track in self.tracks])
        if settings.optimizer or settings.hyperparameters or settings.group:
            for track in self.tracks:  # what is given fits
                saved = self.run[-1].states.settings(track.name, track.last.shape)
                trainings.of(track.name, saved)
        chosen = _against(self.run, settings.against)
        gradient = Gradient(settings.grad_rms, settings.snr)
        expectation = Expectation(self.run, trainings, self.lrs, gradient)
        points = follow(self.tracks, chosen, settings.jobs, progress)
        try:
            self.tensors = [
                Followed(track, own, expectation)
                for track, own in zip(self.tracks, points, strict=True)
            ]
        except Unreadable as error:
            raise _Damaged(self.run[error.number].checkpoint, error.error) from error

    def _tracks(self, selection: Selection) -> list[Track]:
        """Every tensor that is measured, by name, in the checkpoints that have it in one shape,
        that of the last."""
        found: dict[str, dict[int, Tensor]] = {}
        wanted: dict[str, Tensor] = {}
        for one in self.run:
            wanted |= {tensor.name: tensor for tensor in one.checkpoint.tensors}
        names = {tensor.name for tensor in selection.tensors([*wanted.values()])}
        for number, one in enumerate(self.run):
            for tensor in retied([t for t in one.checkpoint.tensors if t.name in names]):
                found.setdefault(tensor.name, {})[number] = tensor
        tracks = []
        for name, tensors in found.items():
            last = tensors[max(tensors)]
            if why := _left_out(last):
                self.left_out.append((last, why))
                continue
            own = {n: t for n, t in tensors.items() if t.shape == last.shape and not _left_out(t)}
            tracks.append(Track(name, own))
        return tracks


def _left_out(tensor: Tensor) -> str | None:
    """Why a tensor is not followed; None where it is."""
    if tensor.unmeasured is not None:
        return tensor.unmeasured
    if tensor.tied_to is not None:
        return f"tied to {tensor.tied_to}"
    if not (tensor.kind.is_weight or tensor.kind.kind == "average") or tensor.kind.is_flat:
        return tensor.kind.reason
    return None if tensor.dtype.is_float else f"its type is {tensor.dtype.name}"


def _renamed(checkpoints: Sequence[RunCheckpoint]) -> list[RunCheckpoint]:
    """The checkpoints, tensors under the names of the first where wrappers alone differ."""
    first, *others = checkpoints
    found = [first]
    for one in others:
        names = renamed(first.checkpoint, one.checkpoint)
        tensors = tuple(called(tensor, names) for tensor in one.checkpoint.tensors)
        checkpoint = replace(one.checkpoint, tensors=tensors) if names else one.checkpoint
        found.append(replace(one, checkpoint=checkpoint))
    return found


def _without(opened: Run, damaged: _Damaged) -> Run:
    """The run without a checkpoint that cannot be read. Raises CheckpointError where fewer than two
    are left."""
    kept = [*opened.checkpoints]
    bad = next(one for one in kept if one.checkpoint.path == damaged.path)
    kept.remove(bad)
    if len(kept) < 2:
        raise damaged.error
    problem = str(damaged).removeprefix(str(damaged.path)).lstrip("/: ")
    return replace(opened, checkpoints=kept, unread=[*opened.unread, Unopened(bad.name, problem)])


def _against(run: Sequence[Snapshot], step: int | None) -> int | None:
    """The number of the checkpoint at a step. Raises OptionError where there is none."""
    if step is None:
        return None
    steps = [one.step for one in run]
    if step in steps:
        return steps.index(step)
    known = [one for one in steps if one is not None]
    if not known:
        raise OptionError("against", "the steps of the run are not known", step)
    near = min(known, key=lambda one: abs(one - step))
    problem = f"no checkpoint is of this step; there are {len(known)}, {min(known)} to {max(known)}"
    raise OptionError("against", problem, step, "the nearest is", str(near))


def _family_tables(
    groups: Sequence[Group], selection: Selection, settings: Settings
) -> list[Table]:
    """The rows of programs, one a family and checkpoint, and those of people, one a family."""
    own = {column.name for column in GROUPS}
    of_points = [c for c in POINTS if settings.against is not None or "against" not in c.name]
    asked = [*(settings.columns or ())]
    by_group = replace(selection, columns=[n for n in asked if n in own] or None)
    by_name = {column.name: column for column in of_points}
    by_point = [by_name[name] for name in dict.fromkeys(asked) if name in by_name] or of_points
    rows = Rows([GroupRow(group) for group in groups], lambda each: row(GROUPS, each.name, [each]))
    chosen = by_group.rows(rows)
    kept = [each["name"] for each in chosen]
    of_name = {group.name: group for group in groups}
    points = [GroupPoint(of_name[name], n) for name in kept for n in of_name[name].numbers]
    return [
        Table("rows", by_point, [], points),
        Table(
            "families",
            by_group.fields(GROUPS),
            by_group.shown(GROUPS, [c for c in GROUPS if c.name in _SHOWN]),
            chosen,
            mark=lambda each, column: "warning" if _has_stopped(each, column) else "",
        ),
    ]


def _has_stopped(each: Row | Mapping[str, Any], column: str) -> bool:
    return each["status"] == "stopped" and column == "name"


def _checkpoint_table(tensors: Sequence[Followed]) -> Table:
    """A row a checkpoint, of all weights of the model."""
    model = [each for each in tensors if each.is_of_model]
    points = GroupRow(Group("model", model)).points if model else []
    shown = [column for column in CHECKPOINTS if column.name in _SHOWN_CHECKPOINTS]
    return Table("checkpoints", CHECKPOINTS, shown, points, "Checkpoints")


def _told_table(found: Sequence[Finding]) -> Table:
    """The findings in sentences, those of one kind and family as one."""
    rows = told(found)
    lines = [each.line for each in rows]
    return Table("findings_by_family", TOLD, [], rows, "Findings", notes=lines)


def _once(columns: Sequence[Column]) -> list[Column]:
    """The columns, of those of one name the first."""
    return [*{column.name: column for column in reversed(columns)}.values()][::-1]
