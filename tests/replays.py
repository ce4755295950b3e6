"""One tensor under the real optimizer, as long as gradients come."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from scalecheck.laws.replay.replay import Replay
from scalecheck.optimizers.contract import Hyperparameters

FloatArray = NDArray[np.float64]


def replay(
    optimizer: Hyperparameters,
    weights: FloatArray,
    gradients: Iterable[FloatArray],
    lr: float = 1.0,
) -> Iterator[FloatArray]:
    """The update −Δw/lr at each gradient, in float64."""
    return map(Replay(optimizer, weights, lr).update, gradients)
