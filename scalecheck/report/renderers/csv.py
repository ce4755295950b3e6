"""Comma-separated values of every field, a line a row, as RFC 4180 and spreadsheets have it."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from scalecheck.report.formatting import finite, printable
from scalecheck.report.report import UNBOUNDED, Column, Layout, Report


def renders(kind: str) -> bool:
    return True


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The principal rows as CSV text: shapes as 64x48, lists joined by a semicolon, quantiles one a
    column, None and what is not finite as nothing. Optimizer states of no certain tensor have rows
    too, and what was skipped, its reason among the flags, or in a check as the message."""
    columns = report.tables[0].columns
    rows = report.rows_of(report.tables[0].name)
    readers = [(column, column.reader(rows)) for column in columns]
    lines = [_fields((column, read(row)) for column, read in readers) for row in rows]
    for row in report.rows_of("states"):
        lines.append(_fields((column, row.get(column.name)) for column in columns))
    for entry in report.skipped:
        told = f"skipped: {entry['reason']}"
        known = {**entry, "flags": [told], "quantiles": {}, "where": entry["name"], "message": told}
        lines.append(_fields((column, known.get(column.name)) for column in columns))
    out = io.StringIO()
    names = list(lines[0]) if lines else [column.name for column in columns]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue().removesuffix("\n")


def _fields(cells: Iterable[tuple[Column, Any]]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for column, value in cells:
        if isinstance(value, Mapping):
            fields |= {f"{column.name}_{key}": number for key, number in value.items()}
        elif isinstance(value, list | tuple):
            joint = "x" if column.unit == "shape" else ";"
            fields[column.name] = printable(joint.join(map(str, value)))
        elif isinstance(value, str):
            # A spreadsheet would run a name that begins like a formula.
            is_formula = value.startswith(("=", "+", "-", "@"))
            fields[column.name] = printable(f"'{value}" if is_formula else value)
        else:
            fields[column.name] = finite(value) if isinstance(value, float) else value
    return fields
