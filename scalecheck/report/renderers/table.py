"""A table for a terminal: names are shortened and the least telling columns left out to fit it."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from scalecheck.report import formatting
from scalecheck.report.cells import GRAPHIC, cells, is_left
from scalecheck.report.formatting import columns_wide
from scalecheck.report.lines import in_ascii, skipped, wrapped
from scalecheck.report.report import UNBOUNDED, Column, Layout, Report, Table

_GAP = 2  # blanks between columns
_NAME_WIDTH = 28  # a name is not shortened below this, nor to what another is shortened to
_PREFIX = 12  # a beginning that all names share is worth a line of its own from this length on
_NOTES = 5  # sentences under the tables; the others are counted
_LEAST_NOTES = 2  # of these, where there are so many notes beside the totals
_NUMBERS = {"number", "percent_per_step", "percent_of_norm", "measured", "percent", "setting"}
_NUMBER = re.compile(r"-?\d[\d,]*(\.\d*)?")


def renders(kind: str) -> bool:
    return True


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The conclusion and the headline, each table with its title and notes, the first of the totals
    and notes, and what was skipped, as lines of text."""
    shown = [
        table for table in report.tables if layout.verbose or layout.quiet or not table.is_detail
    ]
    tables, alike = (
        (shown, {}) if layout.quiet or not shown else _without_alike(shown, report.in_headline)
    )
    parts = [] if layout.quiet else ["\n".join(_head(report, alike, layout))]
    prefixes: dict[str, None] = {}
    left_out: dict[str, None] = {}
    for table in tables:
        text, prefix, lost = _grid(table, layout)
        prefixes |= dict.fromkeys([prefix] if prefix else [])
        left_out |= dict.fromkeys(lost)
        if layout.quiet:
            parts += [text] if table.shown else []
        else:
            notes = "\n".join(wrapped(note, layout.width) for note in table.notes)
            title = layout.paint(table.title, "strong") if table.title else ""
            parts += [title, text, notes] if text or notes else []
    if not layout.quiet:
        parts.append("\n".join(filter(None, _below(report, [*prefixes], [*left_out], layout))))
    text = "\n\n".join(filter(None, parts))
    return text if layout.blocks else in_ascii(text)


def _head(report: Report, alike: Mapping[str, str], layout: Layout) -> Iterator[str]:
    """The conclusion, what was looked at, and what is the same in every row."""
    is_alarm = report.tone in ("error", "warning")
    for place, line in enumerate(report.conclusion):
        meaning = report.tone or "strong" if is_alarm or not place else ""
        yield _painted(wrapped(line, layout.width), meaning, layout)
    if report.headline:
        lines = (wrapped(line, layout.width) for line in report.headline.splitlines())
        yield _painted("\n".join(lines), "dim" if report.conclusion else "strong", layout)
    if alike:
        words = ", ".join(
            f"{title[:-2]} {cell} %" if title.endswith(" %") else f"{title} {cell}"
            for title, cell in alike.items()
        )
        yield _painted(wrapped(f"in every row: {words}", layout.width), "dim", layout)


def _below(
    report: Report, prefixes: Sequence[str], left_out: Sequence[str], layout: Layout
) -> Iterator[str]:
    totals, notes = report.totals.splitlines(), report.notes
    shown = [*totals, *notes]
    if not layout.verbose:  # both are heard, where both have much to say
        told = min(len(notes), max(_NOTES - len(totals), _LEAST_NOTES))
        shown = [*totals[: _NOTES - told], *notes[:told]]
    yield from (wrapped(sentence, layout.width) for sentence in shown)
    if hidden := len(totals) + len(notes) - len(shown):
        more = formatting.plural(hidden, "more note")
        yield layout.paint(f"{more}: --verbose shows them", "dim")
    if details := 0 if layout.verbose else sum(table.is_detail for table in report.tables):
        yield layout.paint(f"{formatting.plural(details, 'table')}: --verbose shows them", "dim")
    for line in skipped(report.skipped, layout.verbose):
        yield layout.paint(line, "dim")
    for prefix in prefixes:
        yield layout.paint(f"names begin with {prefix}", "dim")
    if left_out:
        words = f"left out to fit {layout.width} characters: {', '.join(left_out)}"
        yield _painted(wrapped(words, layout.width), "dim", layout)


def _painted(text: str, meaning: str, layout: Layout) -> str:
    """Each line of the text in the colour of a meaning."""
    return "\n".join(layout.paint(line, meaning) if line else "" for line in text.split("\n"))


