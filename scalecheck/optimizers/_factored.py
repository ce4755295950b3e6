"""What optimizers have in common that keep the second moment of a matrix as averages over its rows
and columns, and of a vector whole, forgetting ever more slowly."""

import math
from typing import TYPE_CHECKING

import numpy as np

from scalecheck.optimizers._per_tensor import moving_average
from scalecheck.optimizers.contract import Gradient
from scalecheck.theory.averages import Averages
from scalecheck.theory.update_rms import update_moments

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

LONGEST = 2000  # lags; where v is longer, g² is 0.5% of it at most and u is 1 within 0.3%


def vector_update_rms(decay: float, gradient: Gradient, step: int | None) -> float:
    """E[g²/v]^½ over the unrolled weights of v, an average with beta2_t = 1 − t^decay."""
    if step is None:
        return 1.0
    gradient.require_independent()
    # Lags beyond 10 time constants of the average hold less than 1e-4 of it.
    count = min(step, math.ceil(10 * step**-decay))
    if count > LONGEST:
        return 1.0
    newest = np.arange(step, step - count, -1, dtype=np.float64) ** decay
    b = newest * np.cumprod(np.concatenate(([1.0], 1 - newest[:-1])))
    a = np.zeros(count)
    a[0] = 1.0
    averages = Averages(np.ones(count), a, b)
    return math.sqrt(update_moments(averages, gradient.noise, gradient.snr, 0.0)[0])


def factored_root(
    state: "State", names: tuple[str, str], beta: float, square: "torch.Tensor"
) -> "torch.Tensor":
    """√(row·column/mean(row)) of the averages over rows and columns, with their state moved on."""
    row = moving_average(state, names[0], beta, square.mean(-1))
    column = moving_average(state, names[1], beta, square.mean(-2))
    share = row / row.mean(-1, keepdim=True)
    return (share.unsqueeze(-1) * column.unsqueeze(-2)).sqrt()


def rms(tensor: "torch.Tensor") -> float:
    """Over all elements."""
    return float(tensor.square().mean().sqrt())
