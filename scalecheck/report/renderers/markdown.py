"""A Markdown table as GitHub renders it, for a job summary, a comment or a notebook."""

import re
from collections.abc import Sequence

from tabulate import tabulate

from scalecheck.report import figures
from scalecheck.report.cells import cells, is_left
from scalecheck.report.report import UNBOUNDED, Layout, Report, Table


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The report as Markdown, names in code spans and everything else escaped."""
    if layout.quiet:
        return "\n\n".join(_grid(table) for table in report.tables if table.shown)
    parts = [_escaped(report.headline)]
    for table in report.tables:
        parts += [f"**{_escaped(table.title)}**"] if table.title else []
        parts += [_grid(table)] if table.shown and (table.rows or not table.title) else []
        parts += [_listed(table.notes)] if table.notes else []
    skipped = [
        f"skipped: {_code(figures.text(entry['name']))}: {_escaped(entry['reason'])}"
        for entry in report.skipped
    ]
    parts.append(_listed((*report.totals.splitlines(), *report.notes), *skipped))
    return "\n\n".join(parts)


def _grid(table: Table) -> str:
    columns = list(table.shown)
    grid = [
        [
            _code(cell) if column.unit == "text" else _escaped(cell)
            for column, cell in zip(columns, line, strict=True)
        ]
        for line in cells(table, columns)
    ]
    return tabulate(
        grid,
        [_escaped(column.title) for column in columns],
        tablefmt="github",
        disable_numparse=True,
        colalign=["left" if is_left(column) else "right" for column in columns] if grid else None,
    )


def _listed(sentences: Sequence[str], *escaped: str) -> str:
    return "\n".join(f"- {line}" for line in (*map(_escaped, sentences), *escaped))


def _escaped(words: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", words)


def _code(words: str) -> str:
    """A code span; a bar inside a table cell ends the cell even there, unless escaped."""
    if not words:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", words)), default=0) + 1)
    pad = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{pad}{words}{pad}{fence}".replace("|", "\\|")
