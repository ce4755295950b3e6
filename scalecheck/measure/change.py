"""How far the elements of one tensor are from those of another: sums over both side by side, in
float64, by threads over stretches of the files."""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.aligned import aligned
from scalecheck.checkpoint.dtypes import DType
from scalecheck.checkpoint.tensor import BLOCK_NBYTES, Reader, Source, Tensor
from scalecheck.errors import UsageError
from scalecheck.measure.counting import kernel
from scalecheck.measure.scale import MAX_JOBS, STRETCH_NBYTES, Progress, cores

_BLOCK = BLOCK_NBYTES // 8  # elements: two blocks of any type, and their float32, stay in the cache


@dataclass(frozen=True)
class Change:
    """Sums over the elements of two tensors, before and after, that are finite in both.

    before, after, product, difference: Σa², Σb², Σab and Σ(b−a)², times 2^(−2·exponent); top:
    max|b−a|, times 2^−exponent. changed: elements that differ as numbers, NaN beside NaN left out.
    apart: elements that are not finite in one of both. Adds up in any order but for rounding.
    """

    numel: int = 0
    changed: int = 0
    apart: int = 0
    exponent: int = 0
    before: float = 0.0
    after: float = 0.0
    product: float = 0.0
    difference: float = 0.0
    top: float = 0.0

    def __add__(self, other: "Change") -> "Change":
        """The sums over the elements of both."""
        sizes = [one.exponent for one in (self, other) if one.before or one.after]
        exponent = max(sizes, default=0)
        mine, yours = self._at(exponent), other._at(exponent)
        return Change(
            self.numel + other.numel,
            self.changed + other.changed,
            self.apart + other.apart,
            exponent,
            mine.before + yours.before,
            mine.after + yours.after,
            mine.product + yours.product,
            mine.difference + yours.difference,
            max(mine.top, yours.top),
        )

    def _at(self, exponent: int) -> "Change":
        """The same under another exponent."""
        shift = self.exponent - exponent
        if not shift:
            return self
        return replace(
            self,
            exponent=exponent,
            before=math.ldexp(self.before, 2 * shift),
            after=math.ldexp(self.after, 2 * shift),
            product=math.ldexp(self.product, 2 * shift),
            difference=math.ldexp(self.difference, 2 * shift),
            top=math.ldexp(self.top, shift),
        )

    @property
    def compared(self) -> int:
        return self.numel - self.apart

    @property
    def rms_before(self) -> float | None:
        return self._rms(self.before)

    @property
    def rms_after(self) -> float | None:
        return self._rms(self.after)

    def _rms(self, square: float) -> float | None:
        if not self.compared:
            return None
        return math.ldexp(math.sqrt(square / self.compared), self.exponent)

    @property
    def relative_change(self) -> float | None:
        """‖b−a‖/‖a‖; None where all of a is zero."""
        return math.sqrt(self.difference / self.before) if self.before else None

    @property
    def cosine(self) -> float | None:
        """a·b/(‖a‖·‖b‖), −1 to 1; None where one is all zero."""
        if not self.before or not self.after:
            return None
        quotient = self.product / (math.sqrt(self.before) * math.sqrt(self.after))
        return min(1.0, max(-1.0, quotient))

    @property
    def max_abs(self) -> float | None:
        """max|b−a|; None where nothing was compared."""
        return math.ldexp(self.top, self.exponent) if self.compared else None

    @property
    def changed_share(self) -> float | None:
        return self.changed / self.numel if self.numel else None


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
        if piece.stop == piece.before.numel:
            yield whole
            whole = Change()
            progress(done, total)


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
    """The change of each piece; files stay open from one to the next."""
    readers: dict[Source, Reader] = {}
    try:
        for tensor in (t for piece in work for t in (piece.before, piece.after)):
            if tensor.source not in readers and tensor.numel:
                readers[tensor.source] = tensor.source.open()
        return [_change(piece, readers) for piece in work]
    finally:
        for reader in readers.values():
            reader.close()


def _change(piece: _Piece, readers: dict[Source, Reader]) -> Change:
    before, after = piece.before, piece.after
    whole = Change(numel=piece.stop - piece.start)
    if not whole.numel:
        return whole
    if not _are_alike(before, after):
        for numbers in aligned([before, after]):
            whole += Change(0, *kernel.change(*numbers, "f8"))
        return whole
    kind = _kind(before.dtype, after.dtype)
    streams = [
        tensor.blocks(
            piece.start,
            piece.stop,
            reader=readers[tensor.source],
            buffer=np.empty(_BLOCK * tensor.dtype.itemsize, np.uint8),
        )
        for tensor in (before, after)
    ]
    for words in zip(*streams, strict=True):
        if not (before.dtype.is_float or after.dtype.is_float) and before.dtype == after.dtype:
            whole += Change(changed=int(np.count_nonzero(words[0] != words[1])))
            continue
        a, b = (
            _numbers(block, tensor.dtype, kind)
            for block, tensor in zip(words, (before, after), strict=True)
        )
        whole += Change(0, *kernel.change(a, b, kind))
    return whole


def _kind(before: DType, after: DType) -> str:
    """In which numbers two types are compared: as they are stored, or the least that hold both."""
    if before.name == after.name == "BF16":
        return "b2"
    fit = all(
        dtype.is_float and (dtype.is_narrow or dtype.name == "F32") for dtype in (before, after)
    )
    return "f4" if fit else "f8"


def _numbers(words: NDArray[np.generic], dtype: DType, kind: str) -> NDArray[np.generic]:
    """The words as numbers of a kind, exactly but for integers of more than 53 bits."""
    if kind == "b2" or (kind == "f4" and dtype.name == "F32"):
        return words
    if kind == "f4" and dtype.name == "BF16":
        shifted: NDArray[np.uint32] = words.view("<u2").astype(np.uint32) << np.uint32(16)
        return shifted.view(np.float32)
    decoded = dtype.decode(words)
    return decoded.astype(np.float32) if kind == "f4" else decoded
