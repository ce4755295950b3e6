"""How a number, a name or a row of scales is written for people; rounding happens nowhere else."""

import math
import re
from collections.abc import Sequence

from scalecheck.report.runner_commands import without_commands

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_BYTES = ("B", "kB", "MB", "GB", "TB")
_LEVELS = "▁▂▃▄▅▆▇█"
_NAMES = 5  # as many as fit on a line
_FIXED_WIDTH = 9  # digits of a number in fixed notation
_OTHER_WIDTHS = re.compile(
    "[\u0300-\u1fff\u2e80-\U0010ffff]"
)  # characters that may not be one wide
# Letters and marks without a picture, which text is compared without: U+034F joins, others fill.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

# What a terminal reads as a colour, and as the beginning and the end of a link.
_COLOURS = re.compile("(\x1b\\[[0-9;]*m|\x1b\\]8;[^\x1b\x07]*\x1b\\\\)")


def number(x: float | None) -> str:
    """Four significant digits, scientific where fixed notation would hide them; None is empty."""
    if x is None:
        return ""
    if x == 0:
        return "0"
    return f"{x:#.4g}".rstrip(".")


def in_one_notation(values: Sequence[float | None], digits: int = 4) -> list[str]:
    """Numbers of one column to so many significant digits: all of them in fixed notation, or where
    that is too wide for the smallest or the largest all of them scientific; 0 is 0, None empty."""
    known = [abs(x) for x in values if x and math.isfinite(x)]
    whole = len(f"{max(known, default=0.0):.0f}")
    decimals = max((digits - 1 - math.floor(math.log10(x)) for x in known), default=0)
    is_fixed = whole + max(decimals, 0) <= _FIXED_WIDTH
    return [
        number(x)
        if not x or not math.isfinite(x)
        else _fixed(x, digits)
        if is_fixed
        else f"{x:.{digits - 1}e}"
        for x in values
    ]


def _fixed(x: float, digits: int) -> str:
    x = float(f"{x:.{digits - 1}e}")  # rounded first, as 9.9996 has one decimal fewer than 9.999
    return f"{x:.{max(digits - 1 - math.floor(math.log10(abs(x))), 0)}f}"


def columns_wide(text: str) -> int:
    """How many columns of a terminal a text takes: two for each wide character of Chinese, Japanese
    or Korean, none for a combining mark."""
    if text.isascii() or not _OTHER_WIDTHS.search(text):
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def figure(x: float) -> str:
    """Three significant digits for a sentence, from 1,000 up in full: 0.0497, 19,900."""
    if 1000 <= abs(x) < 1e15:
        return f"{float(f'{x:.3g}'):,.0f}"
    return f"{x:.3g}"


def setting(x: float | None) -> str:
    """A number that was given, as short as it can be written; None is empty."""
    return "" if x is None else f"{x:.4g}"


def rate(lr: float) -> str:
    """An lr to 3 digits, as engineers write it: 3e-4, 1.27e-5, 0.02."""
    if 0.01 <= lr < 1000:
        return f"{lr:.3g}"
    mantissa, _, exponent = f"{lr:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def step_percent(share: float) -> str:
    """A relative update to 3 digits: 0.689 % per step."""
    return f"{100 * share:.3g} % per step"


def count(n: int | None) -> str:
    """A count: in full to 9,999, then to four digits with K, M, G, T for powers of 1000."""
    if n is None:
        return ""
    if n < 10_000:
        return str(n)
    power = min((len(str(n)) - 1) // 3, 4)
    return number(n / 1000**power) + " KMGT"[power]


def finite(x: float | None) -> float | None:
    """The number; None where it is infinite or NaN, for which JSON has no word."""
    return x if x is not None and math.isfinite(x) else None


def plural(n: int, noun: str) -> str:
    """1 tensor, 1,000 tensors."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def percent(share: float | None) -> str:
    """A share as a percentage, never rounded to 0 or 100 unless it is."""
    if share is None:
        return ""
    if share in (0, 1):
        return "0" if share == 0 else "100"
    digits = number(100 * share)
    return "<100" if digits == "100.0" else digits


def nbytes(n: int) -> str:
    """Bytes in decimal units: 484.8 kB."""
    power = min((len(str(n)) - 1) // 3, 4)
    return f"{n} B" if power == 0 else f"{number(n / 1000**power)} {_BYTES[power]}"


def printable(words: str) -> str:
    """The words as a line that is text to whatever shows it: everything else is escaped, be it for
    a terminal, invisible, or a command to the runner of a CI, which reads them in its log."""
    if not words.isprintable() or _UNSEEN.search(words):
        words = "".join(
            c
            if c.isprintable() and not _UNSEEN.match(c)
            else c.encode("unicode_escape", "surrogatepass").decode()
            for c in words
        )
    return without_commands(words)


def inert(text: str) -> str:
    """The text with each line printable."""
    return "\n".join(map(printable, text.split("\n")))


def inert_but_colours(text: str) -> str:
    """The text with each line printable but for the sequences of a terminal's colours and links."""
    parts = _COLOURS.split(text)
    return "".join(part if n % 2 else inert(part) for n, part in enumerate(parts))


def excerpt(words: str, limit: int = 120) -> str:
    """The beginning of what a file says, on one printable line."""
    return printable(words[:limit] + ("…" if len(words) > limit else ""))


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more > 0 else "")


def shortened(words: str, width: int) -> str:
    """The words in at most so many columns of a terminal, the middle left out."""
    if columns_wide(words) <= width:
        return words
    tail = width // 2
    head = width - 1 - tail
    while columns_wide(words[:head]) > width - 1 - width // 2:
        head -= 1
    while columns_wide(words[len(words) - tail :]) > width // 2:
        tail -= 1
    return words[:head] + "…" + words[len(words) - tail :]


def bar(x: float | None, low: float, high: float, width: int = 8) -> str:
    """The place of x between low and high on a logarithmic scale, as a bar."""
    if not x:
        return ""
    place = (math.log(x) - math.log(low)) / (math.log(high) - math.log(low))
    eighths = max(1, round(8 * width * place))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def spark(scales: Sequence[float | None], width: int = 32) -> str:
    """A block for each of several scales, on a logarithm of half a decade or more; 0 is a dot, and
    None, which has no scale, a question mark. Of more than `width` scales neighbours share a block,
    which shows the one that is farthest from the middle."""
    logs = [math.log(x) if x else None for x in scales]
    known = [log for log in logs if log is not None]
    if len(scales) < 2 or not known:
        return ""
    from statistics import median

    middle, reach = median(known), max((max(known) - min(known)) / 2, math.log(10) / 4)
    low = (max(known) + min(known)) / 2 - reach
    step = -(-len(scales) // width)
    blocks = []
    for start in range(0, len(scales), step):
        if None in scales[start : start + step]:
            blocks.append("?")
        elif None in logs[start : start + step]:
            blocks.append("·")
        else:
            some = [log for log in logs[start : start + step] if log is not None]
            level = (max(some, key=lambda log: abs(log - middle)) - low) / (2 * reach)
            blocks.append(_LEVELS[min(int(level * len(_LEVELS)), len(_LEVELS) - 1)])
    return "".join(blocks)
