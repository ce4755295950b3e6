"""Markdown for the summary of a job: the verdict, the findings and what to try, the rest folded."""

from collections import Counter
from collections.abc import Sequence

from scalecheck.report import formatting, verdict
from scalecheck.report.finding import FINDINGS, IGNORED, RULES
from scalecheck.report.github_markdown import code, escaped, grid, listed, skips
from scalecheck.report.report import UNBOUNDED, Column, Layout, Report, Table

_FOUND = ("rule", "severity", "where", "message")
_RULE = ("rule", "name", "summary", "status", "findings", "reason")
_STATES = ("failed", "passed", verdict.NOT_RUN)


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The verdict as Markdown, names in code spans and everything else escaped."""
    findings = _grid(report, "findings", FINDINGS, _FOUND)
    if layout.quiet:
        return findings
    word = "failed" if report.summary["failed"] else "passed"
    codes = {row["rule"] for row in report.findings}
    remedies = [
        f"**{rule['rule']} {escaped(rule['name'])}:** {escaped(rule['remedy'])}"
        for rule in report.rows_of("rules")
        if rule["rule"] in codes
    ]
    ignored = report.rows_of("ignored")
    states = Counter(rule["status"] for rule in report.rows_of("rules"))
    rules = ", ".join(f"{states[state]} {state}" for state in _STATES if states[state])
    parts = [
        f"### {code(verdict.path(report))}: {word}",
        escaped(verdict.conclusion(report)),
        findings if report.findings else "",
        f"What to try:\n\n{listed((), *remedies)}" if remedies else "",
        _folded(
            f"ignored: {len(ignored):,}", _grid(report, "ignored", IGNORED, (*_FOUND, "reason"))
        )
        if ignored
        else "",
        _folded(f"rules: {rules}", _grid(report, "rules", RULES, _RULE)),
        listed([formatting.printable(note) for note in report.notes], *skips(report.skipped)),
    ]
    return "\n\n".join(filter(None, parts))


def _grid(report: Report, name: str, columns: Sequence[Column], shown: Sequence[str]) -> str:
    by_name = {column.name: column for column in columns}
    table = Table(name, columns, columns, report.rows_of(name))
    return grid(table, [by_name[column] for column in shown])


def _folded(summary: str, markdown: str) -> str:
    """Markdown under a line that opens it."""
    return f"<details>\n<summary>{summary}</summary>\n\n{markdown}\n\n</details>"
