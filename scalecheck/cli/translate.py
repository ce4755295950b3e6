"""`scalecheck translate`: the relative update of each tensor at an lr, and back."""

from pathlib import Path
from typing import Annotated, cast

import typer

from scalecheck.cli import options
from scalecheck.cli.output import Output
from scalecheck.cli.progress import Progress
from scalecheck.errors import UsageError
from scalecheck.measure.groups import By
from scalecheck.measure.initial_scale import WORDS

EMITTED = ("torch", "json", "toml")


def translate(
    path: Annotated[Path | None, options.PATH] = None,
    lr: options.Lr = None,
    optimizer: options.Optimizer = None,
    beta1: options.Beta1 = None,
    beta2: options.Beta2 = None,
    eps: options.Eps = None,
    weight_decay: options.WeightDecay = None,
    momentum: options.Momentum = None,
    group: options.Group = None,
    snr: options.Snr = 0.0,
    grad_rms: options.GradRms = None,
    step: options.Step = "",
    state: options.State = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", help="Add how far a run of so many steps carries."),
    ] = None,
    schedule: options.Schedule = "constant",
    warmup: options.Warmup = 0,
    final: options.Final = 0.0,
    bands: Annotated[
        str,
        typer.Option(
            "--bands",
            metavar="A,B,C,D",
            help="Limits between frozen, low, typical, high and very high.",
        ),
    ] = options.BANDS,
    param_dtype: options.ParamDtype = None,
    target: Annotated[
        float | None,
        typer.Option("--target", metavar="SHARE", help="Add the lr of this relative update."),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="PATH",
            help="Add the lr of the relative update that --lr gives on this checkpoint.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="NAME", help="Add the lr at which this optimizer moves as far."
        ),
    ] = None,
    scale_by: Annotated[
        float | None,
        typer.Option(
            "--scale-by",
            metavar="K",
            help="Add the settings that train weights K times larger alike.",
        ),
    ] = None,
    assume: Annotated[
        str | None,
        typer.Option(
            "--assume",
            metavar="SCHEME",
            help=f"Add what is believed of an initialization: {', '.join(WORDS)}.",
            autocompletion=lambda: list(WORDS),
        ),
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape",
            metavar="NAME=AxB",
            help="In place of PATH: a tensor such as wte.weight=50257x768 (repeatable).",
        ),
    ] = None,
    emit: Annotated[
        str | None,
        typer.Option(
            "--emit",
            metavar="FORM",
            help=f"Print only the parameter groups of --target or --like: {', '.join(EMITTED)}.",
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
    """Print the relative update that each tensor of a checkpoint will feel at an lr, or did feel.

    Exits 0 when it was read, 2 for wrong usage, 3 when it could not be read.
    """
    from scalecheck.commands.translate import translate as translated
    from scalecheck.updates.emit import emit as emitted

    if emit is not None:
        options.choice("--emit", EMITTED)(emit)
        if target is None and like is None:
            raise UsageError(f"--emit {emit}: needs --target or --like")
    hyperparameters = options.given(
        beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, momentum=momentum
    )
    with Output(format, output, quiet) as out:
        with Progress(quiet) as progress:
            report = translated(
                path,
                lr=lr,
                optimizer=optimizer,
                group=group or (),
                snr=snr,
                grad_rms=grad_rms,
                step=options.step_number(step),
                state=state,
                steps=steps,
                schedule=schedule,
                warmup=warmup,
                final=final,
                bands=options.band_limits(bands),
                param_dtype=param_dtype,
                target=target,
                like=like,
                to=to,
                scale_by=scale_by,
                assume=assume,
                shape=shape or (),
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
        if emit is None:
            out.write(report)
        else:
            out.write_text(emitted(emit, report.rows))
