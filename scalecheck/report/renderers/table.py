"""A table for a terminal: names are shortened and the least telling columns left out to fit it."""

from collections.abc import Sequence
from itertools import takewhile

from scalecheck.report import formatting
from scalecheck.report.cells import GRAPHIC, cells, is_left
from scalecheck.report.lines import in_ascii, skipped, wrapped
from scalecheck.report.report import UNBOUNDED, Column, Layout, Report, Table

_GAP = 2  # blanks between columns
_NAME_WIDTH = 28  # a name is not shortened below this, nor to what another is shortened to
_PREFIX = 12  # a beginning that all names share is worth a line of its own from this length on


def renders(kind: str) -> bool:
    return True


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The conclusion and the headline, each table with its title and notes, the totals, what was
    skipped and the notes, as lines of text."""
    conclusion = [wrapped(line, layout.width) for line in report.conclusion]
    parts = [] if layout.quiet else ["\n".join(filter(None, [*conclusion, report.headline]))]
    prefixes: dict[str, None] = {}
    left_out: dict[str, None] = {}
    for table in report.tables:
        text, prefix, lost = _grid(table, layout)
        prefixes |= dict.fromkeys([prefix] if prefix else [])
        left_out |= dict.fromkeys(lost)
        if layout.quiet:
            parts += [text] if table.shown else []
        else:
            notes = "\n".join(wrapped(note, layout.width) for note in table.notes)
            parts += [table.title, text, notes] if text or notes else []
    if not layout.quiet:
        totals = (wrapped(line, layout.width) for line in report.totals.splitlines())
        below = [*totals, *skipped(report.skipped)]
        below += [wrapped(note, layout.width) for note in report.notes]
        below += [f"names begin with {prefix}" for prefix in prefixes]
        if left_out:
            words = f"left out to fit {layout.width} characters: {', '.join(left_out)}"
            below.append(wrapped(words, layout.width))
        parts.append("\n".join(filter(None, below)))
    text = "\n\n".join(filter(None, parts))
    return text if layout.blocks else in_ascii(text)


def _grid(table: Table, layout: Layout) -> tuple[str, str, list[str]]:
    """The table as text, empty without rows under a title or without columns to show; the beginning
    taken from its names, and the columns left out to fit."""
    if (table.title and not table.rows) or not table.shown:
        return "", "", []
    columns = [c for c in table.shown if layout.blocks or c.unit not in GRAPHIC]
    grid = cells(table, columns)
    prefix = ""
    left_out: list[str] = []
    if layout.width is not None:
        prefix = _without_prefix(columns, grid, layout.width)
        columns, grid, left_out = _fitted(columns, grid, layout.width)
    widths = _widths(columns, grid)
    pads = [str.ljust if is_left(column) else str.rjust for column in columns]
    lines = [[column.title for column in columns], ["-" * width for width in widths], *grid]
    texts = (
        (" " * _GAP).join(pad(c, w) for pad, c, w in zip(pads, line, widths, strict=True))
        for line in lines
    )
    return "\n".join(text.rstrip() for text in texts), prefix, left_out


def _widths(columns: Sequence[Column], grid: Sequence[Sequence[str]]) -> list[int]:
    return [
        max([len(column.title), *(len(line[place]) for line in grid)])
        for place, column in enumerate(columns)
    ]


def _without_prefix(columns: Sequence[Column], grid: Sequence[list[str]], width: int) -> str:
    """Takes from the names, in place, what they all begin with, where the table is too wide."""
    widths = _widths(columns, grid)
    if len(grid) < 2 or columns[0].name != "name" or sum(widths) + _GAP * len(widths) <= width:
        return ""
    names = [line[0] for line in grid]
    shared = "".join(
        c for c, *_ in takewhile(lambda cs: len(set(cs)) == 1, zip(*names, strict=False))
    )
    prefix = shared[: shared.rfind(".") + 1]
    if len(prefix) < _PREFIX or widths[0] <= _NAME_WIDTH:
        return ""
    for line in grid:
        line[0] = "…" + line[0].removeprefix(prefix)
    return prefix


def _fitted(
    columns: Sequence[Column], grid: Sequence[list[str]], width: int
) -> tuple[list[Column], list[list[str]], list[str]]:
    """The columns and cells that fit, and the titles of columns that are left out: first those that
    are empty, then those whose cells are all alike, then those of highest rank. Names are cut to
    what the others leave, as long as they stay different."""
    widths = _widths(columns, grid)
    shortest = (
        _shortest_width([line[0] for line in grid]) if columns[0].name == "name" else widths[0]
    )
    needed = sum(widths) + _GAP * (len(columns) - 1) - max(0, widths[0] - shortest)

    def telling(place: int) -> tuple[int, int]:
        texts = {line[place] for line in grid}
        kinds = 0 if texts <= {""} else 1 if len(texts) == 1 < len(grid) else 2
        return kinds, -columns[place].rank

    kept = set(range(len(columns)))
    for place in sorted(range(1, len(columns)), key=telling):
        if needed > width and (columns[place].rank or telling(place)[0] == 0):
            kept.remove(place)
            needed -= widths[place] + _GAP
    places = sorted(kept)
    room = max(shortest, width - sum(widths[place] + _GAP for place in places[1:]))
    cut = [
        [formatting.shortened(line[0], room), *(line[place] for place in places[1:])]
        for line in grid
    ]
    left_out = [
        column.title
        for place, column in enumerate(columns)
        if place not in kept and any(line[place] for line in grid)
    ]
    return [columns[place] for place in places], cut, left_out


def _shortest_width(names: Sequence[str]) -> int:
    """The least width, from _NAME_WIDTH up, at which names that differ are not cut to the same."""
    longest = max(map(len, names), default=0)
    different = len(set(names))
    for width in range(min(_NAME_WIDTH, longest), longest):
        if len({formatting.shortened(name, width) for name in names}) == different:
            return width
    return longest
