"""`scalecheck inspect`: the scale of every tensor of a checkpoint."""

from scalecheck.cli.command import Run
from scalecheck.cli.output import Format, Quiet, Target, written


def inspect(
    run: Run, *, format: Format = "table", output: Target = None, quiet: Quiet = False
) -> None:
    """Print the scale of every tensor of a checkpoint: rms, the root of the mean square, and more.

    Exits 0 when it was read, 2 for wrong usage, 3 when it could not be read.
    """
    written(run, format, output, quiet)
