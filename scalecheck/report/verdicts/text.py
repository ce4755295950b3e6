"""A line a finding, with the path, the tensor and the rule's code, for a terminal and for grep."""

from scalecheck.report import formatting, verdict
from scalecheck.report.lines import in_ascii, skipped, wrapped
from scalecheck.report.report import UNBOUNDED, Layout, Report


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The findings, then what did not run and why, what the configuration lets pass, what was
    skipped, the notes and a conclusion."""
    path = verdict.path(report)
    findings = "\n".join(f"{path}: {verdict.line(row)}" for row in report.findings)
    below = "" if layout.quiet else "\n".join(_below(report, layout.width))
    text = "\n\n".join(filter(None, [findings, below]))
    return text if layout.blocks else in_ascii(text)


def _below(report: Report, width: int | None) -> list[str]:
    codes: dict[str, list[str]] = {}
    for rule in verdict.not_run(report):
        codes.setdefault(rule["reason"], []).append(rule["rule"])
    reasons = [row["reason"] for row in report.rows_of("ignored")]
    sentences = [
        *(f"not run: {', '.join(rules)} ({reason})" for reason, rules in codes.items()),
        *(f"ignored: {reasons.count(reason):,} ({reason})" for reason in dict.fromkeys(reasons)),
    ]
    lines = [*sentences, *skipped(report.skipped), *report.notes, verdict.conclusion(report)]
    return [wrapped(formatting.printable(line), width) for line in lines]
