"""`scalecheck check`: the judge in CI."""

from pathlib import Path
from typing import Annotated, Any

import typer

from scalecheck.cli import options
from scalecheck.cli.exit_code import ExitCode
from scalecheck.cli.output import Output
from scalecheck.cli.progress import Progress
from scalecheck.errors import UsageError, reason
from scalecheck.report.finding import FAIL_ON
from scalecheck.report.report import renderers_for

FORMATS = renderers_for("check")


def _words(given: list[str] | None) -> list[str] | None:
    """The codes of an option that takes several, by commas or by repeating it."""
    if given is None:
        return None
    return [word.strip() for entry in given for word in entry.split(",") if word.strip()]


def check(
    path: Annotated[Path | None, options.PATH] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="The configuration; scalecheck.toml or pyproject.toml here or above if absent.",
        ),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            "--select",
            metavar="CODES",
            help="Only these rules: codes, their beginnings or names, by commas.",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="CODES", help="Without these rules."),
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(
            "--fail-on",
            metavar="SEVERITY",
            help="Least severity that exits 1: error, the default, warning, or never.",
            autocompletion=lambda: list(FAIL_ON),
        ),
    ] = None,
    lr: options.Lr = None,
    optimizer: options.Optimizer = None,
    beta1: options.Beta1 = None,
    beta2: options.Beta2 = None,
    eps: options.Eps = None,
    weight_decay: options.WeightDecay = None,
    momentum: options.Momentum = None,
    group: options.Group = None,
    snr: Annotated[
        float | None,
        typer.Option(
            "--snr", metavar="SNR", help="Mean over std of an element's gradient; 0 is noise alone."
        ),
    ] = None,
    grad_rms: options.GradRms = None,
    step: options.Step = "",
    state: options.State = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps", metavar="N", help="Steps of the run; those of the state if absent."
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            metavar="SHAPE",
            help=f"Of the run: {', '.join(options.SCHEDULES)}; constant if absent.",
            autocompletion=lambda: list(options.SCHEDULES),
        ),
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option("--warmup", metavar="N", help="Steps over which the lr rises."),
    ] = None,
    final: Annotated[
        float | None,
        typer.Option("--final", metavar="SHARE", help="The lr at the end, as a share of the lr."),
    ] = None,
    bands: Annotated[
        str | None,
        typer.Option(
            "--bands",
            metavar="A,B,C,D",
            help="Limits between frozen, low, typical, high and very high.",
        ),
    ] = None,
    param_dtype: options.ParamDtype = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init", metavar="SCHEME", help="The initialization that scales have to be of."
        ),
    ] = None,
    serve_dtype: Annotated[
        str | None,
        typer.Option(
            "--serve-dtype",
            metavar="DTYPE",
            help="Type that the weights will be cast to: bf16, fp16, fp8 (e4m3), e5m2.",
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            metavar="FILE",
            help="Report of `inspect --format json` that scales have to agree with.",
        ),
    ] = None,
    update_baseline: Annotated[
        bool,
        typer.Option("--update-baseline", help="Write the baseline anew in place of a check."),
    ] = False,
    match: options.Match = None,
    exclude: options.Exclude = None,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"Output format: {', '.join(FORMATS)}.",
            callback=options.choice("--format", FORMATS),
            autocompletion=lambda: list(FORMATS),
        ),
    ] = "text",
    output: options.Output = None,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="Print the number of findings of each rule.")
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option("--explain", metavar="CODE", help="Print what a rule means, and what to try."),
    ] = None,
    show_settings: Annotated[
        bool,
        typer.Option("--show-settings", help="Print every setting and where it came from."),
    ] = False,
    jobs: options.Jobs = None,
    quiet: options.Quiet = False,
) -> int:
    """Judge a checkpoint by rules, for CI: its scales, the lr, the optimizer state, a baseline.

    Exits 0 without findings that fail, 1 with some, 2 for wrong usage, 3 when it could not be read.
    """
    from scalecheck import config as configuration
    from scalecheck.commands.check import check as checked
    from scalecheck.rules.judging import manual

    hyperparameters = options.given(
        beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, momentum=momentum
    )
    given: dict[str, Any] = {
        "select": _words(select),
        "ignore": _words(ignore),
        "fail_on": fail_on,
        "match": match,
        "exclude": exclude,
        "lr": lr,
        "optimizer": optimizer,
        "hyperparameters": hyperparameters or None,
        "group": tuple(group) if group else None,
        "snr": snr,
        "grad_rms": grad_rms,
        "step": options.step_number(step),
        "state": state,
        "steps": steps,
        "schedule": schedule,
        "warmup": warmup,
        "final": final,
        "bands": None if bands is None else options.band_limits(bands),
        "param_dtype": param_dtype,
        "init": init,
        "serve_dtype": serve_dtype,
        "baseline": baseline,
    }
    given = {key: value for key, value in given.items() if value is not None}
    if statistics and format != "text":
        raise UsageError(f"--statistics: takes --format text, not {format}")
    if show_settings and format not in (known := ["text", *renderers_for("settings")]):
        raise UsageError(f"--show-settings: takes --format {', '.join(known)}, not {format}")
    if update_baseline and (output or format != "text" or statistics or show_settings or explain):
        raise UsageError("--update-baseline: writes --baseline, and takes no other output")
    for option, read in (("--baseline", baseline), ("--config", config)):
        if output is not None and read is not None and output.resolve() == read.resolve():
            raise UsageError(f"--output {output}: is what {option} reads")
    if explain is not None:
        with Output("table", output, quiet) as out:
            out.write_text(manual.page(explain))
        return ExitCode.CLEAN
    place = config or configuration.find(_folder())
    filed = configuration.Config() if place is None else configuration.read(place)
    if update_baseline:
        return _update_baseline(_needed(path), given, filed, jobs)
    is_table = statistics or show_settings
    form = "table" if is_table and format == "text" else format
    with Output(form, output, quiet) as out:
        if show_settings:
            out.write(manual.settings_report(given, filed))
            return ExitCode.CLEAN
        with Progress(quiet) as progress:
            report = checked(
                _needed(path), config=filed, jobs=jobs, progress=progress.show, **given
            )
        out.write(manual.statistics(report) if statistics else report)
    return ExitCode.FINDINGS if report.summary["failed"] else ExitCode.CLEAN


def _needed(path: Path | None) -> Path:
    if path is None:
        raise UsageError("PATH: which checkpoint to check")
    return path


def _folder() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise UsageError(f"the working directory: {reason(error)}") from error


def _update_baseline(path: Path, given: dict[str, Any], filed: Any, jobs: int | None) -> int:
    from scalecheck.checkpoint.recorded import is_recorded
    from scalecheck.commands.inspect import inspect
    from scalecheck.rules.judging.policy import resolve

    settings = resolve(given, filed)
    if settings["baseline"] is None:
        raise UsageError("--update-baseline: needs --baseline, the file to write")
    place, match, exclude = Path(settings["baseline"]), settings["match"], settings["exclude"]
    try:
        if place.is_file() and place.stat().st_size and not is_recorded(place):
            raise UsageError(f"--baseline {place}: is no report, and is not replaced")
        with Output("json", place, True, option="--baseline") as out:
            out.write(inspect(path, match=match, exclude=exclude, jobs=jobs))
    except UsageError as error:
        raise settings.told(error) from None
    return ExitCode.CLEAN
