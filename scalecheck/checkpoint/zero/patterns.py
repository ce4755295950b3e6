"""Names that match the patterns of a file. These are regular expressions, which a file could choose
so that Python's own matching takes for ever; here a match takes the product of both lengths."""

import re
from collections.abc import Sequence

MAX_PATTERN = 512  # characters; those of Megatron have some 60

_ATOM = re.compile(r"(\\d|\[0-9\]|\\[.\-_\[\]()+*?$^|]|[^\\\[\](){}+*?|^$])([+*?]?)", re.DOTALL)
_ANY, _DIGIT = ".", "\\d"


def parsed(pattern: object) -> list[tuple[str, str]] | None:
    r"""The atoms of a pattern, each with `+`, `*`, `?` or nothing after it: letters, `.`, `\d`,
    `[0-9]` and escaped signs; None for one that consists of anything else."""
    if type(pattern) is not str or len(pattern) > MAX_PATTERN:
        return None
    rest = pattern.removeprefix("^")
    has_end = rest.endswith("$") and not rest.endswith("\\$")
    rest = rest[:-1] if has_end else rest
    atoms = []
    at = 0
    while at < len(rest):
        match = _ATOM.match(rest, at)
        if match is None:
            return None
        atom = _DIGIT if match[1] == "[0-9]" else match[1]
        atoms.append((atom, match[2]))
        at = match.end()
    return atoms if has_end else [*atoms, (_ANY, "*")]


def matches(atoms: Sequence[tuple[str, str]], name: str) -> bool:
    """Whether a name is what the atoms describe, whole."""
    states = _reached({0}, atoms)
    for letter in name:
        after = set()
        for state in states:
            if state == len(atoms) or not _is(atoms[state][0], letter):
                continue
            after.add(state + 1)
            if atoms[state][1] in ("+", "*"):
                after.add(state)
        states = _reached(after, atoms)
        if not states:
            return False
    return len(atoms) in states


def _reached(states: set[int], atoms: Sequence[tuple[str, str]]) -> set[int]:
    """The states, and those that atoms which may be absent lead to."""
    waiting = [*states]
    while waiting:
        state = waiting.pop()
        is_optional = state < len(atoms) and atoms[state][1] in ("*", "?")
        if is_optional and state + 1 not in states:
            states.add(state + 1)
            waiting.append(state + 1)
    return states


def _is(atom: str, letter: str) -> bool:
    if atom == _ANY:
        return letter != "\n"
    if atom == _DIGIT:
        return letter.isdecimal()
    return letter == atom[-1]
