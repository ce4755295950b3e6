"""Comma-separated values of every field, a line a row, as RFC 4180 and spreadsheets have it."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from scalecheck.report.checks import Checks
from scalecheck.report.finding import FINDINGS, path_of
from scalecheck.report.formatting import finite, printable
from scalecheck.report.report import UNBOUNDED, Column, Layout, Report


def renders(kind: str) -> bool:
    return True


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The principal rows as CSV text: shapes as 64x48, lists joined by a semicolon, quantiles one a
    column, None and what is not finite as nothing. Optimizer states of no certain tensor have rows
    too, and what was skipped, its reason among the flags, or in a check as the message."""
    return "".join(pieces(report, layout))


def pieces(report: Report, layout: Layout = UNBOUNDED) -> Iterator[str]:
    """The same line by line: a row is made when it is written, so that none are kept."""
    lines = _lines(report)
    first = next(lines, None)
    names = [column.name for column in report.tables[0].columns] if first is None else [*first]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for line in chain(() if first is None else (first,), lines):
        yield out.getvalue()
        out.seek(0)
        out.truncate()
        writer.writerow(line)
    yield out.getvalue().removesuffix("\n")


def several(checks: Checks, layout: Layout = UNBOUNDED) -> str:
    """The findings of each checkpoint, with its path in a column of its own, and a line for each
    that could not be read."""
    lines = [{"path": path_of(one), **line} for one in checks.reports for line in _lines(one)]
    for one in checks.unread:
        lines.append(
            {"path": printable(one.path), "message": printable(f"not read: {one.problem}")}
        )
    names = ["path", *(column.name for column in FINDINGS)]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue().removesuffix("\n")


def _lines(report: Report) -> Iterator[dict[str, object]]:
    principal = report.tables[0]
    columns = principal.columns
    for table in report.tables:
        if table.name == principal.name:
            readers = [(column, column.reader(table.rows)) for column in columns]
            for row in table.rows:
                yield _fields((column, read(row)) for column, read in readers)
    for row in report.rows_of("states"):
        yield _fields((column, row.get(column.name)) for column in columns)
    for entry in report.skipped:
        told = f"skipped: {entry['reason']}"
        known = {**entry, "flags": [told], "quantiles": {}, "where": entry["name"], "message": told}
        yield _fields((column, known.get(column.name)) for column in columns)


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
