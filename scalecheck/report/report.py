"""What a command says, before any formatting: raw numbers in base units, and how to show them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from operator import attrgetter, itemgetter
from typing import Any, overload

from scalecheck import registry
from scalecheck.errors import UsageError
from scalecheck.report.formatting import inert, inert_but_colours

_NEAR = 3  # names that are like one that is not there

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a report.

    `name` is its word in JSON, CSV and on the command line, `title` its head in a table. `unit`
    says how a cell is written: text (a name), sentence, words, written (a figure that is text),
    number, percent_per_step, percent_of_norm (shares, in tables in %), measured (None is not
    finite), setting, power, count, percent, shape, bar, chart, spark.
    Of the columns that do not fit a terminal the one of highest `rank` goes first; rank 0 never
    goes. `get`, `merge` and `cell` give the value of an item, that of several items as one group,
    and what a table shows of an item, where these are not the plain ones.
    """

    name: str
    title: str
    unit: str
    help: str
    rank: int = 0
    get: Callable[[Any], Any] | None = None
    merge: Callable[[Sequence[Any]], Any] | None = None
    cell: Callable[[Any], Any] | None = None

    @cached_property
    def read(self) -> Callable[[Any], Any]:
        """Gives the value of an object, for JSON, CSV and sorting: by `get`, else the attribute
        that has the column's name."""
        return self.get or attrgetter(self.name)

    def reader(self, rows: Sequence[Any]) -> Callable[[Any], Any]:
        """Gives the value of one of these rows, which are objects or mappings by column."""
        are_mappings = isinstance(rows, Rows) or (rows and isinstance(rows[0], Mapping))
        return itemgetter(self.name) if are_mappings else self.read

    def merged(self, items: Sequence[Any]) -> Any:
        """The value of several items as one group: by `merge`, else the one that all share; None
        where they differ or there is no item."""
        if self.merge is not None:
            return self.merge(items)
        values = [*map(self.read, items)]
        return values[0] if values and all(value == values[0] for value in values) else None


class Rows(Sequence[Row]):
    """Rows of which each is made of an item when it is asked for, and not kept: the rows of a
    hundred thousand tensors take more than all that is known of these."""

    def __init__(self, items: Sequence[Any], made: Callable[[Any], Row]) -> None:
        self._items = items
        self._made = made

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Row]:
        return map(self._made, self._items)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> "Rows": ...
    def __getitem__(self, place: int | slice) -> "Row | Rows":
        if isinstance(place, slice):
            return Rows(self._items[place], self._made)
        return self._made(self._items[place])

    def at(self, places: Iterable[int]) -> "Rows":
        """Those at these places, in their order."""
        return Rows([self._items[place] for place in places], self._made)


@dataclass(frozen=True)
class Table:
    """Rows of one kind. `name` is their word in JSON, where tables of one name are one list.

    `rows` are mappings or typed objects, which the columns read. `columns` are the fields of the
    machine formats, in order; `shown` those that people see. `title` stands above the table,
    `notes` below it. `mark` gives the meaning, such as "warning", in whose colour a terminal shows
    a row's cell of a column by the column's name; empty for none. `order`, where there is one, is
    the key by which people see the rows sorted; programs get them as they are. `is_detail`: a
    terminal shows it by --verbose only.
    """

    name: str
    columns: Sequence[Column]
    shown: Sequence[Column]
    rows: Sequence[Any] = field(repr=False)
    title: str = ""
    notes: Sequence[str] = ()
    mark: Callable[[Any, str], str] | None = None
    order: Callable[[Any], Any] | None = None
    is_detail: bool = False

    @cached_property
    def seen(self) -> Sequence[Any]:
        """The rows as people see them."""
        if self.order is None:
            return self.rows
        places = sorted(range(len(self.rows)), key=[*map(self.order, self.rows)].__getitem__)
        if isinstance(self.rows, Rows):
            return self.rows.at(places)
        return [self.rows[place] for place in places]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows as plain values by the columns' names."""
        readers = [(column.name, column.reader(self.rows)) for column in self.columns]
        return [{name: _plain(read(row)) for name, read in readers} for row in self.rows]


