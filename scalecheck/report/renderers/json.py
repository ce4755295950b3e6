"""One JSON object with every field in base units at full precision, a line a row, so that a stored
report reads well in a diff. The schema is versioned."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from scalecheck import __version__
from scalecheck.report.checks import SCHEMA, Checks
from scalecheck.report.formatting import finite
from scalecheck.report.report import UNBOUNDED, Layout, Report, Table
from scalecheck.report.runner_commands import without_commands_in_strings

inert = without_commands_in_strings

_encoded = json.JSONEncoder(allow_nan=False).encode


def renders(kind: str) -> bool:
    return True


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The report as JSON text; a number that is not finite is null."""
    return "".join(pieces(report, layout))


def pieces(report: Report, layout: Layout = UNBOUNDED) -> Iterator[str]:
    """The same line by line: a row is made when it is written, so that none are kept."""
    tables: dict[str, list[Table]] = {}
    for table in report.tables:
        tables.setdefault(table.name, []).append(table)
    rows = {name: _Records(those) for name, those in tables.items()}
    fields: dict[str, Any] = {
        "schema": report.schema,
        "version": __version__,
        "source": report.source,
        "settings": report.settings,
        **rows,
        "findings": rows.get("findings", []),
        **({"summary": report.summary} if report.summary else {}),
        "skipped": report.skipped,
        "notes": report.notes,
    }
    yield "{\n"
    for place, (name, value) in enumerate(fields.items(), 1):
        yield from _field(name, value, "\n" if place == len(fields) else ",\n")
    yield "}"


def several(checks: Checks, layout: Layout = UNBOUNDED) -> str:
    """One object with the reports of all as they are alone."""
    fields = {
        "schema": SCHEMA,
        "version": __version__,
        "summary": checks.summary,
        "unread": [asdict(one) for one in checks.unread],
        "notes": checks.notes,
    }
    head = "".join(line for name, value in fields.items() for line in _field(name, value, ",\n"))
    reports = ",\n".join(render(report, layout) for report in checks.reports)
    return (
        f'{{\n{head} "reports": [\n{reports}\n]\n}}' if reports else f'{{\n{head} "reports": []\n}}'
    )


class _Records:
    """The rows of tables of one name as objects of JSON."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self._tables = [table for table in tables if table.rows]

    def __bool__(self) -> bool:
        return bool(self._tables)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for table in self._tables:
            readers = [(column.name, column.reader(table.rows)) for column in table.columns]
            for row in table.rows:
                yield {name: read(row) for name, read in readers}


def _field(name: str, value: Any, end: str) -> Iterator[str]:
    """A list with an entry a line, anything else on one."""
    if not isinstance(value, list | tuple | _Records):
        yield f" {_dumps(name)}: {_dumps(value)}{end}"
        return
    if not value:
        yield f" {_dumps(name)}: []{end}"
        return
    yield f" {_dumps(name)}: [\n"
    last = None
    for entry in value:
        if last is not None:
            yield f"  {last},\n"
        last = _dumps(entry)
    yield f"  {last}\n ]{end}"


def _dumps(value: Any) -> str:
    try:
        return _encoded(value)
    except ValueError:
        return _encoded(_with_nulls(value))


def _with_nulls(value: Any) -> Any:
    """The value with null for each number that JSON has no word for."""
    if isinstance(value, Mapping):
        return {name: _with_nulls(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nulls(entry) for entry in value]
    return finite(value) if isinstance(value, float) else value
