"""What the files of a checkpoint record of its run: the step that it was saved at, and the lrs of
the steps before it, as transformers' Trainer and others write them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.files.strict_json import parsed, text_of
from scalecheck.checkpoint.formats import torch
from scalecheck.checkpoint.run.names import place_of
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError

TRAINER_STATE = "trainer_state.json"
MAX_NBYTES = 1 << 27  # of trainer_state.json: a million logged steps
MAX_STEP = 10**15
# As Lightning, DeepSpeed, Megatron, nanoGPT and others call the steps that were done.
_NAMES = ("global_step", "global_steps", "iter_num", "iteration", "step", "steps", "num_steps")


@dataclass(frozen=True)
class RecordedRun:
    """step: that of the checkpoint, None where no file says it; by: the file or the entry that
    does. lrs: by step, those that were logged. last_step: the planned end of the run. problem: why
    a file that may say so was not read."""

    step: int | None = None
    by: str = ""
    lrs: Mapping[int, float] = field(default_factory=dict)
    last_step: int | None = None
    problem: str = ""


def recorded_run(path: Path, checkpoint: Checkpoint) -> RecordedRun:
    """What is recorded with a checkpoint that was opened at a path."""
    is_folder = path.is_dir()
    file = (path if is_folder else path.parent) / TRAINER_STATE
    # Beside a file with a number it may be that of any of several.
    if (is_folder or place_of(path.name, False) is None) and file.is_file():
        found = _of_trainer(file)
        if found.step is not None or found.problem:
            return found
    return _in_file(checkpoint)


def _of_trainer(file: Path) -> RecordedRun:
    """What trainer_state.json says."""
    try:
        text = text_of(file, MAX_NBYTES)
        state = None if text is None else parsed(_without_nan(text))
    except (OSError, ValueError) as error:
        return RecordedRun(problem=f"{file}: not read: {error}")
    if not isinstance(state, dict):
        return RecordedRun(problem=f"{file}: not read: it holds no object")
    entries = state.get("log_history")
    lrs = {}
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and "learning_rate" in entry:
            step, lr = _step(entry.get("step")), entry["learning_rate"]
            if step is not None and _is_number(lr) and 0 <= lr < math.inf:
                lrs[step] = float(lr)
    return RecordedRun(
        _step(state.get("global_step")), TRAINER_STATE, lrs, _step(state.get("max_steps")) or None
    )


def _without_nan(text: bytearray) -> bytearray:
    """The text with null for NaN and inf, which Python writes for a loss that was one."""
    for word in (b"-Infinity", b"Infinity", b"NaN"):
        text = text.replace(b": " + word, b": null")
    return text


def _in_file(checkpoint: Checkpoint) -> RecordedRun:
    """The step among what a torch file holds beside its tensors, or another format's tree."""
    root: Any = checkpoint.tree
    files = {tensor.source.path for tensor in checkpoint.tensors}
    if root is None and len(files) == 1 and checkpoint.format.startswith("torch"):
        try:
            with torch.unpickled(next(iter(files))) as file:
                return _among(file.root)
        except CheckpointError:
            return RecordedRun()
    return _among(root)


def _among(root: Any) -> RecordedRun:
    if isinstance(root, Mapping):
        for name in _NAMES:
            if (step := _step(root.get(name))) is not None:
                return RecordedRun(step, f"its {name}")
    return RecordedRun()


def _step(number: object) -> int | None:
    if not _is_number(number) or not 0 <= number <= MAX_STEP or number != int(number):  # type: ignore[operator, call-overload] # a number
        return None
    return int(number)  # type: ignore[call-overload, no-any-return] # a number


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
