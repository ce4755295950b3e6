"""The parts of a Markdown text as GitHub reads it."""

import re
from collections.abc import Sequence

from scalecheck.report.cells import cells, is_left
from scalecheck.report.formatting import printable
from scalecheck.report.report import Column, Row, Table


def grid(table: Table, columns: Sequence[Column]) -> str:
    """A table of these columns, names in code spans and everything else escaped."""
    # Imported here, as every command imports all renderers to name them, and few use this one.
    from tabulate import tabulate

    lines = [
        [
            # A bar ends the cell even in a code span, unless escaped.
            code(cell).replace("|", "\\|") if column.unit == "text" else escaped(cell)
            for column, cell in zip(columns, line, strict=True)
        ]
        for line in cells(table, columns)
    ]
    return tabulate(
        lines,
        [escaped(column.title) for column in columns],
        tablefmt="github",
        disable_numparse=True,
        colalign=["left" if is_left(column) else "right" for column in columns] if lines else None,
    )


def bullets(sentences: Sequence[str], *markdown: str) -> str:
    """A list of sentences, and of lines that are Markdown already."""
    return "\n".join(f"- {line}" for line in (*map(escaped, map(printable, sentences)), *markdown))


def skips(entries: Sequence[Row]) -> list[str]:
    """A line of Markdown for each thing that was not analysed."""
    return [
        f"skipped: {code(printable(entry['name']))}: {escaped(printable(entry['reason']))}"
        for entry in entries
    ]


def escaped(words: str) -> str:
    """The words as they are, none of them markup."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&])", r"\\\1", words)


def code(words: str) -> str:
    """A code span."""
    if not words:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", words)), default=0) + 1)
    # Of a span between spaces one on each side is taken away.
    padded = words.startswith("`") or words.endswith("`") or (words[0] == words[-1] == " ")
    pad = " " if padded and words.strip() else ""
    return f"{fence}{pad}{words}{pad}{fence}"
