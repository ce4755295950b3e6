"""A line a finding, with the path, the tensor and the rule's code, for a terminal and for grep."""

from scalecheck.report.finding import Finding, RuleOutcome, conclusion, path_of
from scalecheck.report.lines import in_ascii, skipped, wrapped
from scalecheck.report.report import UNBOUNDED, Layout, Report


def renders(kind: str) -> bool:
    return kind == "check"


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The findings, then what did not run and why, what the configuration lets pass, what was
    skipped, the notes and a conclusion."""
    path = path_of(report)
    findings = "\n".join(f"{path}: {finding.line}" for finding in report.findings)
    below = "" if layout.quiet else "\n".join(_below(report, layout.width))
    text = "\n\n".join(filter(None, [findings, below]))
    return text if layout.blocks else in_ascii(text)


def _below(report: Report, width: int | None) -> list[str]:
    rules: list[RuleOutcome] = report.rows_of("rules")
    ignored: list[Finding] = report.rows_of("ignored")
    codes: dict[str, list[str]] = {}
    for rule in rules:
        if rule.status == "not run":
            codes.setdefault(rule.reason, []).append(rule.rule)
    reasons = [finding.reason for finding in ignored]
    sentences = [
        *(f"not run: {', '.join(unrun)} ({reason})" for reason, unrun in codes.items()),
        *(f"ignored: {reasons.count(reason):,} ({reason})" for reason in dict.fromkeys(reasons)),
    ]
    lines = [*sentences, *skipped(report.skipped), *report.notes, conclusion(report.summary)]
    return [wrapped(line, width) for line in lines]
