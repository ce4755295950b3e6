"""Globs over whole names, * crossing dots, of which those without a wildcard are looked up."""

import re
from collections.abc import Iterable
from fnmatch import translate

_LITERAL = re.compile(r"\[([*?[])\]")  # as glob.escape writes a character


def literal(glob: str) -> str | None:
    """The only name that a glob matches; None where it has a wildcard."""
    is_wild = any(sign in _LITERAL.sub("", glob) for sign in "*?[")
    return None if is_wild else _LITERAL.sub(r"\1", glob)


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
