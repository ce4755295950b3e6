"""Colours of a terminal: on where standard output shows them, by NO_COLOR, FORCE_COLOR and TERM."""

import os
from collections.abc import Callable
from functools import cache
from typing import TextIO

from scalecheck.report.report import plain

_STYLES = {
    "error": "bold red",
    "warning": "yellow",
    "note": "cyan",
    "ok": "green",
    "strong": "bold",
    "dim": "dim",
}
_LINK = "link:"


def paint(stream: TextIO) -> Callable[[str, str], str]:
    """What gives a text the colour of a meaning on this stream: see `Layout.paint`."""
    return _painted if _shows_colours(stream) else plain


def _shows_colours(stream: TextIO) -> bool:
    """NO_COLOR turns them off and FORCE_COLOR on, whatever the stream is, as no-color.org and
    force-color.org have it; else a terminal that is not dumb shows them."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return os.environ["FORCE_COLOR"] != "0"
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _painted(text: str, meaning: str) -> str:
    return _style(meaning)(text) if text and meaning else text


@cache
def _style(meaning: str) -> Callable[[str], str]:
    from rich.color import ColorSystem
    from rich.style import Style

    if meaning.startswith(_LINK):
        style = Style(link=meaning.removeprefix(_LINK))
    else:
        style = Style.parse(_STYLES[meaning])
    # The sixteen colours alone: a terminal shows them as its user chose them, dark or light.
    return lambda text: style.render(text, color_system=ColorSystem.STANDARD)
