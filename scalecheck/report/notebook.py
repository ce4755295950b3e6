"""A report as a notebook shows it."""

from html import escape

from scalecheck.report.cells import cells, is_left
from scalecheck.report.lines import skipped
from scalecheck.report.report import Report, Table

_FOLDED = ("rules",)  # tables that are opened by a click


def html(report: Report) -> str:
    """The headline, each table with its title and notes, the totals, what was skipped and the
    notes, all of it escaped."""
    parts = [_lines([*report.conclusion, *report.headline.splitlines()], "strong")]
    for table in report.tables:
        if table.shown and (table.rows or not table.title):
            grid = _grid(table)
            if table.name in _FOLDED:
                grid = f"<details><summary>{escape(table.title)}</summary>{grid}</details>"
            elif table.title:
                grid = f"<p><strong>{escape(table.title)}</strong></p>{grid}"
            parts += [grid, _lines([*table.notes])]
    below = [*report.totals.splitlines(), *skipped(report.skipped), *report.notes]
    return "\n".join(filter(None, [*parts, _lines(below)]))


def _grid(table: Table) -> str:
    sides = ["left" if is_left(column) else "right" for column in table.shown]
    head = _row("th", sides, [column.title for column in table.shown])
    body = "\n".join(_row("td", sides, line) for line in cells(table, table.shown))
    return f"<table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _row(tag: str, sides: list[str], texts: list[str]) -> str:
    written = (
        f'<{tag} style="text-align: {side}; white-space: nowrap">{escape(text)}</{tag}>'
        for side, text in zip(sides, texts, strict=True)
    )
    return f"<tr>{''.join(written)}</tr>"


def _lines(lines: list[str], tag: str = "span") -> str:
    """Lines of text, one under the other."""
    return f"<p>{'<br>'.join(f'<{tag}>{escape(x)}</{tag}>' for x in lines)}</p>" if lines else ""
