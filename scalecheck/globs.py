"""Globs over whole names, * crossing dots, of which those without a wildcard are looked up."""

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import translate

_LITERAL = re.compile(r"\[([*?[])\]")  # as glob.escape writes a character


def literal(glob: str) -> str | None:
    """The only name that a glob matches; None where it has a wildcard."""
    is_wild = any(sign in _LITERAL.sub("", glob) for sign in "*?[")
    return None if is_wild else _LITERAL.sub(r"\1", glob)


_REGEX = re.compile(r"\\.|\.[*+]|[\^$+()|]|\][*+]")  # what a regex has and a glob has not


def similar(glob: str, names: Sequence[str]) -> tuple[str, int]:
    """A glob that was most likely meant by one that matches none of the names, and how many it
    matches: one of a part of a name, of a regex or of another case; empty where none does."""
    for meant in _meant(glob):
        if count := sum(map(Globs([meant]).hold, names)):
            return meant, count
    return "", 0


def _meant(glob: str) -> Iterator[str]:
    """Globs that a word can stand for, the likeliest first."""
    start = "" if glob.startswith("^") else "*"
    end = "" if glob.endswith("$") else "*"
    words = glob.removeprefix("^").removesuffix("$")
    if _REGEX.search(words):
        words = re.sub(r"\\([._-])", r"\1", words)
        words = re.sub(r"\\[dw][+*]?|\[[^]]*\][+*]|\.[*+]\??|\([^()]*\)", "*", words)
    for word in dict.fromkeys((words, words.casefold())):
        if word.strip("*."):
            yield from () if word.endswith("*") else (f"{word}.*",)
            yield re.sub(r"\*+", "*", f"{start}{word}{end}")


class Globs:
    """What matches one of several globs. names: those that are looked up. is_wild: there are
    others."""

    def __init__(self, globs: Iterable[str]) -> None:
        found = {glob: literal(glob) for glob in globs}
        self.names = {name for name in found.values() if name is not None}
        wild = [glob for glob, name in found.items() if name is None]
        self.is_wild = bool(wild)
        self._matches = [re.compile(translate(glob)).match for glob in wild]

    def hold(self, name: str) -> bool:
        """Whether one of them matches a name."""
        return name in self.names or any(match(name) for match in self._matches)
