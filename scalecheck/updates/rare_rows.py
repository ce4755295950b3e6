"""What one gradient moves a rare row of an embedding by, where a state has the averages of its row:
what is seen now and then does not start from v = 0."""

import math
from typing import NamedTuple

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
    that is left to a rare row at the step t of its next gradient, where its v is r times the square
    of that; None without a state that tells it. A row that was never seen has r = 0.

    The median over the rows that had no gradient for long, or else that of the row that had none
    for longest. Each had one as often as that is likely to happen to so many rows, and waits as
    long again; what was never seen waits as many times as long as the run was as there are such
    rows to others. Within 1.5 times of the median of replays of Zipf's law in
    tests/test_rare_rows.py, where a row's gradients are of one size. Raises CheckpointError where
    the state cannot be read.
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
    steps, seen = int(state.step), second > 0
    moved = np.sqrt(first[seen] / second[seen])
    likely = _Rows(beta1, beta2, steps, 1.0)
    rare = np.concatenate([np.full(np.count_nonzero(~seen), np.inf), likely.age(moved)])
    is_rare = rare >= min(IDLE / (1 - beta1), rare.max())
    likely = likely._replace(often=max(1.0, math.log(len(rare) / np.count_nonzero(is_rare))))
    never = np.count_nonzero(~seen)
    age = likely.age(moved[is_rare[never:]])
    wait = steps * max(1.0, never / len(moved))
    left = [
        *np.full(never, likely.left(steps + wait, 0.0)),
        *likely.left(steps + age / likely.often, likely.after(age, age / likely.often)),
    ]
    return float(np.median(left))


class _Rows(NamedTuple):
    """Rows of an embedding after so many steps, which had a gradient g `often` times in as many
    steps as the last one is back."""

    beta1: float
    beta2: float
    steps: int
    often: float

    def age(self, moved: FloatArray) -> FloatArray:
        """Steps k since the last gradient of rows whose m/√v is this: m = (1−beta1)·beta1^k·g and v
        = after(k, 0)·g²."""
        age = np.full(moved.shape, 1 / (1 - self.beta1))
        for _ in range(_ROUNDS):
            fresh = (1 - self.beta1) / np.sqrt(self.after(age, 0.0) / self.beta2**age)
            with np.errstate(divide="ignore"):
                passed = np.log(fresh / moved) / math.log(math.sqrt(self.beta2) / self.beta1)
            age = np.clip(passed, 1.0, LONGEST)
        return age

    def after(self, age: FloatArray, wait: FloatArray | float) -> FloatArray:
        """v/g² of rows whose last gradient is so long back, after waiting."""
        earlier = 1 - self.beta2 ** np.maximum(self.steps - age, 0.0)
        between = np.maximum(age / self.often, 1.0)
        v: FloatArray = self.beta2 ** (age + wait) * (earlier / between + 1 - self.beta2)
        return v

    def left(self, step: FloatArray | float, v: FloatArray | float) -> FloatArray:
        """The share of rows whose next gradient is at a step, with this v/g²."""
        fresh = 1 - self.beta2
        share: FloatArray = np.sqrt((1 - self.beta2**step) * fresh / (fresh + self.beta2 * v))
        return share


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
