"""How far the elements of one tensor are from those of another: sums over both side by side, in
float64, by threads over stretches of the files."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.aligned import aligned_words
from scalecheck.checkpoint.dtypes import DType
from scalecheck.checkpoint.tensor import BLOCK_NBYTES, Reader, Source, Tensor
from scalecheck.errors import UsageError
from scalecheck.measure.counting import kernel
from scalecheck.measure.scaled_float import ScaledFloat, in_range
from scalecheck.measure.tensor_stats import MAX_JOBS, STRETCH_NBYTES, Progress, cores

_BLOCK = BLOCK_NBYTES // 8  # elements: two blocks of any type, and their float32, stay in the cache
_TINY = 2.0**-800  # a sum of squares below it may lack elements whose squares underflowed
_NOTHING = ScaledFloat()


@dataclass(frozen=True)
class Change:
    """What became of the elements of two tensors, before and after.

    changed: elements that differ as numbers, NaN beside NaN left out. apart: elements that are NaN
    or inf in one of both. summed: those that the sums are over, the others of floats. before,
    after, product, difference: Σa², Σb², Σab and Σ(b−a)². top: max|b−a|, inf where a float64 does
    not hold it. Adds up in any order but for rounding.
    """

    numel: int = 0
    changed: int = 0
    apart: int = 0
    summed: int = 0
    before: ScaledFloat = _NOTHING
    after: ScaledFloat = _NOTHING
    product: ScaledFloat = _NOTHING
    difference: ScaledFloat = _NOTHING
    top: float = 0.0

    @classmethod
    def of(cls, a: NDArray[Any], b: NDArray[Any], kind: str) -> Self:
        """The change from words to others of a kind of the kernel's, shapes (n,)."""
        changed, apart, exponent, *squares, top = kernel.change(a, b, kind)
        before, after, product, difference = (
            ScaledFloat(square, 2 * exponent) for square in squares
        )
        sums = before, after, product, difference, _in_range(top, exponent)
        with np.errstate(invalid="ignore"):  # a signalling NaN
            is_tiny = kind == "f8" and (
                (before.mantissa < _TINY and a.any())
                or (after.mantissa < _TINY and b.any())
                or (difference.mantissa < _TINY and changed)
            )
        if is_tiny:
            sums = _far_out(a, b)
        return cls(len(a), changed, apart, len(a) - apart, *sums)

    def __add__(self, other: Self) -> Self:
        """The change of the elements of both."""
        return type(self)(
            self.numel + other.numel,
            self.changed + other.changed,
            self.apart + other.apart,
            self.summed + other.summed,
            self.before + other.before,
            self.after + other.after,
            self.product + other.product,
            self.difference + other.difference,
            max(self.top, other.top),
        )

    @property
    def counted(self) -> Self:
        """The counts without the sums."""
        return type(self)(self.numel, self.changed, self.apart)

    @property
    def rms_before(self) -> float | None:
        return self.before.root_over(ScaledFloat(self.summed))

    @property
    def rms_after(self) -> float | None:
        return self.after.root_over(ScaledFloat(self.summed))

    @property
    def relative_change(self) -> float | None:
        """‖b−a‖/‖a‖; None where all of a is zero, and where a float64 does not hold it."""
        return self.difference.root_over(self.before)

    @property
    def cosine(self) -> float | None:
        """a·b/(‖a‖·‖b‖), −1 to 1; None where one is all zero."""
        size = (self.product * self.product).root_over(self.before * self.after)
        return None if size is None else math.copysign(min(1.0, size), self.product.mantissa)

    @property
    def max_abs(self) -> float | None:
        """max|b−a|; None where nothing is summed, and where a float64 does not hold it."""
        return self.top if self.summed and math.isfinite(self.top) else None

    @property
    def changed_share(self) -> float | None:
        return self.changed / self.numel if self.numel else None


