"""JSON text of an object from outside, read by the letter as strict_json does, a member at a time:
of many megabytes no more than one small value is made of Python objects."""

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from json import JSONDecodeError
from typing import Any, NoReturn

from scalecheck.checkpoint.files.strict_json import DECODER

MAX_VALUE_NBYTES = 1 << 20  # of a value that is no text; as Python objects it takes 20 times that
MAX_TEXT_NBYTES = 1 << 24

_USUAL_NBYTES = 1 << 10  # the entry of a tensor takes some 80
_SPACE = re.compile(r"[ \t\n\r]*")
_AT_ONCE = 1 << 20  # bytes of which it is looked whether they are UTF-8
_MARGIN = 16  # characters before the end of a part in which an error may be that of the cut


class Members:
    """A text and a place in it. A byte of the text is kept as a character, so that wide characters
    take no more memory, and decoded when it is read. Raises ValueError, which says what is wrong
    at which byte."""

    def __init__(self, text: bytearray) -> None:
        _check_utf8(text)
        self._text = text.decode("latin-1")
        self.at = 0

    def names(self) -> Iterator[str]:
        """The names of the object at this place, each once; whoever asks for the next one has read
        the value of the last. Raises ValueError at its end where a name is there twice."""
        self._take("{", "Expecting value")
        names: set[str] = set()
        again: Counter[str] = Counter()
        while self.mark() != "}" or names:
            if self.mark() != '"':
                self._fail("Expecting property name enclosed in double quotes", self.at)
            name = self._words()
            self._take(":", "Expecting ':' delimiter")
            if name in names:
                again[name] += 1
                self.value()
            else:
                names.add(name)
                yield name
            if self.mark() == "}":
                break
            self._take(",", "Expecting ',' delimiter")
        self.at += 1
        for name, count in again.most_common(1):
            raise ValueError(f"{name} is there {count + 1} times")

    def mark(self) -> str:
        """What the next value, name or end starts with; empty behind the last."""
        self.at = _SPACE.match(self._text, self.at).end()  # type: ignore[union-attr] # may be empty
        return self._text[self.at : self.at + 1]

    def value(self) -> Any:
        """The value at this place."""
        if self.mark() == '"':
            return self._words()
        nbytes = _USUAL_NBYTES
        while (found := self._value(nbytes)) is None:
            if nbytes >= MAX_VALUE_NBYTES:
                raise ValueError(f"the value at byte {self.at} takes more than {nbytes} bytes")
            nbytes *= 4
        return found[0]

    def end(self) -> None:
        """Raises ValueError where more than space is left."""
        if self.mark():
            self._fail("Extra data", self.at)

    def _words(self) -> str:
        """The text at this place, at its quotation mark."""
        start = self.at
        words, self.at = DECODER.raw_decode(self._text, start)
        if self.at - start > MAX_TEXT_NBYTES:
            raise ValueError(f"the text at byte {start} takes more than {MAX_TEXT_NBYTES} bytes")
        if not self._text.isascii():
            words, _ = DECODER.raw_decode(self._part(start, self.at))
        return str(words)

    def _value(self, nbytes: int) -> tuple[Any] | None:
        """The value at this place as one of at most so many bytes; None where it has more."""
        start, end = self.at, self.at + nbytes
        part = self._part(start, end)
        is_cut = end < len(self._text)
        try:
            value, stop = DECODER.raw_decode(part)
        except JSONDecodeError as error:
            if is_cut and (error.pos > len(part) - _MARGIN or "Unterminated" in error.msg):
                return None
            self._fail(error.msg, start + len(part[: error.pos].encode()))
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        if is_cut and stop == len(part):
            return None
        self.at = start + (stop if part.isascii() else len(part[:stop].encode()))
        return (value,)

    def _part(self, start: int, end: int) -> str:
        """Bytes of the text as what they mean, but for a character that is cut at their end."""
        part = self._text[start:end]
        return part if part.isascii() else part.encode("latin-1").decode(errors="ignore")

    def _take(self, mark: str, problem: str) -> None:
        if self.mark() != mark:
            self._fail(problem, self.at)
        self.at += 1

    def _fail(self, problem: str, place: int) -> NoReturn:
        raise JSONDecodeError(problem, self._text, place)


def _check_utf8(text: bytearray) -> None:
    """Raises ValueError where it is none; a part at a time, as it may be long."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, 0 if text.isascii() else len(text), _AT_ONCE):
        held, _ = decoder.getstate()
        end = start + _AT_ONCE
        try:
            decoder.decode(text[start:end], end >= len(text))
        except UnicodeDecodeError as error:
            place = start - len(held) + error.start
            raise ValueError(f"byte {place} is not UTF-8") from error
