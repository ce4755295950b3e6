"""What a file says, in a sentence: on one printable line, and of bounded length."""

from collections.abc import Sequence

from scalecheck.report import formatting

_NAMES = 5  # as many as fit on a line


def shown(text: str, limit: int = 120) -> str:
    """Text of a file on one printable line of bounded length."""
    return formatting.text(text[:limit] + ("…" if len(text) > limit else ""))


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _NAMES
    return ", ".join(names[:_NAMES]) + (f" and {more} more" if more > 0 else "")
