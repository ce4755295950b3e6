"""The cells of a report as text, for the renderers that people read."""

from collections.abc import Callable, Sequence
from typing import Any

from scalecheck.report import formatting
from scalecheck.report.report import Column, Table

GRAPHIC = frozenset({"bar", "chart", "spark"})

_CHART_WIDTH = 32

_WRITERS: dict[str, Callable[[Any], str]] = {
    "text": lambda words: formatting.printable(words or ""),
    "sentence": lambda words: formatting.printable(words or ""),
    "written": lambda words: words,
    "setting": formatting.setting,
    "power": str,
    "count": formatting.count,
    "percent": formatting.percent,
    "shape": lambda shape: "" if shape is None else "×".join(map(str, shape)) or "scalar",
    "words": lambda words: ", ".join(words),
    "spark": formatting.spark,
}


def is_left(column: Column) -> bool:
    """Words stand to the left, numbers to the right."""
    return column.unit in {"text", "sentence", "words", "bar", "spark", "chart"}


def cells(table: Table, columns: Sequence[Column]) -> list[list[str]]:
    """Every row as text, in the order of the columns."""
    readers = [column.cell or column.reader(table.rows) for column in columns]
    values = [[read(row) for read in readers] for row in table.seen]
    texts = [
        _texts([line[place] for line in values], column) for place, column in enumerate(columns)
    ]
    return [list(line) for line in zip(*texts, strict=True)]


def _texts(values: Sequence[Any], column: Column) -> list[str]:
    """The cells of a column, of its values."""
    if column.unit == "percent_per_step":
        return formatting.in_one_notation([None if x is None else 100 * x for x in values], 3)
    if column.unit in ("number", "measured"):
        none = "not finite" if column.unit == "measured" else ""
        texts = formatting.in_one_notation(values)
        return [none if x is None else text for x, text in zip(values, texts, strict=True)]
    if column.unit not in ("bar", "chart"):
        return [*map(_WRITERS[column.unit], values)]
    known = [x for x in values if x]
    low, high = min(known, default=1.0), max(known, default=1.0)
    # The shortest bar stands for a little less than the smallest scale, and a table of equal scales
    # shows equal bars.
    width = _CHART_WIDTH if column.unit == "chart" else 8
    return [formatting.bar(x, low / 2 or low, max(high, 10 * low), width) for x in values]
