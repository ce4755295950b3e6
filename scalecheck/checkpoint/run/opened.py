"""The checkpoints of a run, open: those of a folder, or several that are named."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scalecheck.checkpoint.files.folders import folders_in
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.run.folder import Saved, run_in
from scalecheck.checkpoint.run.names import Unit, place_of
from scalecheck.checkpoint.run.recorded import RecordedRun, recorded_run
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError, ScalecheckError
from scalecheck.report.formatting import listed, plural


@dataclass(frozen=True)
class RunCheckpoint:
    """A checkpoint of a run: what it is called there, the number in its name and what that counts,
    and what its files record of the run."""

    name: str
    checkpoint: Checkpoint
    number: int | None = None
    unit: Unit = "number"
    recorded: RecordedRun = field(default_factory=RecordedRun)


@dataclass(frozen=True)
class Unopened:
    """A checkpoint of a run that cannot be read, and why."""

    name: str
    problem: str


@dataclass(frozen=True)
class Run:
    """The checkpoints by the numbers in their names, or as they were given. unread: those that
    cannot be read. notes: what was counted once, and what lies beside."""

    path: Path
    checkpoints: Sequence[RunCheckpoint]
    unread: Sequence[Unopened] = ()
    notes: Sequence[str] = ()


def opened_run(given: Sequence[Checkpoint | str | Path], raw: bool = False) -> Run:
    """The run in the folder that is given, or of the checkpoints that are.

    Raises CheckpointError where there are fewer than two that can be read.
    """
    if len(given) == 1 and not isinstance(given[0], Checkpoint):
        return _of_folder(Path(given[0]), raw)
    checkpoints: list[RunCheckpoint] = []
    unread: list[Unopened] = []
    errors: list[ScalecheckError] = []
    names = Counter(Path(one).name for one in given if not isinstance(one, Checkpoint))
    unique = {name for name, count in names.items() if name and count == 1}
    for one in given:
        if isinstance(one, Checkpoint):
            checkpoints.append(RunCheckpoint(str(one.path), one))
            continue
        path = Path(one)
        place = place_of(path.name, path.is_dir())
        if place is None and path.is_file():  # model.safetensors of checkpoint-500
            above = place_of(path.absolute().parent.name, True)
            place = above if above and above.unit == "step" else None
        saved = Saved(
            path,
            path.name if path.name in unique else str(path),
            *(place[:2] if place else (None, "number")),
        )
        try:
            checkpoints.append(_opened(saved, raw))
        except CheckpointError as error:
            if not path.exists():
                raise
            unread.append(_unopened(saved, error))
            errors.append(error)
    return _enough(Run(_place(given), checkpoints, unread), errors)


def _place(given: Sequence[Checkpoint | str | Path]) -> Path:
    """The folder that all lie in, else the first of them."""
    paths = [str(one.path if isinstance(one, Checkpoint) else one) for one in given]
    try:
        return Path(os.path.commonpath(paths) or paths[0])
    except ValueError:  # some are absolute and some are not
        return Path(paths[0])


def _of_folder(root: Path, raw: bool) -> Run:
    found = run_in(root)
    checkpoints: list[RunCheckpoint] = []
    unread: list[Unopened] = []
    errors: list[ScalecheckError] = []
    for saved in found.checkpoints:
        try:
            checkpoints.append(_opened(saved, raw))
        except ScalecheckError as error:
            unread.append(_unopened(saved, error))
            errors.append(error)
    notes = []
    if found.path != root:
        notes.append(f"the run is read of {found.path.relative_to(root)}")
    more, said = _unnumbered(found.unnumbered, checkpoints, raw)
    if found.beside:
        said.append(f"beside the run, not counted: {listed(found.beside)}")
    return _enough(Run(found.path, [*checkpoints, *more], unread, [*notes, *said]), errors)


def _enough(run: Run, errors: Sequence[ScalecheckError]) -> Run:
    """The run. Raises CheckpointError where fewer than two of its checkpoints can be read."""
    if len(run.checkpoints) > 1:
        return run
    if errors:
        raise errors[0]
    raise CheckpointError(run.path, "is one checkpoint", "a history needs two or more")


def _unnumbered(
    found: Sequence[Saved], checkpoints: Sequence[RunCheckpoint], raw: bool
) -> tuple[list[RunCheckpoint], list[str]]:
    """The checkpoints without a number whose step is recorded and is none of the others', and notes
    on those that are not counted."""
    steps = {
        step
        for one in checkpoints
        if (step := one.number if one.recorded.step is None else one.recorded.step) is not None
    }
    more: list[RunCheckpoint] = []
    again: list[str] = []
    unknown: list[str] = []
    for saved in found:
        try:
            one = _opened(saved, raw)
        except ScalecheckError:
            unknown.append(saved.name)
            continue
        step = one.recorded.step
        if step is None:
            unknown.append(saved.name)
        elif step in steps:
            again.append(f"{saved.name} (step {step:,})")
        else:
            steps.add(step)
            more.append(one)
    notes = []
    if again:
        notes.append(f"counted once, as the step is there under its number: {listed(again)}")
    if unknown:
        count = plural(len(unknown), "entry").replace("entrys", "entries")
        notes.append(f"not counted, as no step is recorded: {listed(unknown)} ({count})")
    return more, notes


def _opened(saved: Saved, raw: bool) -> RunCheckpoint:
    """A checkpoint, or where a folder holds none itself and one folder below does that one."""
    try:
        checkpoint = open_checkpoint(saved.path, raw=raw)
    except CheckpointError:
        below = folders_in(saved.path).holding if saved.path.is_dir() else []
        if len(below) != 1 or not below[0].name:
            raise
        checkpoint = open_checkpoint(below[0].path, raw=raw)
    recorded = recorded_run(saved.path, checkpoint)
    return RunCheckpoint(saved.name, checkpoint, saved.number, saved.unit, recorded)


def _unopened(saved: Saved, error: ScalecheckError) -> Unopened:
    problem = str(error).removeprefix(str(saved.path)).lstrip("/: ")
    return Unopened(saved.name, problem)
