"""A Markdown table as GitHub renders it, for a job summary, a comment or a notebook."""

from scalecheck.report.github_markdown import escaped, grid, listed, skips
from scalecheck.report.report import UNBOUNDED, Layout, Report


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The report as Markdown, names in code spans and everything else escaped."""
    if layout.quiet:
        return "\n\n".join(grid(table, table.shown) for table in report.tables if table.shown)
    parts = [escaped(report.headline)]
    for table in report.tables:
        parts += [f"**{escaped(table.title)}**"] if table.title else []
        parts += (
            [grid(table, table.shown)] if table.shown and (table.rows or not table.title) else []
        )
        parts += [listed(table.notes)] if table.notes else []
    parts.append(listed((*report.totals.splitlines(), *report.notes), *skips(report.skipped)))
    return "\n\n".join(parts)
