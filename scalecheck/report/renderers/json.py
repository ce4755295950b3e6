"""One JSON object with every field in base units at full precision, a line a row, so that a stored
report reads well in a diff. The schema is versioned."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from scalecheck import __version__
from scalecheck.report.report import UNBOUNDED, Layout, Report


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The report as JSON text. Raises ValueError where a number is not finite."""
    names = [column.name for column in report.columns]
    fields: dict[str, Any] = {
        "schema": report.schema,
        "version": __version__,
        "source": report.source,
        "settings": report.settings,
        "rows": [{name: row[name] for name in names} for row in report.rows],
        "findings": report.findings,
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
    return json.dumps(value, allow_nan=False)
