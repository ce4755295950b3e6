"""The checkpoints that the paths of a command line stand for."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from scalecheck.report.formatting import listed, plural


def checkpoints(words: Sequence[str], recursive: bool) -> tuple[list[Path], list[str]]:
    """The paths, those of a pattern in the order of the numbers in their names, and for the folder
    of a run its checkpoints by their steps; and a note on each such folder. recursive: a folder is
    one checkpoint."""
    found: dict[Path, None] = {}
    notes = []
    for word in words:
        for path in _matching(word):
            steps = [] if recursive else _steps(path)
            if steps:
                names = listed([step.name for step in steps])
                notes.append(f"{path} is a run of {plural(len(steps), 'checkpoint')}: {names}")
            found |= dict.fromkeys(steps or [path])
    return [*found], notes


def _matching(word: str) -> list[Path]:
    """What a pattern that the shell left as it is matches; else the path itself."""
    path = Path(word)
    if os.path.lexists(path) or not glob.has_magic(word):
        return [path]
    from scalecheck.checkpoint.selection import natural

    return [Path(name) for name in sorted(glob.glob(word, recursive=True), key=natural)] or [path]


def _steps(path: Path) -> list[Path]:
    """The checkpoints of a folder that is a run, by their steps; none where it is a checkpoint, or
    anything else."""
    if not path.is_dir():
        return []
    from scalecheck.checkpoint.files.folders import folders_in, steps
    from scalecheck.checkpoint.open import folder_format

    try:
        if folder_format(path):
            return []
        holding = folders_in(path).holding
    except OSError:  # which is told where it is opened
        return []
    is_run = all(folder.name for folder in holding)
    return steps(path, holding) if is_run else []
