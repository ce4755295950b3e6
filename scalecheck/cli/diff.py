"""`scalecheck diff`: how far one checkpoint is from another."""

from scalecheck.cli.command import Run
from scalecheck.cli.output import Format, Quiet, Target, written


def diff(
    run: Run, *, format: Format = "table", output: Target = None, quiet: Quiet = False
) -> None:
    """Print how far each tensor moved from one checkpoint to another, beside what a run would do.

    Exits 0 when both were read, 2 for wrong usage, 3 when one could not be read.
    """
    written(run, format, output, quiet)
