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
IDLE = 10.0  # times 1/(1−beta1), the steps that m averages: a rare row had no gradient for so long
LONGEST = 1000.0  # steps, after which float32 has lost m
_ROUNDS = 20  # of an iteration that halves its error in each


def share_left(state: ParamState | None, optimizer: Hyperparameters) -> float | None:
    """√(1−beta2^t)·√((1−beta2)/(1−beta2 + beta2·r)), the share of isolated_gradient_displacement
    that is left to a rare row after t steps, whose v is r times the square of its gradient; None
    without a state that tells it. A row that was never seen has r = 0.

    The median over the rows that had no gradient for long, or else that of the row that had none
    for longest. Replayed in tests/test_rare_rows.py. Raises CheckpointError where the state cannot
    be read.
    """
    moments = _moments(state, optimizer)
    beta1, beta2 = getattr(optimizer, "beta1", 0.0), optimizer.second_moment_factor or 0.0
    if state is None or moments is None or not state.step or not 0 < beta1**2 < beta2:
        return None
    first, second = _row_means(*moments)
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    if not second.any():
        return None
    age = np.full(second.shape, np.inf)
    seen = second > 0
    age[seen] = _age(np.sqrt(first[seen] / second[seen]), beta1, beta2)
    rare = age[age >= min(IDLE / (1 - beta1), age.max())]
    ratio = float(np.median(beta2**rare * (1 / rare + 1 - beta2)))
    started = 1 - beta2 ** int(state.step)
    return math.sqrt(started * (1 - beta2) / (1 - beta2 + beta2 * ratio))


def _age(moved: FloatArray, beta1: float, beta2: float) -> FloatArray:
    """Steps k since the last gradient g of rows whose m/√v is this: of one that had some every k
    steps, m = (1−beta1)·beta1^k·g and v = beta2^k·(1/k + 1−beta2)·g²."""
    age = np.full(moved.shape, 1 / (1 - beta1))
    for _ in range(_ROUNDS):
        after = (1 - beta1) / np.sqrt(1 / age + 1 - beta2)
        with np.errstate(divide="ignore"):
            passed = np.log(after / moved) / math.log(math.sqrt(beta2) / beta1)
        age = np.clip(passed, 1.0, LONGEST)
    return age


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
