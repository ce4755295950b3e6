"""`scalecheck translate`, which can print parameter groups in place of its report."""

from typing import Annotated

from scalecheck import options
from scalecheck.cli.command import Run, printed
from scalecheck.cli.exit_code import ExitCode
from scalecheck.cli.output import Format, Output, Quiet, Target, Verbose
from scalecheck.errors import OptionError
from scalecheck.report.runner_commands import without_commands_in_strings

Emit = Annotated[
    str | None,
    options.output(
        "Print only the parameter groups that --target or --like leads to, as: {choices}.",
        "FORM",
        choices=("torch", "json", "toml"),
    ),
]


def translate(
    run: Run,
    *,
    emit: Emit = None,
    format: Format = "table",
    output: Target = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Prints the report or the parameter groups; the exit code."""
    if emit is None:
        return printed(run, format=format, output=output, quiet=quiet, verbose=verbose)
    if not {"target", "like"} & run.given.keys():
        raise OptionError("emit", "needs --target or --like", emit)
    from scalecheck.updates import emit as emitted

    with Output(format, output, quiet, reads=run.reads) as out:
        groups = emitted.emit(emit, run.report(quiet))
        out.write_text(without_commands_in_strings(groups))
    return ExitCode.CLEAN
