"""Comma-separated values of every field, a line a row, as RFC 4180 and spreadsheets have it."""

import csv
import io
import math
from collections.abc import Mapping
from typing import Any

from scalecheck.report import formatting
from scalecheck.report.report import UNBOUNDED, Column, Layout, Report


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The principal rows as CSV text: shapes as 64x48, lists joined by a semicolon, quantiles one a
    column, None and what is not finite as nothing. What was skipped has a row too, its reason among
    the flags."""
    columns = report.tables[0].columns
    absent: dict[str, Any] = {**dict.fromkeys(column.name for column in columns), "quantiles": {}}
    lines = [
        *(_fields({column: column.value(row) for column in columns}) for row in report.rows),
        *(
            _fields({column: skipped[column.name] for column in columns})
            for entry in report.skipped
            for skipped in [{**absent, **entry, "flags": [f"skipped: {entry['reason']}"]}]
        ),
    ]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue().removesuffix("\n")


def _fields(values: Mapping[Column, Any]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for column, value in values.items():
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
