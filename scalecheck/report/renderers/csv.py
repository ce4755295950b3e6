"""Comma-separated values of every field, a line a row, as RFC 4180 and spreadsheets have it."""

import csv
import io
import math
from collections.abc import Sequence

from scalecheck.report import formatting
from scalecheck.report.report import UNBOUNDED, Column, Layout, Report, Row


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The principal rows as CSV text: shapes as 64x48, lists joined by a semicolon, quantiles one a
    column, None and what is not finite as nothing. What was skipped has a row too, its reason among
    the flags."""
    skipped = [
        {**entry, "flags": [f"skipped: {entry['reason']}"], "quantiles": {}}
        for entry in report.skipped
    ]
    lines = [_fields(report.tables[0].columns, row) for row in (*report.rows, *skipped)]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue().removesuffix("\n")


def _fields(columns: Sequence[Column], row: Row) -> dict[str, object]:
    fields: dict[str, object] = {}
    for column in columns:
        value = row.get(column.name)
        if isinstance(value, dict):
            fields |= {f"{column.name}_{key}": number for key, number in value.items()}
        elif isinstance(value, list):
            joint = "x" if column.unit == "shape" else ";"
            fields[column.name] = formatting.text(joint.join(map(str, value)))
        elif isinstance(value, str):
            fields[column.name] = _text(value)
        else:
            is_endless = isinstance(value, float) and not math.isfinite(value)
            fields[column.name] = None if is_endless else value
    return fields


def _text(words: str) -> str:
    """A spreadsheet would run a name that begins like a formula, a terminal an escape sequence."""
    return formatting.text(f"'{words}" if words.startswith(("=", "+", "-", "@")) else words)
