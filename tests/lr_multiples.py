"""A learning-rate schedule step by step, which Schedule has as sums alone."""

import math

import numpy as np
from numpy.typing import NDArray

from scalecheck.theory.schedule import Schedule


def multiples_of(schedule: Schedule) -> NDArray[np.float64]:
    """The lr of steps 1..steps over the peak lr, shape (steps,)."""
    remaining = schedule.steps - schedule.warmup
    j = np.arange(remaining, dtype=np.float64)
    floor = schedule.floor
    if schedule.shape == "linear":
        after = 1 - (1 - floor) * j / max(remaining, 1)
    elif schedule.shape == "cosine":
        after = floor + (1 - floor) * (1 + np.cos(math.pi * j / max(remaining, 1))) / 2
    elif schedule.shape == "wsd":
        decayed = np.maximum(j - (remaining - schedule.decay), 0) / max(schedule.decay, 1)
        after = 1 - (1 - floor) * decayed
    elif schedule.shape == "inverse_sqrt":
        after = np.sqrt(schedule.warmup / (schedule.warmup + 1 + j))
    else:
        after = np.ones(remaining)
    return np.concatenate([np.arange(1, schedule.warmup + 1) / max(schedule.warmup, 1), after])
