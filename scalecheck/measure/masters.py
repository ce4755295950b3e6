"""Whether the weights of a model are the roundings of the master weights that its optimizer moves:
one element that is not was changed by something else than training."""

from collections.abc import Sequence
from functools import partial
from threading import Event

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.aligned import aligned_words
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.dtypes import FLOAT_TYPES, DType
from scalecheck.measure.pipeline import Portion, Progress, worked
from scalecheck.report.formatting import excerpt, plural
from scalecheck.theory.precision import rounded


def agreement(
    checkpoint: Checkpoint,
    names: Sequence[str],
    jobs: int | None = None,
    progress: Progress = lambda done, total: None,
) -> list[str]:
    """A note on how many elements of these tensors are not their master weights rounded; none where
    there are no such pairs. Raises CheckpointError where a tensor cannot be read."""
    pairs = _pairs(checkpoint, frozenset(names))
    if not pairs:
        return []
    counts = [
        sum(parts)
        for parts in worked(pairs, lambda stop: partial(_differing, stop), jobs, progress)
    ]
    every = sum(low.numel for low, _ in pairs)
    low, high = (" and ".join(sorted({pair[side].dtype.name for pair in pairs})) for side in (0, 1))
    if not (differing := sum(counts)):
        are = f"The {low} weights are the rounded {high} master weights"
        return [f"{are}: {plural(every, 'element')} of {plural(len(pairs), 'tensor')} agree."]
    most = max(range(len(pairs)), key=counts.__getitem__)
    where = f"most in {excerpt(pairs[most][0].name)}, {counts[most]:,} of {pairs[most][0].numel:,}"
    return [
        f"The {low} weights are not the rounded {high} master weights: {differing:,} of"
        f" {plural(every, 'element')} differ, in {sum(map(bool, counts))} of"
        f" {plural(len(pairs), 'tensor')} ({where}). Training continues from the master weights."
    ]


def _pairs(checkpoint: Checkpoint, names: frozenset[str]) -> list[tuple[Tensor, Tensor]]:
    """The weights beside the master weights that they should be rounded from."""
    rows = {tensor.name: tensor for tensor in checkpoint.tensors if tensor.name in names}
    pairs = [(rows[name], one) for name, one in checkpoint.masters.items() if name in rows]
    pairs += [(one, rows[name]) for name, one in checkpoint.rounded.items() if name in rows]
    return [pair for pair in pairs if all(map(_is_compared, pair)) and pair[0].tied_to is None]


def _is_compared(tensor: Tensor) -> bool:
    return tensor.unmeasured is None and tensor.dtype.name in FLOAT_TYPES and tensor.numel > 0


def _differing(stop: Event, portion: Portion, readers: Readers) -> int:
    low, high = portion.tensors
    differing = 0
    for own, master in aligned_words(portion.tensors, readers, portion.start, portion.stop):
        if stop.is_set():
            break
        differing += int(np.count_nonzero(~_is_rounding(own, low.dtype, master, high.dtype)))
    return differing


def _is_rounding(
    own: NDArray[np.generic], low: DType, master: NDArray[np.generic], high: DType
) -> NDArray[np.bool_]:
    """Which words are those of others rounded to the nearest, ties to even; NaN is that of any."""
    if low == high:
        return _or_nan(own == master, low.decode(own), high.decode(master))
    if low.name == "BF16" and high.name == "F32":
        bits = master.view("<u4")
        half = ((bits >> 16) & 1) + np.uint32(0x7FFF)
        same: NDArray[np.bool_] = (bits + half) >> 16 == own.view("<u2")
        return same if same.all() else _or_nan(same, low.decode(own), high.decode(master))
    numbers = low.decode(own)
    nearest = rounded(high.decode(master), low.name)
    return _or_nan(numbers == nearest, numbers, nearest)


def _or_nan(
    same: NDArray[np.bool_], own: NDArray[np.float64], other: NDArray[np.float64]
) -> NDArray[np.bool_]:
    same |= np.isnan(own) & np.isnan(other)
    return same
