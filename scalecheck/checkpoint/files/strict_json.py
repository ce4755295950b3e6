"""JSON of a file from outside, read by the letter: a name stands once in its object, and NaN is no
number."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

MAX_VALUES = 6_000_000  # some 70 bytes each; a tensor of a report has up to 25
_CHUNK_NBYTES = 1 << 16  # of a file at once; most are shorter


def parsed(text: bytes | bytearray, limit: int = MAX_VALUES) -> Any:
    """The value of a JSON text in UTF-8. Raises ValueError, whose text says what is wrong,
    and for a text of more values than the limit."""
    values = sum(text.count(mark) for mark in (b",", b"{", b"["))
    if values > limit:
        raise ValueError(f"it has up to {values} values, the limit is {limit}")
    try:
        return DECODER.decode(text.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def text_of(path: Path, limit: int) -> bytearray | None:
    """The bytes of a file, None where there are more than `limit`; room is taken for those that
    there are. Raises OSError."""
    text = bytearray()
    with path.open("rb") as file:
        # read1, as read waits for all of a pipe in one call, in which no signal is heard.
        while len(text) <= limit and (more := file.read1(_CHUNK_NBYTES)):
            text += more
    return text if len(text) <= limit else None


def in_words(value: Any) -> str:
    """A value in a sentence: itself, unless it holds others."""
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else json.dumps(value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        [(name, count)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{name} is there {count} times")
    return members


def _refused(token: str) -> NoReturn:
    raise ValueError(f"{token} is not JSON")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refused)
