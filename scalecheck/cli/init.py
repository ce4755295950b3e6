"""`scalecheck init`: a configuration for a checkpoint, to be read and edited."""

import os
from pathlib import Path
from typing import Annotated, Any

from scalecheck import api, options
from scalecheck.cli.command import Command, Example
from scalecheck.cli.exit_code import ExitCode
from scalecheck.cli.output import Output
from scalecheck.cli.progress import progress
from scalecheck.config import FILE
from scalecheck.errors import OptionError, UsageError, reason
from scalecheck.report.runner_commands import without_commands_in_strings
from scalecheck.settings import Argument

STDOUT = "-"

Source = Annotated[
    Path, Argument("Checkpoint: a file, a shard index (*.index.json) or a folder.", "CHECKPOINT")
]
Target = Annotated[
    str,
    options.output(
        "Write to this file; `-` prints to the terminal. An existing file is never replaced.",
        "FILE",
    ),
]
Quiet = Annotated[bool, options.output("Do not say what was written, and show no progress.")]


def init(checkpoint: Source, *, output: Target = FILE, quiet: Quiet = False) -> int:
    """Write a commented scalecheck.toml for a checkpoint: its optimizer, findings and limits."""
    place = None if output == STDOUT else Path(output)
    if place is not None:
        _require_new(place)
    text = _text(checkpoint, quiet)
    said = f"wrote {place}; `scalecheck check` reads it in its folder and below"
    if place is None:
        said = text.removesuffix("\n")
    else:
        _write(place, text)
    if place is None or not quiet:
        with Output("table", None, quiet) as out:
            out.write_text(said)
    return ExitCode.CLEAN


def _require_new(place: Path) -> None:
    """Fails before the long work. Raises UsageError."""
    if os.path.lexists(place):
        problem = "exists, and is not replaced; --output - prints the configuration"
        raise UsageError(f"{place}: {problem}")
    if not place.parent.is_dir():
        raise OptionError("output", "no such folder", place.parent)


def _text(checkpoint: Path, quiet: bool) -> str:
    """The configuration, with the findings under the settings that it has. Raises UsageError,
    CheckpointError."""
    from scalecheck.checkpoint.open import open_checkpoint
    from scalecheck.commands import init as made

    opened = open_checkpoint(checkpoint)
    optimizer = made.optimizer_of(opened)
    given = {"optimizer" if key == "name" else key: x for key, x in optimizer.settings.items()}
    findings: list[Any] | str
    with progress(quiet, "bytes") as show:
        try:
            more = {"checkpoint": checkpoint, "progress": show}
            findings = api.report_of(api.check, given | more).findings
        except UsageError as error:  # no rule could run
            findings = str(error)
    text = made.configuration(str(checkpoint), opened, optimizer, findings)
    return without_commands_in_strings(text)


def _write(place: Path, text: str) -> None:
    """Makes a file, which is not left behind in part. Raises UsageError."""
    try:
        with place.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
            try:
                file.write(text)
                file.flush()
            except OSError:
                place.unlink()
                raise
    except OSError as error:
        raise OptionError("output", reason(error), place) from error


COMMAND = Command(
    init,
    "Exit codes: 0 when it was written, 2 for wrong usage or an existing file, 3 when the "
    "checkpoint could not be read.",
    (
        Example("scalecheck init model.safetensors", "Write scalecheck.toml here"),
        Example("scalecheck init model.safetensors --output -", "Print it instead"),
        Example(
            "scalecheck init model.safetensors --output ci/scalecheck.toml",
            "Write it elsewhere, for check --config",
        ),
    ),
    own=None,
)
