"""`scalecheck simulate`: the laws of an optimizer, replayed beside theory."""

from typing import Annotated

import typer

from scalecheck import registry
from scalecheck.cli import options
from scalecheck.cli.exit_code import ExitCode
from scalecheck.cli.output import Output
from scalecheck.cli.progress import Progress

OPTIMIZERS = (*registry.names("optimizer"), "all")
DTYPES = ("float64", "float32", "bfloat16", "float16")


def simulate(
    k: Annotated[
        float, typer.Option("--k", metavar="K", help="Factor of the gradients and of the weights.")
    ] = 10.0,
    optimizer: Annotated[
        str,
        typer.Option(
            "--optimizer",
            metavar="NAME",
            help=f"One of {', '.join(OPTIMIZERS)}.",
            callback=options.choice("--optimizer", OPTIMIZERS),
            autocompletion=lambda: list(OPTIMIZERS),
        ),
    ] = "adam",
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", help="Steps that are replayed.")
    ] = 1000,
    size: Annotated[
        int, typer.Option("--size", metavar="N", help="Elements of the replayed tensor.")
    ] = 4096,
    lr: Annotated[
        float, typer.Option("--lr", metavar="LR", help="The lr of the laws 3 and 5.")
    ] = 1e-3,
    beta1: options.Beta1 = None,
    beta2: options.Beta2 = None,
    eps: options.Eps = None,
    weight_decay: options.WeightDecay = None,
    momentum: options.Momentum = None,
    snr: options.Snr = 0.0,
    noise: Annotated[
        str,
        typer.Option(
            "--noise",
            metavar="LAW",
            help="Law of the gradients: gaussian, student-t:DOF, sparse:DENSITY, ar1:RHO.",
        ),
    ] = "gaussian",
    grad_scale: Annotated[
        float, typer.Option("--grad-scale", metavar="RMS", help="RMS of the gradients g.")
    ] = 1.0,
    clip: Annotated[
        float | None,
        typer.Option("--clip", metavar="NORM", help="Clip the gradients to this norm."),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype",
            metavar="DTYPE",
            help=f"Type of weights, gradients and state: {', '.join(DTYPES)}.",
            callback=options.choice("--dtype", DTYPES),
            autocompletion=lambda: list(DTYPES),
        ),
    ] = "float64",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the random numbers.")] = 0,
    tolerance: Annotated[
        float, typer.Option("--tolerance", metavar="SHARE", help="What measured may be off by.")
    ] = 0.01,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Draw the update's RMS for k from 1e-12 to 1e12.")
    ] = False,
    format: options.Format = "table",
    output: options.Output = None,
    quiet: options.Quiet = False,
) -> int:
    """Replay an optimizer on synthetic gradients and judge the laws that an lr relies on.

    Exits 0 when every law holds, 1 when one breaks, 2 for wrong usage.
    """
    from scalecheck.commands.simulate import failures  # here, as inspect answers without it
    from scalecheck.commands.simulate import simulate as simulated

    hyperparameters = options.given(
        beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, momentum=momentum
    )
    with Output(format, output, quiet) as out:
        with Progress(quiet, unit="steps") as progress:
            report = simulated(
                optimizer,
                k=k,
                steps=steps,
                size=size,
                lr=lr,
                snr=snr,
                noise=noise,
                grad_scale=grad_scale,
                clip=clip,
                dtype=dtype,
                seed=seed,
                tolerance=tolerance,
                sweep=sweep,
                progress=progress.show,
                **hyperparameters,
            )
        out.write(report)
    return ExitCode.FINDINGS if failures(report) else ExitCode.CLEAN
