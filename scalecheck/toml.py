"""TOML whose cost is bounded before it is parsed: the parser takes time by the square of a key's
parts, and a kilobyte for each."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from scalecheck.errors import UsageError, reason

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
_HEAD = r"^[ \t]*\[+[ \t]*(?:tool[ \t]*\.[ \t]*scalecheck[ \t]*\.[ \t]*)?"


class Document(NamedTuple):
    """A parsed file, and its text."""

    table: dict[str, Any]
    text: str

    def line(self, place: str) -> int | None:
        """The line of what stands at a place such as lr, limits.SC201.high or group[2].lr; where
        that has none of its own, that of the table around it, and None where that is not seen."""
        name, *_, key = [*place.split("."), place]
        table, _, number = name.partition("[")
        number = number.rstrip("]")
        heads = _HEAD + re.escape(table) + r"[ \t]*(?:\.[^\]\n]*)?\]"
        if not number:
            heads += rf"|^[ \t]*{re.escape(table)}[ \t]*[=.]"
        found = [*re.finditer(heads, self.text, re.MULTILINE)]
        if int(number or 1) > len(found):
            return None
        start = found[int(number or 1) - 1].start()
        body = re.compile(rf"^[ \t]*{re.escape(key.rpartition('.')[2])}[ \t]*=|^[ \t]*\[", re.M)
        own = body.search(self.text, self.text.find("\n", start) + 1 or len(self.text))
        if "." in place and own is not None and own[0].endswith("="):
            start = own.start()
        return self.text.count("\n", 0, start) + 1


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
        if problem := _costly(text):
            raise UsageError(f"{path}: {problem}")
        return Document(tomllib.loads(text), text)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is not UTF-8") from error
    except ValueError as error:
        raise UsageError(f"{path}: is not TOML: {error}") from error


def _costly(text: str) -> str:
    """What of a text would take the parser long, with the line; empty where nothing would."""
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
                return f"{problem.format(number)}, at most {limit} (at line {line})"
    return ""
