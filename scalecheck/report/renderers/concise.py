"""A line a finding, with the path, the tensor and the rule, for grep."""

from scalecheck.report.checks import Checks
from scalecheck.report.finding import Finding, conclusion, path_of, tone
from scalecheck.report.formatting import printable
from scalecheck.report.lines import in_ascii
from scalecheck.report.report import UNBOUNDED, Layout, Report


def renders(kind: str) -> bool:
    return kind == "check"


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The findings, and a line with the conclusion."""
    path = layout.paint(path_of(report), "strong")
    lines = [f"{path}: {_line(finding, layout)}" for finding in report.findings]
    if not layout.quiet:
        last = layout.paint(conclusion(report.summary), tone(report.summary))
        lines.append(f"{path}: {last}")
    text = "\n".join(lines)
    return text if layout.blocks else in_ascii(text)


def _line(finding: Finding, layout: Layout) -> str:
    """A finding's line with its severity and rule in their colour."""
    mark = printable(finding.mark)
    before, _, behind = finding.line.partition(f"{mark}: ")
    return f"{before}{layout.paint(mark, finding.severity)}: {behind}"


def several(checks: Checks, layout: Layout = UNBOUNDED) -> str:
    """The lines of each checkpoint, those that could not be read, and the conclusion on all."""
    lines = [text for report in checks.reports if (text := render(report, layout))]
    lines += [layout.paint(one.line, "error") for one in checks.unread]
    if not layout.quiet:
        lines.append(layout.paint(checks.conclusion, checks.tone))
    text = "\n".join(lines)
    return text if layout.blocks else in_ascii(text)