@dataclass(frozen=True, repr=False)
class Report:
    """The result of a command: a sequence of its rows, each a dict of plain values by the fields of
    JSON, and a table where it is printed.

    `tables` hold what was found, the principal one first. `source` says what was looked at,
    `settings` how; `skipped` lists what was not analysed, with a reason each; `summary` counts, for
    programs. `conclusion`, which goes first, `headline`, `totals` and `notes`, the most important
    first, are sentences for people. `tone`: the meaning in whose colour a terminal shows the
    conclusion, "error", "warning" or "ok"; empty for none. `in_headline`: columns whose value the
    headline says where it is the same in every row. `failed`: a check has findings that fail
    it, a simulation a law that breaks.
    """

    kind: str
    tables: Sequence[Table]
    source: Mapping[str, Any]
    settings: Mapping[str, Any]
    skipped: Sequence[Mapping[str, Any]] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    conclusion: Sequence[str] = ()
    headline: str = ""
    totals: str = ""
    notes: Sequence[str] = ()
    failed: bool = False
    tone: str = ""
    in_headline: Collection[str] = ()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the principal table, and of those of its name, as JSON has them: numbers,
        text, None, and lists of them."""
        return [row for table in self._principal for row in table.records]

    @property
    def _principal(self) -> list[Table]:
        return [table for table in self.tables if table.name == self.tables[0].name]

    def __len__(self) -> int:
        """How many rows there are."""
        return sum(len(table.rows) for table in self._principal)

    def __bool__(self) -> bool:
        """A report is true, also without rows."""
        return True

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> dict[str, Any]:
        """The row of a tensor or group by its name. Raises KeyError where there is none, or where a
        check has several findings on it."""
        names = [_name_of(row) for table in self._principal for row in table.rows]
        found = [row for row, own in zip(self.rows, names, strict=True) if own == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise KeyError(f"{name}: has {len(found)} rows; go through the report for them")
        from difflib import get_close_matches

        near = get_close_matches(str(name), [own for own in names if own], _NEAR)
        hint = f"; did you mean {' or '.join(near)}?" if near else f", of {len(names)}"
        raise KeyError(f"no row is called {name}{hint}")

    def to_pandas(self) -> Any:
        """The rows as a pandas.DataFrame, a column for each field. Raises ImportError where pandas
        is not installed."""
        try:
            pandas = import_module("pandas")
        except ModuleNotFoundError:
            raise ImportError("Report.to_pandas needs pandas: pip install pandas") from None
        names = dict.fromkeys(c.name for table in self._principal for c in table.columns)
        return pandas.DataFrame(self.rows, columns=[*names])

    @property
    def findings(self) -> list[Any]:
        """What the rules found; none where the command has no rules."""
        return self.rows_of("findings")

    def rows_of(self, name: str) -> list[Any]:
        """The rows of the tables of one name; none where there is no such table."""
        return [row for table in self.tables if table.name == name for row in table.rows]

    @property
    def schema(self) -> str:
        return f"scalecheck.{self.kind}/1"

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return self.rendered("text" if self.kind == "check" else "table")

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        html: str = import_module("scalecheck.report.notebook").html(self)
        return html

    def _repr_markdown_(self) -> str:
        """What a notebook shows that shows no HTML."""
        return self.rendered("markdown")

    def rendered(self, format: str) -> str:
        """The report as text of a format, such as "json". Raises KeyError where no renderer of that
        name renders it."""
        known = renderers_for(self.kind)
        if format not in known:
            raise KeyError(f"no renderer of {self.kind} is called {format}: {', '.join(known)}")
        return rendering(registry.load("renderer", format), self)


def _name_of(row: Any) -> str | None:
    """The name of a row, or of a finding the tensor that it is of."""
    if isinstance(row, Mapping):
        name = row.get("name")
    else:
        name = getattr(row, "name", getattr(row, "where", None))
    return name or None


def _plain(value: Any) -> Any:
    """A value as Python's own types hold it: a number of numpy's as a float, a tuple as a list."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [*map(_plain, value)]
    return value.item() if hasattr(value, "item") else str(value)


def plain(text: str, meaning: str) -> str:
    """The text without colour."""
    return text


@dataclass(frozen=True)
class Layout:
    """The room a report is shown in: columns of text (None for as many as it takes), whether block
    characters print, whether only the rows are wanted, or every note, and what gives a text the
    colour of a meaning: "error", "warning", "note", "ok", "strong", "dim", or "link:URL"."""

    width: int | None = None
    blocks: bool = True
    quiet: bool = False
    verbose: bool = False
    paint: Callable[[str, str], str] = plain


UNBOUNDED = Layout()


def rendering(renderer: Any, report: Report, layout: Layout = UNBOUNDED) -> str:
    """The report as text of a renderer in which no line is a command to the runner of a CI, but for
    those that the renderer means."""
    return "".join(pieces(renderer, report, layout))


def pieces(renderer: Any, report: Report, layout: Layout = UNBOUNDED) -> Iterator[str]:
    """The same, some lines at a time where the renderer gives it so."""
    own = inert if layout.paint is plain else inert_but_colours
    without: Callable[[str], str] = getattr(renderer, "inert", own)
    whole: Callable[[Report, Layout], Iterable[str]] | None = getattr(renderer, "pieces", None)
    texts = [renderer.render(report, layout)] if whole is None else whole(report, layout)
    return map(without, texts)


def renderers_for(kind: str) -> list[str]:
    """The formats of a report of this kind: the names of the renderers that render it."""
    return [name for name in registry.names("renderer") if _renders(name, kind)]


def _renders(name: str, kind: str) -> bool:
    try:
        return bool(registry.load("renderer", name).renders(kind))
    except UsageError:  # of another package; it is told to those who ask for this renderer
        return True
