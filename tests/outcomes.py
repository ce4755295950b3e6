"""What reading a damaged file comes to: a result, a documented error, or a defect."""

import json
import struct
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from command import scalecheck as command
from states import find_state, open_state
from valid_files import Case, safetensors

import scalecheck
from scalecheck.api import read_config
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.recorded import recorded
from scalecheck.checkpoint.states.state_names import named
from scalecheck.errors import CheckpointError, UsageError
from scalecheck.report.report import Report

MAX_SECONDS = 10  # of a processor, under tracemalloc, for one file of at most a mebibyte
MAX_NBYTES = 64 << 20  # allocated by Python and numpy for it

DOCUMENTED = ("refused", "usage", "result")
"""The outcomes that are no defect: a CheckpointError, a UsageError, a result."""

Step = Callable[[Path], object]


@dataclass(frozen=True)
class Outcome:
    """How reading went, what was said of it, and what it took."""

    word: str
    said: str
    seconds: float
    nbytes: int

    @property
    def is_documented(self) -> bool:
        return self.word in DOCUMENTED


class Undocumented(Exception):
    """Something that no caller was told of."""


def _refused(token: str) -> None:
    raise Undocumented(f"{token} in a report")


def _in_json(report: Report) -> None:
    json.loads(report.rendered("json"), parse_constant=_refused)


def _inspected(path: Path) -> None:
    _in_json(scalecheck.inspect(path, jobs=1, quantiles=True))


def _translated(path: Path) -> None:
    _in_json(scalecheck.translate(path, lr=1e-3, jobs=1))


def _translated_by_its_state(path: Path) -> None:
    _in_json(scalecheck.translate(path, jobs=1))


def _state(path: Path) -> None:
    """The state by itself, with all its tensors, and with the model's names."""
    state = open_state(path)
    for one in state.states:
        for tensor in one.tensors.values():
            if tensor.unmeasured is None:
                tensor.words()
    checkpoint = open_checkpoint(path)
    found = find_state(checkpoint)
    for one in named(found, checkpoint).states if found else ():
        one.label.encode()


def _inspected_by_command(path: Path) -> None:
    _by_command("inspect", path)


def _translated_by_command(path: Path) -> None:
    _by_command("translate", path, "--lr", "1e-3")


def _by_command(*arguments: object) -> None:
    """Exit code 0 and lines of text, or 2 or 3 and one line that names the program, and perhaps one
    that says what to do."""
    done = command(*arguments, columns=120)
    lines, help = done.err.splitlines(), []
    if len(lines) == 2 and lines[1].startswith("  help: "):
        help = [lines.pop()]
    if done.code not in (0, 2, 3) or len(lines) != bool(done.code):
        raise Undocumented(f"exit code {done.code}, {len(lines)} lines: {done.err[:300]}")
    if not all(line.startswith("scalecheck: ") for line in lines):
        raise Undocumented(f"stderr: {done.err[:300]}")
    if not all(line.isprintable() for line in (*lines, *help, *done.out.split("\n"))):
        raise Undocumented("a line that writes to the terminal")


def _adapted(path: Path) -> None:
    """An adapter beside its base."""
    weights = {"q": [6, 4], "k": [5, 3, 1, 1], "v": [4, 4]}
    base = {f"{name}.weight": torch.ones(sizes) for name, sizes in weights.items()}
    _in_json(scalecheck.inspect(path, base=base, jobs=1))
    _in_json(scalecheck.translate(path, base=base, lr=1e-3, jobs=1))
    _in_json(scalecheck.check(path, base=base, lr=1e-3, jobs=1))
    _in_json(scalecheck.diff(path, path, base=base, jobs=1))


def _judged(path: Path) -> None:
    _in_json(scalecheck.check(path, jobs=1, lr=1e-3))


def _compared(path: Path) -> None:
    _in_json(scalecheck.diff(path, path, jobs=1))


def _judged_by_it(path: Path) -> None:
    """A sound checkpoint, judged by a configuration."""
    _beside(path, lambda model: scalecheck.check(model, config=path, jobs=1))


def _judged_against_it(path: Path) -> None:
    """A sound checkpoint, judged and compared against a report."""
    _beside(path, lambda model: scalecheck.check(model, baseline=path, jobs=1))
    _beside(path, lambda model: scalecheck.diff(path, model, jobs=1))


def _beside(path: Path, reported: Callable[[Path], Report]) -> None:
    model = path.parent / "sound.safetensors"
    model.write_bytes(SOUND)
    try:
        _in_json(reported(model))
    finally:
        model.unlink()


