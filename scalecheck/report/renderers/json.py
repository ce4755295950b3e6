"""One JSON object with every field in base units at full precision, a line a row, so that a stored
report reads well in a diff. The schema is versioned."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scalecheck import __version__
from scalecheck.report.formatting import finite
from scalecheck.report.report import UNBOUNDED, Layout, Report, Table


def renders(kind: str) -> bool:
    return True


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The report as JSON text; a number that is not finite is null."""
    tables = {table.name: _records(report.named(table.name)) for table in report.tables}
    fields: dict[str, Any] = {
        "schema": report.schema,
        "version": __version__,
        "source": report.source,
        "settings": report.settings,
        **tables,
        "findings": tables.get("findings", []),
        **({"summary": report.summary} if report.summary else {}),
        "skipped": report.skipped,
        "notes": report.notes,
    }
    lines = [f" {_dumps(name)}: {_lines(value)}" for name, value in fields.items()]
    return "{\n" + ",\n".join(lines) + "\n}"


def _records(tables: Sequence[Table]) -> list[dict[str, Any]]:
    columns = tables[0].columns
    return [
        {column.name: column.value(row) for column in columns}
        for table in tables
        for row in table.rows
    ]


def _lines(value: Mapping[str, Any] | Sequence[Any] | str) -> str:
    """A list with an entry a line, anything else on one."""
    if not isinstance(value, list | tuple) or not value:
        return _dumps(value)
    return "[\n  " + ",\n  ".join(_dumps(entry) for entry in value) + "\n ]"


def _dumps(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_with_nulls(value), allow_nan=False)


def _with_nulls(value: Any) -> Any:
    """The value with null for each number that JSON has no word for."""
    if isinstance(value, Mapping):
        return {name: _with_nulls(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nulls(entry) for entry in value]
    return finite(value) if isinstance(value, float) else value
