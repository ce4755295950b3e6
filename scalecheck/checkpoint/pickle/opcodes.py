"""The opcodes of a pickle with their arguments, of which long texts are passed over."""

import io
import pickle
import pickletools
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle.inert import LongText

MAX_LINE = 1 << 16  # of a number, a string or a class of protocol 0, before its end
MAX_TEXT = 1 << 20  # bytes of a text that is read; of a longer one only the length is kept
_AT_ONCE = 1 << 20  # bytes that are passed over in one reading

_OPCODES = {opcode.code: opcode for opcode in pickletools.opcodes}


class Opcode(NamedTuple):
    """An opcode by its name, and the byte at which it starts."""

    name: str
    argument: object
    at: int


def opcodes_in(stream: IO[bytes]) -> Iterator[Opcode]:
    """The opcodes of a pickle up to its STOP. Raises Malformed, and what pickletools raises."""
    while True:
        at = stream.tell()
        code = stream.read(1)
        if not code:
            raise EOFError("pickle exhausted before seeing STOP")
        opcode = _OPCODES.get(code.decode("latin-1"))
        if opcode is None:
            raise ValueError(f"at position {at}, opcode {code!r} unknown")
        yield Opcode(opcode.name, _argument(opcode, stream), at)
        if opcode.name == "STOP":
            return


def _argument(opcode: pickletools.OpcodeInfo, stream: IO[bytes]) -> object:
    if opcode.arg is None:
        return None
    if opcode.arg.n == pickletools.UP_TO_NEWLINE:
        lines = 2 if opcode.name in ("GLOBAL", "INST") else 1
        return opcode.arg.reader(io.BytesIO(b"".join(_line(stream) for _ in range(lines))))
    if opcode.name not in _COUNTED:
        return opcode.arg.reader(stream)
    width, decoded = _COUNTED[opcode.name]
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
