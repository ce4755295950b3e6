"""How far the elements of one tensor are from those of another: sums over both side by side, by
threads over stretches of both files."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from threading import Event
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.aligned import aligned_words
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.dtypes import DType
from scalecheck.measure.counting import kernel
from scalecheck.measure.pipeline import Portion, Progress, worked
from scalecheck.measure.scaled_float import ScaledFloat, in_range

_TINY = 2.0**-800  # a sum of squares below it may lack elements whose squares underflowed
_NOTHING = ScaledFloat()


@dataclass(frozen=True)
class Change:
    """What became of the elements of two tensors, before and after.

    changed: elements that differ as numbers, NaN beside NaN left out. non_finite: elements that are
    NaN or inf on a side. summed: those that the sums are over, the others of floats. before,
    after, product, difference: Σa², Σb², Σab and Σ(b−a)². top: max|b−a|, inf where a float64 does
    not hold it. path: Σ|b−a| where both are of one type of 16 bits or less, else 0. Adds up in any
    order but for rounding.
    """

    numel: int = 0
    changed: int = 0
    non_finite: int = 0
    summed: int = 0
    before: ScaledFloat = _NOTHING
    after: ScaledFloat = _NOTHING
    product: ScaledFloat = _NOTHING
    difference: ScaledFloat = _NOTHING
    top: float = 0.0
    path: float = 0.0

    @classmethod
    def of(cls, a: NDArray[Any], b: NDArray[Any], kind: str) -> Self:
        """The change from words to others of a kind of the kernel's, shapes (n,)."""
        changed, non_finite, exponent, *squares, top = kernel.change(a, b, kind)
        before, after, product, difference = (
            ScaledFloat(square, 2 * exponent) for square in squares
        )
        sums = before, after, product, difference, in_range(top, exponent)
        with np.errstate(invalid="ignore"):  # a signalling NaN
            is_tiny = kind == "f8" and (
                (before.mantissa < _TINY and a.any())
                or (after.mantissa < _TINY and b.any())
                or (difference.mantissa < _TINY and changed)
            )
        if is_tiny:
            sums = _far_out(a, b)
        return cls(len(a), changed, non_finite, len(a) - non_finite, *sums)

    def __add__(self, other: Self) -> Self:
        """The change of the elements of both."""
        sums = {
            one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)
        }
        return type(self)(**sums | {"top": max(self.top, other.top)})

    @property
    def counted(self) -> Self:
        """The counts without the sums."""
        return type(self)(self.numel, self.changed, self.non_finite)

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


def compare(
    pairs: Sequence[tuple[Tensor, Tensor]], jobs: int | None, progress: Progress
) -> Iterator[Change]:
    """The change of each pair of tensors of one shape, in the order given.

    `jobs` threads, as many as cores where None; the result does not depend on it. Raises
    CheckpointError where a tensor cannot be read, UsageError for a number of jobs that is none.
    """
    for changes in worked(pairs, lambda stop: partial(_compared, stop), jobs, progress):
        yield sum(changes, Change())


def _compared(stop: Event, portion: Portion, readers: Readers) -> Change:
    before, after = portion.tensors
    whole = Change()
    for was, now in aligned_words(portion.tensors, readers, portion.start, portion.stop):
        if stop.is_set():
            break
        change = between(was, before.dtype, now, after.dtype)
        if before.dtype == after.dtype and before.dtype.is_float and before.dtype.is_narrow:
            change = replace(change, path=_path(was, now, before.dtype))
        whole += change
    return whole


def between(
    was: NDArray[np.generic], before: DType, now: NDArray[np.generic], after: DType
) -> Change:
    """The change from words to others, without its path; where one side is no float, counted and
    not summed."""
    if before.is_float and after.is_float:
        kind = _kind(before, after)
        return Change.of(_numbers(was, before, kind), _numbers(now, after, kind), kind)
    if before != after:  # words of 16 bits and less are those of an unsigned type
        was, now = (
            dtype.decode(words) if dtype.is_narrow else words
            for words, dtype in ((was, before), (now, after))
        )
    return Change(len(was), int(np.count_nonzero(was != now)))


def _path(was: NDArray[np.generic], now: NDArray[np.generic], dtype: DType) -> float:
    """Σ|b−a| of the finite elements, over those that differ."""
    (place,) = np.nonzero(was != now)
    with np.errstate(invalid="ignore"):
        moved = np.abs(dtype.decode(now[place]) - dtype.decode(was[place]))
    return float(moved[np.isfinite(moved)].sum())


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
        in_range(float(np.abs(difference).max(initial=0.0)), halved),
    )


def _unit(numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Numbers over a power of two, the largest from 0.5 to below 1; and its exponent."""
    exponent = int(np.frexp(np.abs(numbers).max(initial=0.0))[1])
    return np.ldexp(numbers, -exponent), exponent
