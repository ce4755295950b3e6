"""The fields of a protobuf message in a file, by their place: what is long is not read. A message
that holds a model is up to 2 GiB, and a library would hold all of it in memory."""

from collections.abc import Iterator
from typing import NamedTuple

from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.source import FileReader

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_WINDOW = 1 << 16


class Field(NamedTuple):
    """A field of a message: its number, its wire type, and where its content lies; `value` is that
    of a varint."""

    number: int
    wire: int
    start: int
    stop: int
    value: int = 0


class Protobuf:
    """A file of protobuf messages, read through one window."""

    def __init__(self, reader: FileReader) -> None:
        self._reader = reader
        self._end = reader.source.nbytes
        self._at = 0
        self._window = b""

    def fields(self, start: int, stop: int) -> Iterator[Field]:
        """The fields of the message in some bytes. Raises Malformed where they are none."""
        at = start
        while at < stop:
            tag, at = self._varint(at, stop)
            number, wire = tag >> 3, tag & 7
            if wire == VARINT:
                value, end = self._varint(at, stop)
                yield Field(number, wire, at, end, value)
                at = end
                continue
            if wire == BYTES:
                nbytes, at = self._varint(at, stop)
            elif wire in _FIXED:
                nbytes = _FIXED[wire]
            else:
                raise Malformed(f"is no protobuf: a field of wire type {wire} at byte {at}")
            if not number or nbytes > stop - at:
                raise Malformed(f"is damaged: field {number} at byte {at} claims {nbytes} bytes")
            yield Field(number, wire, at, at + nbytes)
            at += nbytes

    def varints(self, start: int, stop: int) -> Iterator[int]:
        """The numbers of a packed field."""
        at = start
        while at < stop:
            value, at = self._varint(at, stop)
            yield value

    def read(self, start: int, stop: int, limit: int) -> bytes:
        """The content of a field. Raises Malformed where it is longer than a limit."""
        if stop - start > limit:
            raise Malformed(f"has {stop - start} bytes at byte {start}, the limit is {limit}")
        content = bytearray(stop - start)
        self._reader.fill(start, memoryview(content))
        return bytes(content)

    def text(self, field: Field, limit: int) -> str:
        """A field of text; bytes that are no UTF-8 are shown as escapes."""
        return self.read(field.start, field.stop, limit).decode("utf-8", "backslashreplace")

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        """The number at a byte, of 64 bits, and where it ends."""
        value = shift = 0
        while at < stop and shift < 70:
            place = at - self._at
            if not 0 <= place < len(self._window):
                self._look_at(at)
                place = 0
            byte = self._window[place]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value & (1 << 64) - 1, at
        raise Malformed(f"is damaged: a number at byte {at} does not end")

    def _look_at(self, at: int) -> None:
        window = bytearray(min(_WINDOW, self._end - at))
        self._reader.fill(at, memoryview(window))
        self._at, self._window = at, bytes(window)
