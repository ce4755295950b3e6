"""A line a finding, with the path, the tensor and the rule, for grep."""

from scalecheck.report.checks import Checks
from scalecheck.report.finding import conclusion, path_of
from scalecheck.report.lines import in_ascii
from scalecheck.report.report import UNBOUNDED, Layout, Report


def renders(kind: str) -> bool:
    return kind == "check"


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The findings, and a line with the conclusion."""
    path = path_of(report)
    lines = [f"{path}: {finding.line}" for finding in report.findings]
    if not layout.quiet:
        lines.append(f"{path}: {conclusion(report.summary)}")
    text = "\n".join(lines)
    return text if layout.blocks else in_ascii(text)


def several(checks: Checks, layout: Layout = UNBOUNDED) -> str:
    """The lines of each checkpoint, those that could not be read, and the conclusion on all."""
    lines = [text for report in checks.reports if (text := render(report, layout))]
    lines += [one.line for one in checks.unread]
    if not layout.quiet:
        lines.append(checks.conclusion)
    text = "\n".join(lines)
    return text if layout.blocks else in_ascii(text)
