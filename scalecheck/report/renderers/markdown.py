"""Markdown as GitHub renders it, for a job summary, a comment or a notebook."""

from collections import Counter

from scalecheck.report.checks import Checks
from scalecheck.report.finding import STATUSES, RuleOutcome, conclusion, path_of
from scalecheck.report.finding_groups import FindingGroup, groups
from scalecheck.report.formatting import printable
from scalecheck.report.github_markdown import bullets, code, escaped, grid, skips
from scalecheck.report.report import UNBOUNDED, Layout, Report


def renders(kind: str) -> bool:
    return True


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The report as Markdown, names in code spans and everything else escaped."""
    return (_check if report.kind == "check" else _tables)(report, layout.quiet)


def _tables(report: Report, is_quiet: bool) -> str:
    if is_quiet:
        return "\n\n".join(grid(table, table.shown) for table in report.tables if table.shown)
    parts = [*map(escaped, report.conclusion), escaped(report.headline)]
    for table in report.tables:
        parts += [f"**{escaped(table.title)}**"] if table.title else []
        parts += (
            [grid(table, table.shown)] if table.shown and (table.rows or not table.title) else []
        )
        parts += [bullets(table.notes)] if table.notes else []
    parts.append(bullets((*report.totals.splitlines(), *report.notes), *skips(report.skipped)))
    return "\n\n".join(parts)


def _check(report: Report, is_quiet: bool) -> str:
    """Whether the check passed, its findings by rule and what to try, the rest folded."""
    grids = {table.name: grid(table, table.shown) for table in report.tables}
    if is_quiet:
        return grids["findings"]
    rules: list[RuleOutcome] = report.rows_of("rules")
    found = groups(report)
    ignored = report.rows_of("ignored")
    counts = Counter(rule.status for rule in rules)
    states = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
    parts = [
        f"### {code(path_of(report))}: {'failed' if report.summary['failed'] else 'passed'}",
        escaped(conclusion(report.summary)),
        *map(_group, found),
        _folded(f"findings: {len(report.findings):,}", grids["findings"]) if found else "",
        _folded(f"ignored: {len(ignored):,}", grids["ignored"]) if ignored else "",
        _folded(f"rules: {states}", grids["rules"]),
        bullets(report.notes, *skips(report.skipped)),
    ]
    return "\n\n".join(filter(None, parts))


def several(checks: Checks, layout: Layout = UNBOUNDED) -> str:
    """The verdict on all, then each checkpoint."""
    found = [render(report, layout) for report in checks.reports]
    if layout.quiet:
        names = [f"### {code(path_of(report))}" for report in checks.reports]
        return "\n\n".join(part for pair in zip(names, found, strict=True) for part in pair)
    unread = [
        f"### {code(printable(one.path))}: not read\n\n{escaped(printable(one.problem))}"
        for one in checks.unread
    ]
    parts = [f"### {escaped(checks.conclusion)}", bullets(checks.notes), *found, *unread]
    return "\n\n".join(filter(None, parts))


def _group(group: FindingGroup) -> str:
    """A paragraph on what was found, with the tensors and what to try below it."""
    named, rest = group.named()
    lines = [
        ": ".join(filter(None, [code(printable(name)), escaped(printable(words))]))
        for name, words in named
    ]
    lines += [f"and {rest:,} more"] if rest else []
    lines.append(f"help: {escaped(group.remedy)}")
    head = f"**{escaped(printable(group.mark))}**: {escaped(printable(group.sentence))}"
    return f"{head}\n\n{bullets((), *lines)}"


def _folded(summary: str, markdown: str) -> str:
    """Markdown under a line that opens it."""
    return f"<details>\n<summary>{summary}</summary>\n\n{markdown}\n\n</details>"
