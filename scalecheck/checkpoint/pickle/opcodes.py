"""The opcodes of pickles, and what reads their arguments; long texts are passed over."""

import io
import pickle
import pickletools
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, NamedTuple

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.inert import LongText

MAX_LINE = 1 << 16  # of a number, a string or a class of protocol 0, before its end
MAX_TEXT = 1 << 20  # bytes of a text that is read; of a longer one only the length is kept
_AT_ONCE = 1 << 20  # bytes that are passed over in one reading

Argument = Callable[[IO[bytes]], object]


def _argument(opcode: pickletools.OpcodeInfo) -> Argument | None:
    """What reads the argument of an opcode, None where it has none."""
    if opcode.arg is None or opcode.name in _QUICK:
        return _QUICK.get(opcode.name)
    reader = opcode.arg.reader
    if opcode.arg.n == pickletools.UP_TO_NEWLINE:
        lines = 2 if opcode.name in ("GLOBAL", "INST") else 1
        return lambda stream: reader(io.BytesIO(b"".join(_line(stream) for _ in range(lines))))
    if opcode.name in _COUNTED:
        return partial(_counted, *_COUNTED[opcode.name])
    return reader


def _counted(width: int, decoded: Callable[[bytes], object], stream: IO[bytes]) -> object:
    nbytes = int.from_bytes(_read(stream, width), "little")
    if nbytes <= MAX_TEXT:
        return decoded(_read(stream, nbytes))
    for start in range(0, nbytes, _AT_ONCE):
        _read(stream, min(_AT_ONCE, nbytes - start))
    return LongText(nbytes)


def _line(stream: IO[bytes]) -> bytes:
    line = stream.readline(MAX_LINE)
    if len(line) == MAX_LINE:
        raise Malformed(f"its pickle has a line of {MAX_LINE} bytes or more: torch writes none")
    return line


def _read(stream: IO[bytes], nbytes: int) -> bytes:
    content = stream.read(nbytes)
    if len(content) < nbytes:
        raise EOFError(f"expected {nbytes} bytes, but only {len(content)} remain")
    return content


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogatepass")


_COUNTED: dict[str, tuple[int, Callable[[bytes], object]]] = {
    "BINUNICODE": (4, _text),
    "BINUNICODE8": (8, _text),
    "BINSTRING": (4, lambda content: content.decode("latin-1")),
    "BINBYTES": (4, bytes),
    "BINBYTES8": (8, bytes),
    "BYTEARRAY8": (8, bytearray),
    "LONG4": (4, pickle.decode_long),
}
"""Bytes of the count before an argument, and what the argument is."""


def string_of(coded: object) -> object:
    """A string of Python 2 as torch reads it, which pickletools gives as latin-1: UTF-8, or bytes
    where it is none."""
    if not isinstance(coded, str):
        return coded
    raw = coded.encode("latin-1")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _short_text(stream: IO[bytes]) -> str:
    return _text(_read(stream, _byte(stream)))


def _byte(stream: IO[bytes]) -> int:
    return _read(stream, 1)[0]


def _two_bytes(stream: IO[bytes]) -> int:
    return int.from_bytes(_read(stream, 2), "little")


def _four_bytes(stream: IO[bytes]) -> int:
    return int.from_bytes(_read(stream, 4), "little")


_QUICK: dict[str, Argument] = {
    **dict.fromkeys(("BININT1", "BINGET", "BINPUT"), _byte),
    "BININT2": _two_bytes,
    **dict.fromkeys(("LONG_BINGET", "LONG_BINPUT"), _four_bytes),
    "BININT": lambda stream: int.from_bytes(_read(stream, 4), "little", signed=True),
    "SHORT_BINUNICODE": _short_text,
}
"""Those of which an index has most: what pickletools has for them takes twice as long."""


class Opcode(NamedTuple):
    """An opcode by its name; `argument` reads what follows it, and raises Malformed and what
    pickletools raises."""

    name: str
    argument: Argument | None


OPCODES = {
    opcode.code.encode("latin-1"): Opcode(opcode.name, _argument(opcode))
    for opcode in pickletools.opcodes
}
"""Every opcode by its byte."""


def arguments_in(stream: IO[bytes]) -> Iterator[object]:
    """The arguments of the opcodes of a pickle up to its STOP, None of those without. Raises what
    reading garbage raises."""
    code = b""
    while code != pickle.STOP:
        code = stream.read(1)
        argument = OPCODES[code].argument
        yield None if argument is None else argument(stream)
