"""`scalecheck simulate`: the laws of an optimizer, replayed beside theory."""

from scalecheck.cli.command import Run
from scalecheck.cli.exit_code import ExitCode
from scalecheck.cli.output import Format, Quiet, Target, written


def simulate(
    run: Run, *, format: Format = "table", output: Target = None, quiet: Quiet = False
) -> int:
    """Replay an optimizer on synthetic gradients and judge the laws that an lr relies on.

    Exits 0 when every law holds, 1 when one breaks, 2 for wrong usage.
    """
    report = written(run, format, output, quiet, unit="steps")
    from scalecheck.commands.simulate import failures

    return ExitCode.FINDINGS if failures(report) else ExitCode.CLEAN
