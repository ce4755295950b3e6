"""GitHub's workflow commands: an annotation for each kind of finding, for the log of an action."""

from collections.abc import Mapping

from scalecheck.report import formatting
from scalecheck.report.checks import Checks
from scalecheck.report.finding import conclusion, path_of
from scalecheck.report.finding_groups import FindingGroup, groups
from scalecheck.report.lines import in_ascii
from scalecheck.report.report import UNBOUNDED, Layout, Report

_COMMANDS: Mapping[str, str] = {"error": "error", "warning": "warning", "note": "notice"}
# As GitHub's toolkit escapes them; the runner takes this back.
_MESSAGE = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"})


def renders(kind: str) -> bool:
    return kind == "check"


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """A command for each group of findings, as GitHub shows ten of a severity, and a notice with
    the conclusion and the notes. A checkpoint has no lines, so they name the file only."""
    path = path_of(report)
    commands = [
        _command(_COMMANDS[group.severity], path, group.mark, _message(group))
        for group in groups(report)
    ]
    if not layout.quiet:
        lines = "\n".join([conclusion(report.summary), *map(formatting.printable, report.notes)])
        commands.append(_command("notice", path, "scalecheck", lines))
    text = "\n".join(commands)
    return text if layout.blocks else in_ascii(text)


def several(checks: Checks, layout: Layout = UNBOUNDED) -> str:
    """The commands of each checkpoint, and an error for each that could not be read."""
    commands = [text for report in checks.reports if (text := render(report, layout))]
    for one in checks.unread:
        words = formatting.printable(f"not read: {one.problem}")
        commands.append(_command("error", formatting.printable(one.path), "scalecheck", words))
    text = "\n".join(commands)
    return text if layout.blocks else in_ascii(text)


def _message(group: FindingGroup) -> str:
    """What was found, the tensors, and what to try."""
    if len(group.findings) == 1:
        lines = [group.findings[0].told]
    else:
        lines = [group.sentence, *group.lines()]
    return "\n".join(map(formatting.printable, [*lines, f"help: {group.first_remedy}"]))


def inert(text: str) -> str:
    """The text with no command but the one that each line is."""
    return "\n".join(
        "::".join(["", *map(formatting.inert, line[2:].split("::", 1))]) if line else ""
        for line in text.split("\n")
    )


def _command(command: str, file: str, title: str, message: str) -> str:
    file, title = file.translate(_PROPERTY), title.translate(_PROPERTY)
    return f"::{command} file={file},title={title}::{message.translate(_MESSAGE)}"
