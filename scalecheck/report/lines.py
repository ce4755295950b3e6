"""Lines of text under a report, as a terminal shows them."""

from collections.abc import Sequence
from textwrap import wrap

from scalecheck.report import formatting
from scalecheck.report.report import Row

_SENTENCE_WIDTH = 60  # a sentence is not broken into shorter lines
_KEPT = "\N{NO-BREAK SPACE}"  # between a number and its percent sign
_SKIPPED_LINES = 5  # of what was skipped; the rest is counted
_ASCII = str.maketrans(
    {
        "×": "x",
        "…": "~",
        "√": "sqrt",
        "²": "^2",
        "−": "-",
        "±": "+-",
        "·": "*",
        "Σ": "sum",
        "\u0302": "",
    }
)


def in_ascii(text: str) -> str:
    """The text with our own signs spelled in ASCII; letters of a name stay."""
    return text.translate(_ASCII)


def wrapped(sentence: str, width: int | None) -> str:
    """A sentence on as many lines as it takes, control characters of names in it escaped."""
    sentence = formatting.printable(sentence)
    if width is None or formatting.columns_wide(sentence) <= width:
        return sentence
    lines = wrap(
        sentence.replace(" %", f"{_KEPT}%"),
        max(width, _SENTENCE_WIDTH),
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace(_KEPT, " ")


def skip(entry: Row) -> str:
    """A thing that was not analysed, and why."""
    dtype = f" ({entry['dtype']})" if entry["dtype"] else ""  # of a tensor, and not of a folder
    return formatting.printable(f"skipped: {entry['name']}{dtype}: {entry['reason']}")


def skipped(entries: Sequence[Row], all_of_them: bool = False) -> list[str]:
    """A line for each of the first things that were not analysed, and how many more there are."""
    shown = entries if all_of_them else entries[:_SKIPPED_LINES]
    lines = [skip(entry) for entry in shown]
    if more := len(entries) - len(shown):
        lines.append(f"skipped: {more:,} more: --verbose shows them")
    return lines