def _far_out(
    a: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[ScaledFloat, ScaledFloat, ScaledFloat, ScaledFloat, float]:
    """The sums and the largest difference of a block of which one side, or the difference, lies at
    an end of float64's range: each is brought into it by a power of two of its own."""
    is_finite = np.isfinite(a) & np.isfinite(b)
    a, b = a[is_finite], b[is_finite]
    with np.errstate(over="ignore"):
        difference, halved = b - a, 0
    if not np.isfinite(difference).all():
        difference, halved = b / 2 - a / 2, 1
    (x, ex), (y, ey), (d, ed) = (_unit(side) for side in (a, b, difference))
    return (
        ScaledFloat(float((x * x).sum()), 2 * ex),
        ScaledFloat(float((y * y).sum()), 2 * ey),
        ScaledFloat(float((x * y).sum()), ex + ey),
        ScaledFloat(float((d * d).sum()), 2 * (ed + halved)),
        _in_range(float(np.abs(difference).max(initial=0.0)), halved),
    )


def _in_range(mantissa: float, exponent: int) -> float:
    product = in_range(mantissa, exponent)
    return math.inf if product is None else product


def _unit(numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Numbers over a power of two, the largest from 0.5 to below 1; and its exponent."""
    exponent = int(np.frexp(np.abs(numbers).max(initial=0.0))[1])
    return np.ldexp(numbers, -exponent), exponent


@dataclass(frozen=True)
class _Piece:
    """Elements `start` to `stop`, in the order of storage, of the pair of this number."""

    number: int
    before: Tensor
    after: Tensor
    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        itemsize = self.before.dtype.itemsize + self.after.dtype.itemsize
        return (self.stop - self.start) * itemsize


def compare(
    pairs: Sequence[tuple[Tensor, Tensor]],
    jobs: int | None = None,
    progress: Progress = lambda done, total: None,
) -> Iterator[Change]:
    """The change of each pair of tensors of one shape, in the order given.

    `jobs` threads, as many as cores where None; the result does not depend on it. `progress` is
    called with the bytes read so far and in all. Raises CheckpointError where a tensor cannot be
    read, UsageError for a number of jobs that is none.
    """
    if jobs is not None and not 1 <= jobs <= MAX_JOBS:
        raise UsageError(f"--jobs {jobs}: 1 to {MAX_JOBS} threads")
    total = sum(before.nbytes + after.nbytes for before, after in pairs)
    done = 0
    whole = Change()
    for piece, change in _compared(_stretches(pairs), jobs or cores()):
        whole += change
        done += piece.nbytes
        progress(done, total)
        if piece.stop == piece.before.numel:
            yield whole
            whole = Change()


def _stretches(pairs: Sequence[tuple[Tensor, Tensor]]) -> Iterator[list[_Piece]]:
    """The pairs cut and gathered into stretches of about STRETCH_NBYTES."""
    work: list[_Piece] = []
    nbytes = 0
    for number, (before, after) in enumerate(pairs):
        itemsize = before.dtype.itemsize + after.dtype.itemsize
        step = STRETCH_NBYTES // itemsize if _are_alike(before, after) else before.numel
        for start in range(0, max(1, before.numel), max(1, step)):
            piece = _Piece(number, before, after, start, min(start + step, before.numel))
            work.append(piece)
            nbytes += piece.nbytes
            if nbytes >= STRETCH_NBYTES:
                yield work
                work, nbytes = [], 0
    if work:
        yield work


def _are_alike(before: Tensor, after: Tensor) -> bool:
    """Whether their elements lie one after another in the same order."""
    return before.is_dense and after.is_dense and before.strides == after.strides


def _compared(stretches: Iterable[list[_Piece]], workers: int) -> Iterator[tuple[_Piece, Change]]:
    """Each piece with its change, in order, a few stretches ahead of the caller."""
    if workers == 1:
        for work in stretches:
            yield from zip(work, _changes(work), strict=True)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    pool = ThreadPoolExecutor(workers, thread_name_prefix="scalecheck")
    try:
        ahead: deque[tuple[list[_Piece], Future[list[Change]]]] = deque()
        for work in stretches:
            ahead.append((work, pool.submit(_changes, work)))
            if len(ahead) > 2 * workers:
                work, future = ahead.popleft()
                yield from zip(work, future.result(), strict=True)
        for work, future in ahead:
            yield from zip(work, future.result(), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def _changes(work: Sequence[_Piece]) -> list[Change]:
    """The change of each piece; the files of one stay open for the next."""
    readers: dict[Source, Reader] = {}
    changes = []
    try:
        for piece in work:
            wanted = {piece.before.source, piece.after.source} if piece.nbytes else set()
            for source in readers.keys() - wanted:
                readers.pop(source).close()
            for source in wanted - readers.keys():
                readers[source] = source.open()
            changes.append(_change(piece, readers))
        return changes
    finally:
        for reader in readers.values():
            reader.close()


def _change(piece: _Piece, readers: dict[Source, Reader]) -> Change:
    before, after = piece.before, piece.after
    whole = Change()
    if piece.start == piece.stop:
        return whole
    if _are_alike(before, after):
        streams: list[Iterator[NDArray[np.generic]]] = [
            tensor.blocks(
                piece.start,
                piece.stop,
                reader=readers[tensor.source],
                buffer=np.empty(_BLOCK * tensor.dtype.itemsize, np.uint8),
            )
            for tensor in (before, after)
        ]
        blocks: Iterator[tuple[NDArray[np.generic], ...]] = zip(*streams, strict=True)
    else:
        blocks = aligned_words([before, after])
    for was, now in blocks:
        whole += _between(was, before.dtype, now, after.dtype)
    return whole


def _between(
    was: NDArray[np.generic], before: DType, now: NDArray[np.generic], after: DType
) -> Change:
    """The change from words to others; where one side is no float, counted and not summed."""
    if before.is_float and after.is_float:
        kind = _kind(before, after)
        return Change.of(_numbers(was, before, kind), _numbers(now, after, kind), kind)
    if before != after:  # words of 16 bits and less are those of an unsigned type
        was, now = (
            dtype.decode(words) if dtype.is_narrow else words
            for words, dtype in ((was, before), (now, after))
        )
    return Change(len(was), int(np.count_nonzero(was != now)))


def _kind(before: DType, after: DType) -> str:
    """In which numbers two types of floats are compared: as they are stored, or the least that hold
    both."""
    if before.name == after.name == "BF16":
        return "b2"
    fit = all(dtype.is_narrow or dtype.name == "F32" for dtype in (before, after))
    return "f4" if fit else "f8"


def _numbers(words: NDArray[np.generic], dtype: DType, kind: str) -> NDArray[np.generic]:
    """The words of floats as numbers of a kind that holds them."""
    if kind == "b2" or (kind == "f4" and dtype.name == "F32"):
        return words
    if kind == "f4" and dtype.name == "BF16":
        shifted: NDArray[np.uint32] = words.view("<u2").astype(np.uint32) << np.uint32(16)
        return shifted.view(np.float32)
    decoded = dtype.decode(words)
    return decoded.astype(np.float32) if kind == "f4" else decoded
