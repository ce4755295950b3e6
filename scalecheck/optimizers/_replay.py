"""The real optimizer on given gradients: what the expected update RMS is compared with."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from scalecheck.optimizers._optimizer import Hyperparameters

FloatArray = NDArray[np.float64]


def replay(
    optimizer: Hyperparameters,
    weights: FloatArray,
    gradients: Iterable[FloatArray],
    lr: float = 1.0,
) -> Iterator[FloatArray]:
    """The update −Δw/lr at each gradient, in float64, as one tensor of the weights' shape moves.

    The tensor starts at weights and moves on; weights and gradients stay as they are. A gradient
    is an array of the weights' shape, so an array (steps, *shape) will do for all. Weight decay is
    part of the update.
    """
    import torch

    moving = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
    running = optimizer.torch_optimizer([moving], lr)
    for gradient in gradients:
        before = moving.detach().clone()
        moving.grad = torch.tensor(gradient, dtype=torch.float64)
        running.step()
        yield ((before - moving.detach()) / lr).numpy()
