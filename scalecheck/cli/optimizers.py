"""`scalecheck optimizers`: the list of all optimizers, and the formula and settings of each."""

from functools import partial
from typing import Annotated

from scalecheck import options
from scalecheck.cli.command import Command, Example
from scalecheck.cli.exit_code import ExitCode
from scalecheck.cli.output import Output, Target, width
from scalecheck.report.report import renderers_for
from scalecheck.settings import Argument

Names = Annotated[
    options.Words,
    Argument(
        "Optimizers to explain, in any spelling such as AdamW or adamw_torch. Default: list all.",
        "NAME...",
        parse=options.codes_of,
        repeats=True,
        completes="optimizers",
    ),
]
Format = Annotated[
    str,
    options.output(
        "Output format: {choices}.", "FORMAT", choices=partial(renderers_for, "optimizers")
    ),
]


def optimizers(names: Names = (), *, format: Format = "table", output: Target = None) -> int:
    """List the optimizers that are known, or show the formula and settings of some."""
    from scalecheck.updates import optimizer_pages as pages

    entries = pages.asked(names)
    with Output(format, output, quiet=False) as out:
        if format == "table":
            room = width() if output is None else None
            parts = [*map(pages.text, entries)] if names else [pages.listing(entries, room)]
            out.write_text("\n\n\n".join(parts))
        else:
            out.write(pages.report(entries))
    return ExitCode.CLEAN


COMMAND = Command(
    optimizers,
    "Exit codes: 0, or 2 when an optimizer is not known.",
    (
        Example("scalecheck optimizers", "All optimizers"),
        Example("scalecheck optimizers adamw", "Its formula, settings and other names"),
        Example("scalecheck optimizers paged_adamw_8bit", "Which one another program means"),
    ),
    own=None,
)
