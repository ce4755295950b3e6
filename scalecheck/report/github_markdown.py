"""The parts of a Markdown text as GitHub reads it."""

import re
from collections.abc import Sequence

from scalecheck.report.cells import cells, is_left
from scalecheck.report.formatting import printable
from scalecheck.report.report import Column, Row, Table

# A word with an address, @name, #1, GH-1, :emoji: or $formula$. GitHub looks for these in what is
# shown, so that only a code span keeps them as they are, and no backslash.
_LINKED = re.compile(
    r"(?<![^\s|])([^\s|]*?(?:://|\bwww\.|@|#\d|\bGH-\d|:[\w+-]+:|\$)[^\s|]*)", re.IGNORECASE
)


def grid(table: Table, columns: Sequence[Column]) -> str:
    """A table of these columns, names in code spans and everything else escaped."""
    # Imported here, as every command imports all renderers to name them, and few use this one.
    from tabulate import tabulate

    lines = [
        [
            code(cell, in_table=True) if column.unit == "text" else escaped(cell)
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
    """The words as they are, none of them markup, a link or a mention."""
    parts = _LINKED.split(words)
    parts[::2] = [re.sub(r"([\\`*_{}\[\]<>|#~&])", r"\\\1", text) for text in parts[::2]]
    parts[1::2] = map(code, parts[1::2])
    return re.sub(r"^( *\d*)([-+=.)])(?= |$)", r"\1\\\2", "".join(parts))  # no list, no heading


def code(words: str, in_table: bool = False) -> str:
    """A code span."""
    if not words:
        return ""
    if in_table:
        # A bar ends the cell even in a code span, unless escaped. Readers do not agree on one
        # behind a backslash.
        words = re.sub(r"(\\+)\|", r"\1\\x7c", words).replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", words)), default=0) + 1)
    # Of a span between spaces one on each side is taken away.
    padded = words.startswith("`") or words.endswith("`") or (words[0] == words[-1] == " ")
    pad = " " if padded and words.strip() else ""
    return f"{fence}{pad}{words}{pad}{fence}"
