"""Codes of few bits in the words that they are packed into: read and unpacked as bytes."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import Tensor

_SHORT_NBYTES = 4096  # rows of fewer bytes are read whole: a page is what a read costs anyway

Axis = Literal["rows", "columns"]


@dataclass(frozen=True, eq=False)
class Codes:
    """A table of codes of up to 8 bits, in words of a tensor that lie one after the other.

    `rows` and `columns` count codes. `shifts` gives the place of each code of a word, in bits from
    the lowest; None where codes follow each other from the lowest bit on and may lie in two words.
    `axis` is along which the codes of a word follow each other.
    """

    tensor: Tensor
    rows: int
    columns: int
    bits: int = 8
    word_bits: int = 8
    shifts: tuple[int, ...] | None = (0,)
    axis: Axis = "columns"

    @property
    def count(self) -> int:
        """The different values that a code can have."""
        return 1 << self.bits

    def words_for(self, codes: int) -> int:
        """How many words hold so many codes."""
        if self.shifts is None:
            return -(-codes * self.bits // self.word_bits)
        return -(-codes // len(self.shifts))

    @property
    def shape(self) -> tuple[int, int]:
        """Of the words: rows, columns."""
        if self.axis == "rows":
            return self.words_for(self.rows), self.columns
        return self.rows, self.words_for(self.columns)

    @property
    def nbytes(self) -> int:
        """What the words take."""
        return math.prod(self.shape) * self.word_bits // 8

    def read(
        self,
        readers: Readers,
        rows: tuple[int, int],
        columns: tuple[int, int],
        buffer: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """The codes of rows and columns from the first to below the second of each pair, in their
        shape. buffer: room for their words, which is overwritten."""
        if self.axis == "columns":
            words, first = self._words(readers, rows, self._spanned(columns), buffer)
            return np.ascontiguousarray(
                self._unpacked(words, columns[0] - first, columns[1] - columns[0])
            )
        span = self._spanned(rows)
        words, _ = self._words(readers, span, columns, buffer)
        first = self._first_code(span[0])
        count = rows[1] - rows[0]
        return np.ascontiguousarray(self._unpacked(words.T, rows[0] - first, count).T)

    def _spanned(self, codes: tuple[int, int]) -> tuple[int, int]:
        """The words that hold these codes, from the first to below the second. Codes that may lie
        in two words are read from a word on at which one begins."""
        if self.shifts is not None:
            first = codes[0] // len(self.shifts)
        else:
            round_of = math.lcm(self.bits, self.word_bits)
            first = codes[0] * self.bits // round_of * (round_of // self.word_bits)
        return first, self.words_for(codes[1])

    def _first_code(self, word: int) -> int:
        if self.shifts is not None:
            return word * len(self.shifts)
        return word * self.word_bits // self.bits

    def _words(
        self,
        readers: Readers,
        rows: tuple[int, int],
        columns: tuple[int, int],
        buffer: NDArray[np.uint8] | None,
    ) -> tuple[NDArray[np.unsignedinteger], int]:
        """Words in the shape of their rows and columns, and the first code of the first column."""
        size, width = self.word_bits // 8, self.shape[1]
        (top, bottom), (left, right) = rows, columns
        shape = bottom - top, right - left
        nbytes = shape[0] * shape[1] * size
        if buffer is None or len(buffer) < nbytes:
            buffer = np.empty(nbytes, np.uint8)
        words = buffer[:nbytes].view(f"<u{size}").reshape(shape)
        reader, at = readers[self.tensor.source], self.tensor.offset
        if right - left == width:
            reader.fill(at + top * width * size, words.view(np.uint8).reshape(-1).data)
        elif width * size < _SHORT_NBYTES:
            words = self._words(readers, rows, (0, width), None)[0][:, left:right]
        else:
            for row, part in enumerate(words, top):
                reader.fill(at + (row * width + left) * size, part.view(np.uint8).data)
        return words, self._first_code(left)

    def _unpacked(
        self, words: NDArray[np.unsignedinteger], first: int, count: int
    ) -> NDArray[np.uint8]:
        """So many codes of each row of words from one on, shape (rows, count)."""
        mask = self.count - 1
        if self.shifts is None:
            return self._unpacked_stream(words, first, count)
        if len(self.shifts) == 1 and self.shifts[0] == 0 and self.bits == self.word_bits == 8:
            return words[:, first : first + count].view(np.uint8)
        codes = np.empty((*words.shape, len(self.shifts)), np.uint8)
        for place, shift in enumerate(self.shifts):
            np.bitwise_and(
                words >> words.dtype.type(shift), mask, out=codes[:, :, place], casting="unsafe"
            )
        return codes.reshape(len(words), -1)[:, first : first + count]

    def _unpacked_stream(
        self, words: NDArray[np.unsignedinteger], first: int, count: int
    ) -> NDArray[np.uint8]:
        bits = np.arange(first, first + count) * self.bits
        at, shift = np.divmod(bits, self.word_bits)
        wide = words[:, at].astype(np.uint64) >> shift.astype(np.uint64)
        crosses = np.flatnonzero(shift + self.bits > self.word_bits)
        rest = words[:, at[crosses] + 1].astype(np.uint64)
        wide[:, crosses] |= rest << (self.word_bits - shift[crosses]).astype(np.uint64)
        return (wide & np.uint64(self.count - 1)).astype(np.uint8)
