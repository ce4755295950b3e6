"""`scalecheck rules`: the list of all rules, and what each means."""

from functools import partial
from typing import Annotated

from scalecheck import options
from scalecheck.cli.command import Command, Example
from scalecheck.cli.exit_code import ExitCode
from scalecheck.cli.output import Output, Target, width
from scalecheck.report.report import renderers_for
from scalecheck.settings import Argument

Rules = Annotated[
    options.Words,
    Argument(
        "Rules to explain: codes such as SC104, beginnings such as SC1, or names such as "
        "family-outlier. Default: list all.",
        "RULE...",
        parse=options.codes_of,
        repeats=True,
        completes="rules",
    ),
]
Format = Annotated[
    str,
    options.output("Output format: {choices}.", "FORMAT", choices=partial(renderers_for, "rules")),
]


def rules(codes: Rules = (), *, format: Format = "table", output: Target = None) -> int:
    """List the rules of `scalecheck check`, or explain some: what is wrong and what to do."""
    from scalecheck.rules.judging import pages

    entries = pages.asked(codes)
    with Output(format, output, quiet=False) as out:
        if format == "table":
            room = width() if output is None else None
            parts = [*map(pages.text, entries)] if codes else [pages.listing(entries, room)]
            out.write_text("\n\n\n".join(parts))
        elif format == "markdown" and codes:
            lines = [line for entry in entries for line in pages.markdown(entry)]
            out.write_text("\n".join(lines).lstrip())
        else:
            out.write(pages.report(entries))
    return ExitCode.CLEAN


COMMAND = Command(
    rules,
    "Exit codes: 0, or 2 when a rule is not known.",
    (
        Example("scalecheck rules", "All rules, by what they look at"),
        Example("scalecheck rules SC104", "What a finding means and what to do"),
        Example("scalecheck rules SC2 --format markdown", "The pages of all rules about the lr"),
    ),
    own=None,
)
