"""`scalecheck diff`: how far one checkpoint is from another."""

from pathlib import Path
from typing import Annotated, cast

import typer

from scalecheck.cli import options
from scalecheck.cli.output import Output
from scalecheck.cli.progress import Progress
from scalecheck.measure.groups import By

_PATH = "A checkpoint, or a report of `inspect --format json`."


def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help=_PATH, show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help=_PATH, show_default=False)],
    lr: Annotated[
        float | None,
        typer.Option("--lr", metavar="LR", help="Peak lr of the run between them; takes --steps."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", help="Add how far so many steps should carry."),
    ] = None,
    schedule: options.Schedule = "constant",
    warmup: options.Warmup = 0,
    final: options.Final = 0.0,
    optimizer: Annotated[
        str | None,
        typer.Option(
            "--optimizer",
            metavar="NAME",
            help=f"adamw if absent; one of {', '.join(options.OPTIMIZERS)}.",
            autocompletion=lambda: options.OPTIMIZERS,
        ),
    ] = None,
    beta1: options.Beta1 = None,
    beta2: options.Beta2 = None,
    eps: options.Eps = None,
    weight_decay: options.WeightDecay = None,
    momentum: options.Momentum = None,
    group: options.Group = None,
    snr: options.Snr = 0.0,
    grad_rms: Annotated[
        float | None,
        typer.Option(
            "--grad-rms",
            metavar="RMS",
            help="RMS of the gradients; so large that eps does not count if absent.",
        ),
    ] = None,
    match: options.Match = None,
    exclude: options.Exclude = None,
    by: options.By = "tensor",
    sort: options.Sort = None,
    reverse: options.Reverse = False,
    top: options.Top = None,
    columns: options.Columns = None,
    format: options.Format = "table",
    output: options.Output = None,
    jobs: options.Jobs = None,
    quiet: options.Quiet = False,
) -> None:
    """Print how far each tensor moved from one checkpoint to another, beside what a run would do.

    Exits 0 when both were read, 2 for wrong usage, 3 when one could not be read.
    """
    from scalecheck.commands.diff import diff as compared

    hyperparameters = options.given(
        beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, momentum=momentum
    )
    with Output(format, output, quiet) as out:
        with Progress(quiet) as progress:
            report = compared(
                before,
                after,
                lr=lr,
                optimizer=optimizer,
                group=group or (),
                snr=snr,
                grad_rms=grad_rms,
                steps=steps,
                schedule=schedule,
                warmup=warmup,
                final=final,
                match=match or (),
                exclude=exclude or (),
                by=cast(By, by),
                sort=sort,
                reverse=reverse,
                top=top,
                columns=options.names(columns),
                jobs=jobs,
                progress=progress.show,
                **hyperparameters,
            )
        out.write(report)