_ELEMENTS = struct.pack("<6f", 0.01, -0.02, 0.03, 0.01, -0.01, 0.02)
SOUND = safetensors(
    {
        "tok.weight": ("F32", [2, 3], _ELEMENTS),
        "blocks.0.norm.weight": ("F32", [6], _ELEMENTS),
        "head.weight": ("F32", [3, 2], _ELEMENTS),
        "head.bias": ("F32", [3], _ELEMENTS[:12]),
    }
)
"""What the valid configuration is for."""

_CHECKPOINT: tuple[Step, ...] = (_inspected, _judged, _compared)
_TRAINING = (_inspected, _translated, _translated_by_its_state, _state)
_ARRAYS = (_inspected, _translated, _judged)

STEPS: Mapping[str, tuple[Step, ...]] = {
    "adapter": (_adapted,),
    "safetensors": _CHECKPOINT,
    "index": _CHECKPOINT,
    "encoded": _CHECKPOINT,
    "torch-zip": _CHECKPOINT,
    "torch-legacy": _CHECKPOINT,
    "msgpack": _ARRAYS,
    "numpy": _ARRAYS,
    "gguf": _CHECKPOINT,
    "hdf5": _ARRAYS,
    "keras": _ARRAYS,
    "onnx": _CHECKPOINT,
    "orbax": (_inspected, _judged),
    "training": _TRAINING,
    "optimizer": _TRAINING,
    "deepspeed": _TRAINING,
    "dcp": _TRAINING,
    "ranks": _TRAINING,
    "tar": _TRAINING,
    "config": (read_config, _judged_by_it),
    "report": (recorded, _judged_against_it),
}
"""What is done with a file of each kind. One step may be refused and the next not."""

SHARES: Mapping[str, int] = {
    "adapter": 40,
    "safetensors": 150,
    "orbax": 40,
    "gguf": 60,
    "hdf5": 30,
    "keras": 20,
    "onnx": 50,
    "msgpack": 60,
    "numpy": 60,
    "index": 200,
    "encoded": 150,
    "torch-zip": 220,
    "torch-legacy": 180,
    "training": 80,
    "optimizer": 90,
    "deepspeed": 60,
    "dcp": 100,
    "ranks": 40,
    "tar": 40,
    "config": 180,
    "report": 150,
}
"""Of 2,000 inputs, fewer of those that take the longest."""

COMMANDS: Mapping[str, tuple[Step, ...]] = {
    **dict.fromkeys(
        ("safetensors", "index", "encoded", "torch-zip", "torch-legacy", "gguf", "onnx"),
        (_inspected_by_command,),
    ),
    **dict.fromkeys(
        ("training", "optimizer", "deepspeed", "dcp", "msgpack", "numpy", "ranks", "tar"),
        (_inspected_by_command, _translated_by_command),
    ),
}
"""The same from the command line, some ten times slower."""


def outcome(case: Case, folder: Path, *, by_command: bool = False, traced: bool = False) -> Outcome:
    """What comes of a case whose files are written into an empty folder, which is empty again
    afterwards. Its bytes are counted where they are traced, which takes five times as long."""
    path = case.write(folder)
    steps = STEPS[case.kind] + (COMMANDS.get(case.kind, ()) if by_command else ())
    if traced:
        tracemalloc.start()
    start = time.process_time()
    words = {_tried(step, path) for step in steps}
    seconds = time.process_time() - start
    _, nbytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for name in case.files:
        (folder / name).unlink()
    if defects := sorted(word for word in words if word[0] not in DOCUMENTED):
        return Outcome(*defects[0], seconds, nbytes)
    if seconds > MAX_SECONDS:
        return Outcome("slow", f"{seconds:.1f} s", seconds, nbytes)
    if nbytes > MAX_NBYTES:
        return Outcome("large", f"{nbytes} bytes", seconds, nbytes)
    return Outcome(*min(words, key=lambda word: DOCUMENTED.index(word[0])), seconds, nbytes)


def _tried(step: Step, path: Path) -> tuple[str, str]:
    """The outcome of one step, and what it said."""
    try:
        step(path)
    except (CheckpointError, UsageError) as error:
        said = str(error)
        if "MemoryError" in said:  # as readers say that take it for damage
            return "memory", said
        return "refused" if isinstance(error, CheckpointError) else "usage", said
    except Exception as error:  # whatever comes out is what is looked for
        return "undocumented", f"{step.__name__}: {type(error).__name__}: {error}"
    return "result", ""
