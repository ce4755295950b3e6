"""TOML whose cost is bounded before it is parsed: the parser takes time by the square of a key's
parts, and a kilobyte for each."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scalecheck.errors import UsageError, reason

OWN_MARK = "written by scalecheck translate --emit toml, which replaces it while this line is here"
"""The first line of what is written as TOML, by which --output knows it again."""

MAX_NBYTES = 1 << 20  # a configuration is written by hand
MAX_PARTS = 10  # of a key: tool.scalecheck.limits.SC201.high has five
MAX_DOTS = 50_000  # outside of quotes, in all
MAX_DEPTH = 100  # of brackets
MAX_WORD = 1000  # characters of a bare key or a number

# What is quoted and what is a comment; possessive, as nothing in them is to be tried twice.
_QUOTED = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+"{0,5}'
    r"|'''(?:[^']++|'(?!''))*+'{0,5}"
    r'|"(?:[^"\\\n]++|\\[^\n])*+"?'
    r"|'[^'\n]*+'?"
    r"|\#[^\n]*+",
    re.DOTALL,
)
_RUN = re.compile(r"[\w.:+\- \t]++|[\[\]{}]")
_WORD = re.compile(r"[^\s.]++")
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_KEY = re.compile(rf"[ \t]*+(\[\[?)?[ \t]*+({_PART}(?:[ \t]*+\.[ \t]*+{_PART})*+)[ \t]*+[=\]]")
_PLACE = re.compile(r" \(at line (\d+), column (\d+)\)$|$")  # at the end of tomllib's errors
_PARTS = re.compile(_PART)


@dataclass(frozen=True)
class Document:
    """A parsed file, and its text."""

    table: dict[str, Any]
    text: str

    def line(self, place: str) -> int | None:
        """The line of what stands at a place such as lr, limits.SC201.high or group[2].lr; where
        that has none of its own, that of what is around it, and None where that is not seen."""
        while place and place not in self._lines:
            place = place.rpartition("[" if place.endswith("]") else ".")[0]
        return self._lines.get(place)

    @cached_property
    def _lines(self) -> dict[str, int]:
        """The line of each table and key by its place."""
        found: dict[str, int] = {}
        entries: Counter[str] = Counter()
        table: list[str] = []
        for number, line in enumerate(_QUOTED.sub(_in_one_line, self.text).split("\n"), 1):
            if (match := _KEY.match(line)) is None:
                continue
            parts = [part.strip("\"'") for part in _PARTS.findall(match[2])]
            if match[1]:
                table = []
                for last, part in enumerate(parts, 1 - len(parts)):
                    place = ".".join([*table, part])
                    entries[place] += match[1] == "[[" and not last
                    table.append(f"{part}[{entries[place]}]" if entries[place] else part)
                found.setdefault(".".join(table), number)
            else:
                for end in range(1, len(parts) + 1):
                    found.setdefault(".".join([*table, *parts[:end]]), number)
        return found


def _in_one_line(quoted: re.Match[str]) -> str:
    """A quoted key or value as it is; of a comment and of what goes over lines their ends alone."""
    is_kept = quoted[0][0] != "#" and quoted[0][:3] not in ('"""', "'''")
    return quoted[0] if is_kept else "\n" * quoted[0].count("\n")


def parsed(path: Path) -> Document:
    """What is in a file. Raises UsageError where it cannot be read, is no TOML, or is more than a
    configuration is."""
    import tomllib  # imported here, as most commands read no configuration

    try:
        with path.open("rb") as file:
            content = file.read(MAX_NBYTES + 1)
    except (OSError, ValueError) as error:
        problem = reason(error) if isinstance(error, OSError) else str(error)
        raise UsageError(f"{path}: {problem}") from error
    if len(content) > MAX_NBYTES:
        raise UsageError(f"{path}: is larger than {MAX_NBYTES} bytes")
    try:
        text = content.decode().replace("\r\n", "\n")
        if costly := _costly(text):
            line, problem = costly
            raise UsageError(f"{path}:{line}: {problem}")
        return Document(tomllib.loads(text), text)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: byte {error.start} is not UTF-8") from error
    except ValueError as error:
        problem, *place, _ = _PLACE.split(str(error), maxsplit=1)
        at = ":".join([str(path), *filter(None, place)])
        raise UsageError(f"{at}: is not TOML: {problem}") from error


def _costly(text: str) -> tuple[int, str] | None:
    """What of a text would take the parser long, after its line; None where nothing would."""
    bare = _QUOTED.sub(lambda quoted: " " * len(quoted[0]), text)
    depth = dots = 0
    for run in _RUN.finditer(bare):
        if run[0] in "[]{}":
            depth += 1 if run[0] in "[{" else -1
            parts = longest = 1
        else:
            parts = run[0].count(".") + 1
            longest = max(map(len, _WORD.findall(run[0])), default=0)
        dots += parts - 1
        for number, limit, problem in (
            (parts, MAX_PARTS, "a key has {} parts"),
            (longest, MAX_WORD, "a word has {} characters"),
            (depth, MAX_DEPTH, "brackets are {} deep"),
            (dots, MAX_DOTS, "there are {} dots outside of quotes"),
        ):
            if number > limit:
                line = text.count("\n", 0, run.start()) + 1
                return line, f"{problem.format(number)}, at most {limit}"
    return None


def assignment(name: str, value: Any) -> str:
    """A key and its value as a line of TOML. Values are as in JSON, but for the characters that
    TOML takes no pair of escapes for."""
    import json  # imported here, as most commands write no configuration

    written = json.dumps(value, ensure_ascii=False)
    escaped = (c if c.isprintable() else f"\\U{ord(c):08x}" for c in written)
    return f"{name} = {''.join(escaped)}"
