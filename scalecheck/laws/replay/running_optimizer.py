"""The real optimizer on given gradients: what the expected update RMS is compared with."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from scalecheck.dtypes import BY_TORCH_NAME, FLOAT_TYPES
from scalecheck.optimizers.contract import Hyperparameters

FloatArray = NDArray[np.float64]
SMALL = 1 << 15  # elements, from which on torch divides an elementwise operation
DTYPES = tuple(
    name
    for name, dtype in sorted(BY_TORCH_NAME.items(), key=lambda pair: -pair[1].bits)
    if dtype.name in FLOAT_TYPES
)
"""torch's names of the types that are replayed."""


@contextmanager
def few_threads(size: int) -> Iterator[None]:
    """Torch on one thread for tensors of so few elements that more of them only wait."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1 if size <= SMALL else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Replay:
    """One tensor under the real optimizer, moved by gradients that are given one by one.

    The tensor starts at weights, a copy, and the optimizer's state has its dtype, one of DTYPES.
    `held` puts the weights back after each step: the state moves on and the weights do not.
    """

    def __init__(
        self,
        optimizer: Hyperparameters,
        weights: FloatArray,
        lr: float = 1.0,
        dtype: str = "float64",
        held: bool = False,
    ) -> None:
        import torch

        self._torch = torch
        self._dtype = getattr(torch, dtype)
        self._moving = torch.tensor(weights, dtype=self._dtype, requires_grad=True)
        self._start = self._moving.detach().clone() if held else None
        self._running = optimizer.torch_optimizer([self._moving], lr)
        self._lr = lr

    def update(self, gradient: FloatArray) -> FloatArray:
        """−Δw/lr of the step with this gradient, of the weights' shape; weight decay is in it."""
        moving = self._moving.detach()
        before = moving.clone() if self._start is None else self._start
        self._moving.grad = self._torch.from_numpy(gradient).to(self._dtype, copy=True)
        self._running.step()
        update: FloatArray = ((before.double() - moving.double()) / self._lr).numpy()
        if self._start is not None:
            moving.copy_(self._start)
        return update

    @property
    def rms(self) -> float:
        """RMS of the weights."""
        return float(self._moving.detach().double().square().mean().sqrt())


def replay(
    optimizer: Hyperparameters,
    weights: FloatArray,
    gradients: Iterable[FloatArray],
    lr: float = 1.0,
) -> Iterator[FloatArray]:
    """The update −Δw/lr at each gradient, in float64, as one tensor of the weights' shape moves.

    The tensor starts at weights and moves on; weights and gradients stay as they are. A gradient
    is an array of the weights' shape, so an array (steps, *shape) will do for all.
    """
    running = Replay(optimizer, weights, lr)
    yield from map(running.update, gradients)
