"""`scalecheck translate`: the relative update of each tensor at an lr, and back."""

from typing import Annotated

from scalecheck import options
from scalecheck.cli.command import Run
from scalecheck.cli.output import Format, Output, Quiet, Target, written
from scalecheck.cli.progress import Progress
from scalecheck.errors import OptionError

Emit = Annotated[
    str | None,
    options.question(
        "Print only the parameter groups of --target or --like: {choices}.",
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
) -> None:
    """Print the relative update that each tensor of a checkpoint will feel at an lr, or did feel.

    Exits 0 when it was read, 2 for wrong usage, 3 when it could not be read.
    """
    if emit is None:
        written(run, format, output, quiet)
        return
    if not {"target", "like"} & run.keywords.keys():
        raise OptionError("emit", "needs --target or --like", emit)
    from scalecheck.updates import emit as emitted

    with Output(format, output, quiet) as out:
        with Progress(quiet) as progress:
            report = run(progress=progress.show)
        out.write_text(emitted.emit(emit, report.rows))
