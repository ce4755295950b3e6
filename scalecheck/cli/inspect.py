"""`scalecheck inspect`: the scale of every tensor of a checkpoint."""

from pathlib import Path
from typing import Annotated, cast

import typer

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.cli import options
from scalecheck.cli.output import Output
from scalecheck.cli.progress import Progress
from scalecheck.commands.inspect import inspect as inspected
from scalecheck.measure.groups import By
from scalecheck.measure.initial_scale import WORDS


def inspect(
    path: Annotated[Path, options.PATH],
    match: options.Match = None,
    exclude: options.Exclude = None,
    by: options.By = "tensor",
    sort: options.Sort = None,
    reverse: options.Reverse = False,
    top: options.Top = None,
    columns: options.Columns = None,
    quantiles: Annotated[
        bool, typer.Option("--quantiles", help="Add the values at 1, 5, 25, 50, 75, 95 and 99 %.")
    ] = False,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="SCHEME",
            help=f"Show rms as a multiple of what an initialization gives: {', '.join(WORDS)}.",
            autocompletion=lambda: list(WORDS),
        ),
    ] = None,
    format: options.Format = "table",
    output: options.Output = None,
    jobs: options.Jobs = None,
    quiet: options.Quiet = False,
) -> None:
    """Print the scale of every tensor of a checkpoint: rms, the root of the mean square, and more.

    Exits 0 when it was read, 2 for wrong usage, 3 when it could not be read.
    """
    with Output(format, output, quiet) as out:
        checkpoint = open_checkpoint(path)
        with Progress(quiet) as progress:
            report = inspected(
                checkpoint,
                match=match or (),
                exclude=exclude or (),
                by=cast(By, by),
                sort=sort,
                reverse=reverse,
                top=top,
                columns=options.names(columns),
                quantiles=quantiles,
                init=init,
                jobs=jobs,
                progress=progress.show,
            )
        out.write(report)
