"""The checkpoints of a run in a folder, found by their names, each once. None is opened."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scalecheck.checkpoint.files.folders import folders_in
from scalecheck.checkpoint.files.weight_files import is_weights
from scalecheck.checkpoint.open import folder_format, open_checkpoint
from scalecheck.checkpoint.run.names import Place, Unit, place_of
from scalecheck.errors import CheckpointError, Fix, reason
from scalecheck.report.formatting import listed

MAX_DEPTH = 3  # of folders in which a run is sought: lightning_logs/version_0/checkpoints
MAX_ENTRIES = 20_000  # of one folder
MAX_FOLDERS = 200  # that are looked into
_HELP = "a history needs two or more: give the folder of the run, or several checkpoints"


@dataclass(frozen=True)
class Saved:
    """A checkpoint of a run: where it is, what it is called there, and the number in that name."""

    path: Path
    name: str
    number: int | None = None
    unit: Unit = "number"


@dataclass(frozen=True)
class RunFolder:
    """checkpoints: by the number in their names. unnumbered: those whose names have none, such as
    last.ckpt, which may be one of them again. beside: names of others that are not of the run."""

    path: Path
    checkpoints: Sequence[Saved]
    unnumbered: Sequence[Saved] = ()
    beside: Sequence[str] = ()


def run_in(root: Path) -> RunFolder:
    """The run in a folder, or in the one of those below it that holds one.

    Raises CheckpointError where there is none, where there are several, and where it holds fewer
    than two checkpoints.
    """
    if not root.is_dir():
        open_checkpoint(root)  # which says what is wrong with it
        raise CheckpointError(root, "is one checkpoint", _HELP)
    try:
        found = _run(root) or _run_below(root)
    except OSError as error:
        raise CheckpointError(root, reason(error)) from error
    if found is None:
        open_checkpoint(_only(root))
        raise CheckpointError(root, "holds one checkpoint", _HELP)
    return found


def _only(root: Path) -> Path:
    """The folder below that alone holds a checkpoint, else the root."""
    holding = folders_in(root).holding
    return holding[0].path if len(holding) == 1 else root


def _run_below(root: Path) -> RunFolder | None:
    """The run in a folder below; None where there is none. Raises CheckpointError for several."""
    runs: list[RunFolder] = []
    level = [root]
    looked = 0
    for _ in range(MAX_DEPTH):
        level = [folder for one in level for folder in _folders(one)]
        looked += len(level)
        if looked > MAX_FOLDERS:
            break
        found = [run for folder in level if (run := _run(folder)) is not None]
        of_runs = {run.path for run in found}
        level = [folder for folder in level if folder not in of_runs]
        runs += found
    if len(runs) > 1:
        names = listed([str(run.path.relative_to(root)) for run in runs])
        problem = f"holds {len(runs)} runs: {names}"
        raise CheckpointError(root, problem, "one of them", Fix(str(runs[0].path), str(root)))
    return runs[0] if runs else None


def _folders(root: Path) -> list[Path]:
    try:
        return [root / entry.name for entry in _entries(root) if entry.is_dir()]
    except OSError:
        return []


def _run(root: Path) -> RunFolder | None:
    """The run whose checkpoints are entries of this folder; None where fewer than two are."""
    entries = _entries(root)
    found = [*_placed(root, entries)]
    holding = [place for saved, place in found if saved.path.is_file() or _holds(saved.path)]
    patterns = Counter(place.pattern for place in holding)
    says_unit = {place.pattern: place.unit != "number" for place in holding}
    chosen = max(patterns, key=lambda one: (says_unit[one], patterns[one], one), default="")
    if patterns[chosen] < 2:
        return None
    own = [saved for saved, place in found if place.pattern == chosen]
    ordered = sorted(own, key=lambda saved: (saved.number, saved.name))
    others = [saved.name for saved, place in found if patterns[place.pattern] and saved not in own]
    seen = {os.path.realpath(saved.path) for saved in ordered}
    unnumbered = [
        Saved(root / entry.name, entry.name)
        for entry in entries
        if place_of(entry.name, entry.is_dir()) is None
        if os.path.realpath(entry.path) not in seen and _may_be_one(entry)
    ]
    return RunFolder(root, ordered, unnumbered, others)


def _placed(root: Path, entries: Sequence["os.DirEntry[str]"]) -> Iterator[tuple[Saved, Place]]:
    """The entries whose names have a place in a run, a link and what it leads to as one."""
    seen: set[str] = set()
    is_one = folder_format(root) is not None
    for entry in sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name)):
        is_folder = entry.is_dir()
        place = place_of(entry.name, is_folder)
        if place is None or (is_one and not is_folder):
            continue
        target = os.path.realpath(entry.path)
        if target in seen:
            continue
        seen.add(target)
        yield Saved(root / entry.name, entry.name, place.number, place.unit), place


def _holds(folder: Path) -> bool:
    """Whether a folder holds a checkpoint, be it one that was not finished."""
    below = folders_in(folder)
    return bool(below.holding or below.unread) or folder_format(folder) is not None


def _may_be_one(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry without a number is a checkpoint."""
    if entry.is_dir():
        return bool(folders_in(Path(entry.path)).holding)
    return is_weights(entry.name)


def _entries(root: Path) -> list["os.DirEntry[str]"]:
    """The entries of a folder but hidden ones. Raises CheckpointError where there are too many."""
    found: list[os.DirEntry[str]] = []
    with os.scandir(root) as entries:
        for entry in entries:
            if len(found) == MAX_ENTRIES:
                problem = f"holds more than {MAX_ENTRIES:,} files"
                raise CheckpointError(root, problem, "give the checkpoints one by one")
            if not entry.name.startswith((".", "__pycache__")):
                found.append(entry)
    return sorted(found, key=lambda entry: entry.name)
