"""What the strides of a view say of it, in elements."""

import math
from collections.abc import Sequence


def is_contiguous(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether its elements lie one after the other in row-major order."""
    expected = 1
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if n > 1 and stride != expected:
            return False
        expected *= n
    return True


def is_overlapping(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether two indices may name one element: each stride must step over all that smaller ones
    reach. Views that interleave without meeting count as overlapping; torch makes none itself."""
    reach = 0
    for stride, n in sorted(zip(strides, shape, strict=True)):
        if n > 1:
            if stride <= reach:
                return True
            reach += (n - 1) * stride
    return False


def steps(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """The strides, 0 for a dimension of one element, whose stride means nothing and can be huge."""
    return tuple(stride if n > 1 else 0 for n, stride in zip(shape, strides, strict=True))


def span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements of storage from the first to the last that it addresses."""
    if not math.prod(shape):
        return 0
    return 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
