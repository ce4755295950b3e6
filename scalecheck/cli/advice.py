"""The line of help behind an error: what to do, and the command line that works."""

from collections.abc import Sequence
from pathlib import Path
from shlex import join

from scalecheck.errors import Fix, ScalecheckError


def advice(error: ScalecheckError, words: Sequence[str]) -> str:
    """What to do about an error of `scalecheck WORDS…`, ending in a command line where a fix of
    this one makes it work; empty where nothing is known."""
    fix = error.fix
    fixed = None if fix is None else _fixed(words, fix)
    if fix is None or fixed is None:
        return error.help
    command = join(["scalecheck", *fixed])
    if fix.before:
        command = f"{fix.before} && {command}"
    return f"{error.help}: {command}" if error.help else command


def _fixed(words: Sequence[str], fix: Fix) -> list[str] | None:
    """The words of the command line with the fix; None where the word to fix is not there,
    as when a file of settings holds it."""
    if not fix.old:
        return [*words, *filter(None, (fix.flag, fix.new))]
    place = _place(words, fix)
    if place is None:
        return None
    flag, equals, _ = words[place].partition("=")
    if equals and flag.startswith("--"):
        return [
            *words[:place],
            *([f"{flag}={fix.new}"] if fix.new else []),
            *words[place + 1 :],
        ]
    first = place if fix.new or not fix.flag else place - 1
    return [*words[:first], *filter(None, [fix.new]), *words[place + 1 :]]


def _place(words: Sequence[str], fix: Fix) -> int | None:
    """Where the word to fix stands: as the value of its flag, or best as no value of any."""
    found = []
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        is_joined = bool(equals) and flag.startswith("--")
        flag = flag if is_joined else words[place - 1] if place else ""
        if _is_same(value if is_joined else word, fix.old) and fix.flag in ("", flag):
            found.append((flag.startswith("--"), place))
    return min(found)[1] if found else None


def _is_same(word: str, old: str) -> bool:
    """Whether a word is the one that an error names, as it is, as a path or as a number."""
    if word == old or (word and str(Path(word)) == old):
        return True
    try:
        return float(word) == float(old)
    except ValueError:
        return False
