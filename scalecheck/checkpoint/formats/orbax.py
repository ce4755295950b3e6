"""Orbax's checkpoints: a folder with a tree of names, and its arrays as zarr arrays, in folders of
their own or in an OCDBT database. It needs the library zstandard."""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scalecheck.checkpoint.files.orbax_names import MARKS, STEP_MARK
from scalecheck.checkpoint.files.weight_files import is_weights
from scalecheck.checkpoint.formats.contract import Evidence
from scalecheck.checkpoint.malformed import content_of
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError, Fix
from scalecheck.report.formatting import listed

_UNFINISHED = ".orbax-checkpoint-tmp"
_STEP = re.compile(r"(?:.*[^0-9])?(\d{1,18})")
_LOOKED_AT = 200  # entries of a folder that may be one of steps


def recognises(path: Path, head: bytes) -> Evidence:
    """A checkpoint, its step's folder, or a folder of such steps and of no other model."""
    if head or not path.is_dir():
        return Evidence.NONE
    if any((path / mark).exists() for mark in (*MARKS, STEP_MARK)) or _UNFINISHED in path.name:
        return Evidence.CONTENT
    return Evidence.CONTENT if _holds_steps(path) else Evidence.NONE


def load(path: Path) -> Checkpoint:
    """Lists the arrays of a step; of a folder of one step those of that.

    Raises CheckpointError where it is unfinished, damaged, or where there are several steps.
    """
    if _UNFINISHED in path.name:
        raise CheckpointError(
            path, "is unfinished: Orbax renames a checkpoint when all of it is written"
        )
    items = _items(path)
    if items:
        return _loaded(path, items)
    steps = _steps(path)
    if len(steps) != 1:
        raise _without_step(path, steps)
    note = f"holds one step, which is read: {steps[0].name}"
    return _loaded(path, _items(steps[0]), note)


def _loaded(path: Path, items: Sequence[Path], *layout: str) -> Checkpoint:
    """The arrays of the items of a step; of several each under its item's name."""
    from scalecheck.checkpoint.arrays.array_tree import Leaf, checkpoint_of
    from scalecheck.checkpoint.arrays.orbax_item import item_leaves

    leaves: list[Leaf] = []
    notes: list[str] = []
    formats = set()
    with content_of(path):
        for item in items:
            format, own, said = item_leaves(item)
            formats.add(format)
            notes += said
            if len(items) > 1:
                own = [
                    Leaf(f"{item.name}.{leaf.name}", leaf.node, (item.name, *leaf.path))
                    for leaf in own
                ]
            leaves += own
        checkpoint = checkpoint_of(path, " and ".join(sorted(formats)), leaves, notes)
    others = _beside(items)
    unread = [f"beside the arrays, not read: {listed(others)}"] if others else []
    return replace(checkpoint, layout=(*layout, *unread))


def _items(path: Path) -> list[Path]:
    """The folder itself where its arrays lie in it, else the folders of a step that hold some."""
    if any((path / mark).exists() for mark in MARKS):
        return [path]
    if not (path / STEP_MARK).exists():
        folders = [path / "default"]
    else:
        folders = [path / entry.name for entry in _entries(path) if entry.is_dir()]
    return [one for one in folders if any((one / mark).exists() for mark in MARKS)]


def _beside(items: Sequence[Path]) -> list[str]:
    """The folders of a step that hold no arrays, such as an iterator's place."""
    step = items[0].parent
    if not (step / STEP_MARK).exists():
        return []
    names = {item.name for item in items}
    return [f"{one.name}/" for one in _entries(step) if one.is_dir() and one.name not in names]


def _entries(path: Path) -> list["os.DirEntry[str]"]:
    return sorted(os.scandir(path), key=lambda entry: entry.name)


def _steps(path: Path) -> list[Path]:
    """The finished steps in a folder, the latest last."""
    found = []
    for entry in _entries(path):
        number = _STEP.fullmatch(entry.name)
        if number and entry.is_dir() and _is_step(path / entry.name):
            found.append((int(number[1]), path / entry.name))
    return [folder for _, folder in sorted(found)]


def _is_step(path: Path) -> bool:
    if _UNFINISHED in path.name:
        return False
    return (path / STEP_MARK).exists() or bool(_items(path))


def _holds_steps(path: Path) -> bool:
    """Whether a folder has a step of Orbax and no file of weights."""
    try:
        with os.scandir(path) as entries:
            first = [entry for _, entry in zip(range(_LOOKED_AT), entries, strict=False)]
        if any(is_weights(entry.name) for entry in first):
            return False
        steps = [e for e in first if _STEP.fullmatch(e.name) and e.is_dir()]
        return any(_is_step(path / entry.name) for entry in steps[:4])
    except OSError:
        return False


def _without_step(path: Path, steps: Sequence[Path]) -> CheckpointError:
    if not steps:
        return CheckpointError(
            path, "holds no arrays: a step of Orbax without an item that has any"
        )
    names = listed([step.name for step in steps])
    problem = f"holds no checkpoint itself, {len(steps)} of its folders do: {names}"
    return CheckpointError(path, problem, "the newest", Fix(str(steps[-1]), str(path)))
