"""What one gradient moves a rare row of an embedding by, where a state has the averages of its row:
what is seen now and then does not start from v = 0."""

import math

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.aligned import placed
from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.optimizers.contract import Entry, Hyperparameters

FloatArray = NDArray[np.float64]
RARE = 0.5  # of the rows, those of the smallest v


def share_left(state: ParamState | None, optimizer: Hyperparameters) -> float | None:
    """√(1−beta2^t)·√((1−beta2)/(1−beta2 + beta2·p)), the share of isolated_gradient_displacement
    that is left to a rare row which has a gradient in the share p of the steps t, so that its v is
    p times the square of one; None without a state that tells it.

    p = (1−beta1²)/(1+beta1²)·mean²/variance of m² over the rare rows: where gradients come at
    random, m² is shot noise. Rows that were never seen are in it, and bring p down. Replayed in
    tests/test_rare_rows.py. Raises CheckpointError where the state cannot be read.
    """
    moments = _moments(state, optimizer)
    if state is None or moments is None or not state.step:
        return None
    first, second = _row_means(*moments)
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    if not second.size:
        return None
    squares = first[second <= np.quantile(second, RARE)]
    mean, variance = float(squares.mean()), float(squares.var())
    if not mean:
        return None
    beta1, beta2 = getattr(optimizer, "beta1", 0.0), optimizer.second_moment_factor or 0.0
    shot = (1 - beta1**2) / (1 + beta1**2) * mean**2
    seen = min(1.0, shot / variance) if variance else 1.0
    started = 1 - beta2 ** int(state.step)
    return math.sqrt(started * (1 - beta2) / (1 - beta2 + beta2 * seen))


def _moments(state: ParamState | None, optimizer: Hyperparameters) -> tuple[Tensor, Tensor] | None:
    """The averages of a matrix's gradients and of their squares; None where they are not read or
    the update divides by another."""
    if state is None or getattr(optimizer, "amsgrad", False):
        return None
    names = {kind: name for name, kind in optimizer.state.entries.items()}
    kinds = (Entry.FIRST_MOMENT, Entry.SECOND_MOMENT)
    found = [state.tensors.get(names.get(kind, "")) for kind in kinds]
    first, second = found
    if first is None or second is None or state.shape is None or len(state.shape) != 2:
        return None
    for tensor in (first, second):
        if tensor.unmeasured or not tensor.dtype.is_float or tensor.shape != state.shape:
            return None
    return first, second


def _row_means(first: Tensor, second: Tensor) -> tuple[FloatArray, FloatArray]:
    """The mean square of the first moment over each row, and the mean of the second."""
    height, width = first.shape
    squares, means = np.zeros(height), np.zeros(height)
    with np.errstate(all="ignore"):
        for place, (m, v) in placed([first, second]):
            row = place // width
            start = int(row.min())
            for sums, part in ((squares, m * m), (means, v)):
                own = np.bincount(row - start, part)
                sums[start : start + len(own)] += own
    return squares / width, means / width
