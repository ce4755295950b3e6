"""A table for a terminal: names are shortened and the least telling columns left out to fit it."""

from collections.abc import Sequence

from tabulate import tabulate

from scalecheck.report import figures
from scalecheck.report.cells import GRAPHIC, cells, is_left
from scalecheck.report.report import UNBOUNDED, Column, Layout, Report, Row

_GAP = 2  # what tabulate's "plain" format puts between columns
_NAME_WIDTH = 28  # a name is not shortened below this as long as there is a column to leave out
_SKIPPED_LINES = 10  # of what was skipped; the rest is counted


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The headline, the table, the totals, what was skipped and the notes, as lines of text."""
    columns = [c for c in report.shown if layout.blocks or c.unit not in GRAPHIC]
    grid = cells(report, columns)
    kept = _fitting(columns, grid, layout.width)
    left_out = [
        column.title
        for column, texts in zip(columns, zip(*grid, strict=True), strict=False)
        if column not in kept and any(texts)
    ]
    places = [columns.index(column) for column in kept]
    grid = [[line[place] for place in places] for line in grid]
    _shorten(kept, grid, layout.width)
    rules = ["-" * width for width in _widths(kept, grid)]
    table = tabulate(
        [[column.title for column in kept], rules, *grid],
        tablefmt="plain",
        disable_numparse=True,
        colalign=["left" if is_left(column) else "right" for column in kept],
    )
    table = "\n".join(line.rstrip() for line in table.splitlines())
    if layout.quiet:
        return table
    below = [report.totals, *(_skipped(entry) for entry in report.skipped[:_SKIPPED_LINES])]
    if len(report.skipped) > _SKIPPED_LINES:
        below.append(f"skipped: {len(report.skipped) - _SKIPPED_LINES} more, see --format json")
    below += report.notes
    if left_out:
        below.append(f"not shown at {layout.width} columns of text: {', '.join(left_out)}")
    return "\n".join([report.headline, "", table, "", *filter(None, below)])


def _skipped(entry: Row) -> str:
    return f"skipped: {figures.text(entry['name'])} ({entry['dtype']}): {entry['reason']}"


def _widths(columns: Sequence[Column], grid: Sequence[Sequence[str]]) -> list[int]:
    return [
        max([len(column.title), *(len(line[place]) for line in grid)])
        for place, column in enumerate(columns)
    ]


def _fitting(
    columns: Sequence[Column], grid: Sequence[Sequence[str]], width: int | None
) -> list[Column]:
    """The columns that fit beside names of _NAME_WIDTH: first those go that are empty, then those
    whose cells are all alike, then those of highest rank."""
    widths = _widths(columns, grid)
    needed = sum(widths) + _GAP * (len(columns) - 1) - max(0, widths[0] - _NAME_WIDTH)
    telling = [len({line[place] for line in grid} - {""}) for place in range(len(columns))]
    order = sorted(
        range(1, len(columns)),
        key=lambda i: (min(telling[i], 2 if len(grid) > 1 else 1), -columns[i].rank),
    )
    kept = set(range(len(columns)))
    for place in order:
        if width is not None and needed > width and columns[place].rank:
            kept.remove(place)
            needed -= widths[place] + _GAP
    return [columns[place] for place in sorted(kept)]


def _shorten(columns: Sequence[Column], grid: Sequence[list[str]], width: int | None) -> None:
    """Cuts the names, in place, to what the other columns leave of the width."""
    if width is None:
        return
    widths = _widths(columns, grid)
    room = max(8, width - sum(w + _GAP for w in widths[1:]))
    for line in grid:
        line[0] = figures.shortened(line[0], room)
