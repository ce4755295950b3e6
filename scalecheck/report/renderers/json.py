"""One JSON object with every field in base units at full precision, a line a row, so that a stored
report reads well in a diff. The schema is versioned."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scalecheck import __version__
from scalecheck.report.formatting import finite
from scalecheck.report.report import UNBOUNDED, Layout, Report
from scalecheck.report.runner_commands import without_commands_in_strings

inert = without_commands_in_strings


def renders(kind: str) -> bool:
    return True


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The report as JSON text; a number that is not finite is null."""
    tables: dict[str, list[Any]] = {}
    for table in report.tables:
        readers = [(column.name, column.reader(table.rows)) for column in table.columns]
        records = [{name: read(row) for name, read in readers} for row in table.rows]
        tables.setdefault(table.name, []).extend(records)
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
