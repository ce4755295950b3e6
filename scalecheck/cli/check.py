"""`scalecheck check`: the judge in CI."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from scalecheck import api, config, options
from scalecheck.cli.command import Run
from scalecheck.cli.exit_code import ExitCode
from scalecheck.cli.output import Output, Quiet, Target, Verbose
from scalecheck.errors import CheckpointError, NotAllRead, OptionError, UsageError, reason
from scalecheck.report.report import renderers_for
from scalecheck.settings import Argument, Option, Settings

if TYPE_CHECKING:
    from scalecheck.report.checks import Checks

Checkpoints = Annotated[
    Sequence[str],
    Argument(
        "Checkpoints: files, shard indices (*.index.json), directories, or the folder of a run, of "
        "which each checkpoint is checked.",
        "PATH...",
        parse=list,
        repeats=True,
    ),
]
Configuration = Annotated[
    Path | None,
    Option(
        "Configuration file. Default: scalecheck.toml or pyproject.toml in this folder or above.",
        "FILE",
    ),
]
NoConfiguration = Annotated[bool, Option("Read no configuration file.")]
UpdateBaseline = Annotated[
    bool, options.run("Write the --baseline file from this checkpoint instead of checking.")
]
Format = Annotated[
    str,
    options.output("Output format: {choices}.", "FORMAT", choices=partial(renderers_for, "check")),
]
Statistics = Annotated[bool, options.output("Print the number of findings of each rule.")]
Explain = Annotated[str | None, options.output("Print what a rule means and what to do.", "CODE")]
ShowSettings = Annotated[bool, options.output("Print every setting and where it came from.")]


def check(
    run: Run,
    checkpoint: Checkpoints = (),
    *,
    config: Configuration = None,
    no_config: NoConfiguration = False,
    update_baseline: UpdateBaseline = False,
    format: Format = "text",
    output: Target = None,
    statistics: Statistics = False,
    explain: Explain = None,
    show_settings: ShowSettings = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Prints what the rules find, or what was asked for in its place; the exit code."""
    from scalecheck.cli.checkpoints import checkpoints
    from scalecheck.rules.judging import manual

    if statistics and format != "text":
        raise UsageError(f"--statistics: takes --format text, not {format}")
    if show_settings and format not in (known := ["text", *renderers_for("settings")]):
        raise UsageError(f"--show-settings: takes --format {', '.join(known)}, not {format}")
    if update_baseline and (output or format != "text" or statistics or show_settings or explain):
        raise UsageError("--update-baseline: writes --baseline, and takes no other output")
    if explain is not None:
        with Output("table", output, quiet) as out:
            out.write_text(manual.page(explain))
        return ExitCode.CLEAN
    filed = _configuration(config, no_config)
    settings = api.settings(api.check, run.given, filed)
    paths, notes = checkpoints(checkpoint, settings.recursive)
    given = (*paths, filed.path, settings.state)
    reads = [Path(str(path)) for path in given if path is not None]
    if update_baseline:
        return _update_baseline(paths, settings, reads)
    reads += [] if settings.baseline is None else [Path(settings.baseline)]
    is_table = statistics or show_settings
    form = "table" if is_table and format == "text" else format
    with Output(form, output, quiet, reads=reads, verbose=verbose) as out:
        if show_settings:
            out.write(manual.settings_report(settings))
            return ExitCode.CLEAN
        if len(paths) < 2:
            report = run.report(quiet, checkpoint=_only(paths), config=filed)
            out.write(manual.statistics([report]) if statistics else report)
            return ExitCode.FINDINGS if report.failed else ExitCode.CLEAN
        checks, errors = _checked(run, paths, quiet, filed, settings)
        checks = replace(checks, notes=notes)
        if statistics and checks.reports:
            out.write(manual.statistics(checks.reports))
        elif not statistics:
            out.write_checks(checks)
    if errors:
        raise NotAllRead(errors)
    return ExitCode.FINDINGS if checks.failed else ExitCode.CLEAN


def _checked(
    run: Run, paths: Sequence[Path], quiet: bool, filed: config.Config, settings: Settings
) -> tuple["Checks", list[CheckpointError]]:
    """The checks of several checkpoints, and why some could not be read. Raises CheckpointError
    where that is another file, which all need."""
    from scalecheck.report.checks import Checks, Unread

    shared = {str(getattr(settings, name)) for name in ("baseline", "base", "state")}
    reports, unread, errors = [], [], []
    for path in paths:
        try:
            reports.append(run.report(quiet, checkpoint=path, config=filed))
        except CheckpointError as error:
            if str(error.path) in shared:
                raise
            errors.append(error)
            is_of_it = str(error.path) == str(path)
            unread.append(Unread(str(path), error.problem if is_of_it else str(error)))
    return Checks(reports, unread), errors


def _configuration(path: Path | None, is_unwanted: bool) -> config.Config:
    """The configuration in a file, or in that of the working directory or above, of which the path
    is relative to the working directory."""
    if is_unwanted:
        if path is not None:
            raise UsageError("--no-config: takes no --config")
        return config.Config()
    if path is None:
        try:
            found = config.find(Path.cwd())
            path = None if found is None else Path(os.path.relpath(found))
        except OSError as error:
            raise UsageError(f"the working directory: {reason(error)}") from error
    return config.Config() if path is None else api.read_config(path)


def _only(paths: Sequence[Path]) -> Path:
    if not paths:
        help = "for example scalecheck check model.safetensors"
        raise UsageError("PATH: the checkpoint is missing", help)
    return paths[0]


def _update_baseline(paths: Sequence[Path], settings: Settings, reads: Sequence[Path]) -> int:
    from scalecheck.checkpoint.recorded import SCHEMA, recorded_schema

    if settings.baseline is None:
        raise UsageError("--update-baseline: needs --baseline, the file to write")
    if len(paths) > 1:
        raise UsageError(f"--update-baseline: takes one PATH, not {len(paths)}")
    place = Path(settings.baseline)
    same = {name: getattr(settings, name) for name in ("match", "exclude", "jobs")}
    try:
        if place.is_file() and place.stat().st_size and recorded_schema(place) != SCHEMA:
            raise OptionError(
                "baseline", "is no baseline, and not replaced: remove it first", place
            )
        with Output("json", place, True, option="baseline", reads=reads) as out:
            out.write(api.report_of(api.inspect, {"checkpoint": _only(paths), **same}))
    except OptionError as error:
        raise settings.located(error) from None
    return ExitCode.CLEAN
