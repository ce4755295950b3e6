"""The folders below a folder, and which of them hold checkpoints. No file is opened."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from scalecheck.checkpoint.distributed.names import MODEL, OPTIMIZER, SUFFIX, is_index_name
from scalecheck.checkpoint.files.weight_files import is_other_format, is_weights, rank_of
from scalecheck.errors import reason

MAX_DEPTH = 16  # of folders in folders; pipelines and runs nest up to three
MAX_FOLDERS = 1000  # that are looked into
MAX_ENTRIES = 200_000  # of all folders together; a folder of data can hold millions

_STEP = re.compile(r"(?:.*[^0-9])?(\d{1,18})")  # checkpoint-500, global_step12, epoch=3
_OF_RUN = re.compile(
    r"(?:checkpoint|ckpt|(?:global[-_]?)?step|iter(?:ation)?|epoch)[-_=]?\d+\b.*", re.IGNORECASE
)
_OF_DEEPSPEED = "_model_states.pt"
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Unread:
    """A folder below a checkpoint's that was not read, or a file in it that a library loads. name:
    as it lies below; problem: why not, empty where nobody asked for it."""

    root: Path
    name: str
    problem: str = ""

    @property
    def is_other_step(self) -> bool:
        """Its name is that of a step: another checkpoint of the run, and no part of this one."""
        return not self.problem and bool(_OF_RUN.fullmatch(self.name.partition("/")[0]))

    def reason(self, command: str) -> str:
        """Why it was not read, and what to type to have it read: by a command, or for
        an empty word by this one."""
        if self.problem:
            return f"not read: {self.problem}"
        what = "another step of the run, not read" if self.is_other_step else "not read"
        if not command:
            return f"{what}; --recursive reads it"
        whole, part = (quote(str(path)) for path in (self.root, self.root / self.name))
        each = f"scalecheck {command}"
        return f"{what}; {each} {whole} --recursive, or {each} {part}"


@dataclass(frozen=True)
class Folder:
    """A folder that holds checkpoints: where it is, and its name below the root, empty for the
    root."""

    path: Path
    name: str


@dataclass
class Folders:
    """What a look into a folder found. holding: those that hold checkpoints, the folder itself
    among them, numbers in names by their value. unread: those that could not be looked into.
    others: files below of formats that are not read."""

    holding: list[Folder] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def folders_in(root: Path) -> Folders:
    """The folder and those below it that hold checkpoints. Hidden folders are left out; a folder
    that is reached a second time, by a link, is looked into once."""
    found = Folders()
    seen: set[tuple[int, int]] = set()
    entries = 0
    stack = [(Folder(root, ""), 0)]
    while stack:
        folder, depth = stack.pop()
        try:
            status = folder.path.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            inside = sorted(os.scandir(folder.path), key=lambda entry: _natural(entry.name))
            below = [entry.name for entry in inside if _is_folder(entry)]
            if any(entry.name.endswith(_OF_DEEPSPEED) for entry in inside):
                below = [name for name in below if name != "zero"]  # its parameters, one a folder
        except OSError as error:
            found.unread.append(Unread(root, folder.name, reason(error)))
            continue
        entries += len(inside)
        files = [entry.name for entry in inside if not _is_folder(entry)]
        is_of_accelerate = f"{MODEL}0" in below
        if any(name.endswith(SUFFIX) for name in files) and not any(map(is_index_name, files)):
            problem = "a distributed checkpoint that was not finished: it has no .metadata"
            found.unread.append(Unread(root, folder.name or ".", problem))
        if is_of_accelerate or any(is_weights(name) or is_index_name(name) for name in files):
            found.holding.append(folder)
        if is_of_accelerate:  # one checkpoint, whose parts lie in folders
            below = [name for name in below if not name.startswith((MODEL, OPTIMIZER))]
        found.others += [
            f"{folder.name}/{entry.name}" if folder.name else entry.name
            for entry in inside
            if is_other_format(entry.name)
        ]
        if below and depth == MAX_DEPTH:
            found.unread.append(Unread(root, folder.name, f"folders more than {depth} deep"))
            continue
        if below and (len(seen) > MAX_FOLDERS or entries > MAX_ENTRIES):
            limit = f"it holds more than {MAX_FOLDERS:,} folders or {MAX_ENTRIES:,} files"
            found.unread.append(Unread(root, ".", f"all folders, as {limit}"))
            break
        names = (f"{folder.name}/{name}" if folder.name else name for name in below)
        stack += [(Folder(root / name, name), depth + 1) for name in reversed([*names])]
    return found


def steps(root: Path, folders: Sequence[Folder]) -> list[Path]:
    """The folders that a run has written, by the number at the end of their names; empty where they
    are not several steps of one run."""
    names = list(dict.fromkeys(folder.name.partition("/")[0] for folder in folders))
    found = [(match, name) for name in names if (match := _STEP.fullmatch(name))]
    runs = {name[: match.start(1)] for match, name in found}
    if len(found) < max(2, len(names)) or len(runs) > 1 or any(map(rank_of, names)):
        return []
    return [root / name for _, name in sorted((int(match[1]), name) for match, name in found)]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    is_hidden = entry.name.startswith((".", "__pycache__"))
    return not is_hidden and entry.is_dir()


def _natural(name: str) -> list[str]:
    """A key by which checkpoint-500 comes before checkpoint-1000."""
    return [
        f"{len(part.lstrip('0')):04}{part}" if part.isdigit() else part
        for part in _DIGITS.split(name)
    ]
