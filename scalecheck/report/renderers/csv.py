"""Comma-separated values of every field, a line a row, as RFC 4180 and spreadsheets have it."""

import csv
import io
import json

from scalecheck.report import figures
from scalecheck.report.report import UNBOUNDED, Layout, Report


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The rows as CSV text: shapes as 64x48, lists joined by a semicolon, None as nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in report.columns])
    for row in report.rows:
        writer.writerow([_cell(row[column.name], column.unit) for column in report.columns])
    return out.getvalue().removesuffix("\n")


def _cell(value: object, unit: str) -> object:
    if isinstance(value, str):
        # A spreadsheet would run a name that begins like a formula, a terminal an escape sequence.
        return figures.text(f"'{value}" if value.startswith(("=", "+", "-", "@")) else value)
    if isinstance(value, list):
        return ("x" if unit == "shape" else ";").join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else value