def _without_alike(
    tables: Sequence[Table], in_headline: Collection[str]
) -> tuple[list[Table], dict[str, str]]:
    """The tables without the columns, of those that may be left out, that say the same in every row
    of all of them; and what these say, by their titles, but for what the headline says."""
    of_rows = [table for table in tables if table.name == tables[0].name and table.rows]
    if sum(len(table.rows) for table in of_rows) < 2:
        return [*tables], {}
    first = {column.name: column for column in of_rows[0].shown if column.rank and column.name}
    alike: dict[str, str] = {}
    for name, column in first.items():
        if column.unit in GRAPHIC or any(name not in _names(table) for table in of_rows):
            continue
        found = {line[0] for table in of_rows for line in cells(table, [_named(table, name)])}
        if len(found) == 1 and (word := found.pop()):
            alike[name] = word
    kept = [
        replace(table, shown=[c for c in table.shown if c.name not in alike])
        if table in of_rows
        else table
        for table in tables
    ]
    words = {first[name].title: word for name, word in alike.items() if name not in in_headline}
    return kept, words


def _names(table: Table) -> set[str]:
    return {column.name for column in table.shown}


def _named(table: Table, name: str) -> Column:
    return next(column for column in table.shown if column.name == name)


def _grid(table: Table, layout: Layout) -> tuple[str, str, list[str]]:
    """The table as text, empty without rows under a title or without columns to show; the beginning
    taken from its names, and the columns left out to fit."""
    if not table.shown or not (table.rows or layout.quiet):
        return "", "", []
    columns = [c for c in table.shown if layout.blocks or c.unit not in GRAPHIC]
    grid = cells(table, columns)
    _align_points(columns, grid)
    prefix = ""
    left_out: list[str] = []
    if layout.width is not None:
        prefix = _without_prefix(columns, grid, layout.width)
        columns, grid, left_out = _fitted(columns, grid, layout.width)
    widths = _widths(columns, grid)
    titles = _line([column.title for column in columns], columns, widths)
    rule = _line(["-" * width for width in widths], columns, widths)
    texts = [layout.paint(titles, "strong"), layout.paint(rule, "dim")]
    marks = _marks(table, columns, layout)
    texts += [
        _line(line, columns, widths, marks[place] if marks else None, layout)
        for place, line in enumerate(grid)
    ]
    return "\n".join(texts), prefix, left_out


def _line(
    texts: Sequence[str],
    columns: Sequence[Column],
    widths: Sequence[int],
    marks: Sequence[str] | None = None,
    layout: Layout = UNBOUNDED,
) -> str:
    """The cells of a row side by side, each in the colour of its mark."""
    parts: list[str] = []
    for place, (text, column, width) in enumerate(zip(texts, columns, widths, strict=True)):
        blanks = " " * (width - columns_wide(text))
        painted = layout.paint(text, marks[place]) if marks and marks[place] and text else text
        parts.append(painted + blanks if is_left(column) else blanks + painted)
    return (" " * _GAP).join(parts).rstrip()


def _marks(table: Table, columns: Sequence[Column], layout: Layout) -> list[list[str]]:
    """What each cell means; none where nothing is painted."""
    mark = table.mark
    if mark is None or layout.paint is UNBOUNDED.paint:
        return []
    return [[mark(row, column.name) for column in columns] for row in table.seen]


def _align_points(columns: Sequence[Column], grid: Sequence[list[str]]) -> None:
    """Blanks behind the numbers of each column, in place, so that their points stand in a line."""
    for place, column in enumerate(columns):
        if column.unit not in _NUMBERS:
            continue
        tails = [
            len(found[1] or "") if (found := _NUMBER.fullmatch(line[place])) else None
            for line in grid
        ]
        longest = max((tail for tail in tails if tail is not None), default=0)
        for line, tail in zip(grid, tails, strict=True):
            if tail is not None:
                line[place] += " " * (longest - tail)


def _widths(columns: Sequence[Column], grid: Sequence[Sequence[str]]) -> list[int]:
    return [
        max([columns_wide(column.title), *(columns_wide(line[place]) for line in grid)])
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
    longest = max(map(columns_wide, names), default=0)
    different = len(set(names))
    for width in range(min(_NAME_WIDTH, longest), longest):
        if len({formatting.shortened(name, width) for name in names}) == different:
            return width
    return longest
