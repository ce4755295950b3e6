"""The real optimizer on given gradients: one tensor that moves or is held in its place, and a pass
over the gradients of an experiment under several optimizers and scales."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scalecheck.dtypes import BY_TORCH_NAME, FLOAT_TYPES
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.laws.replay.gradients import clip_factor, deviation, rms
from scalecheck.optimizers.contract import Hyperparameters
from scalecheck.optimizers.sgd import Optimizer as Sgd
from scalecheck.theory.noise import Gaussian

FloatArray = NDArray[np.float64]
SMALL = 1 << 15  # elements, from which on torch divides an elementwise operation
LIMIT_STEPS = 200  # by which an update has its steady size, and the contrast with SGD is seen
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


class HeldReplay:
    """The experiment's tensor, held in its place under an optimizer at lr 1: updates −Δw of it."""

    def __init__(
        self, experiment: Experiment, scale: float = 1.0, optimizer: Hyperparameters | None = None
    ) -> None:
        self._optimizer = optimizer or experiment.optimizer
        self._scale = experiment.grad_scale * scale
        self._clip = experiment.clip
        self._start = experiment.weights
        self._decay = experiment.decay_beside if optimizer is None else 0.0
        self._replay = Replay(self._optimizer, self._start, 1.0, experiment.dtype, held=True)
        self.steps = 0

    def update(self, gradient: FloatArray) -> FloatArray:
        """The update at lr 1, weight decay beside it left out; gradient is before any scale."""
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = self._scale * gradient
            factor = clip_factor(scaled, self._clip)
            self.steps += 1
            update = self._replay.update(factor * scaled if factor < 1 else scaled)
            if self._decay:
                update = update - self._decay * self._start
            return update / self._optimizer.effective_lr(1.0, self.steps)


@dataclass(frozen=True)
class Size:
    """RMS of the updates of one step, and the standard error of it over the elements, relative."""

    step: int
    rms: float
    error: float

    @classmethod
    def of(cls, step: int, update: FloatArray) -> "Size":
        """The size of the updates of one step."""
        size = rms(update)
        if not 0 < size < math.inf:
            return cls(step, size, 0.0)
        fourth = float(np.mean((update / size) ** 4))
        return cls(step, size, math.sqrt(max(fourth - 1, 0.0) / (4 * update.size)))


@dataclass(frozen=True)
class Replayed:
    """What one pass gave.

    sizes: updates of the gradients g, at the steps of `reported`. noise, constant, unaveraged: the
    update at step LIMIT_STEPS, or the last before it, of noise without a mean, of a constant
    gradient, and of that noise at beta1 = 0.
    in_proportion, alike: largest deviation of the updates of k·g from k^degree and from 1 times
    those of g; sgd_alike: the same of SGD, where k^degree is 1.
    """

    sizes: tuple[Size, ...]
    noise: Size
    constant: Size
    unaveraged: Size | None
    in_proportion: float | None
    alike: float
    sgd_alike: float


def reported(steps: int) -> list[int]:
    """1, 2, 5, 10, 20, 50, … and the last."""
    series = (m * 10**power for power in range(len(str(steps))) for m in (1, 2, 5))
    return sorted({*(step for step in series if step < steps), steps})


def replayed(experiment: Experiment) -> Replayed:
    """Runs the experiment's gradients through all replays, a step at a time."""
    base, scaled = HeldReplay(experiment), HeldReplay(experiment, experiment.k)
    contrast = (
        [HeldReplay(experiment, k, Sgd()) for k in (1.0, experiment.k)]
        if experiment.degree == 0
        else []
    )
    constant = HeldReplay(experiment)
    noise = None if _is_noise(experiment) else HeldReplay(experiment)
    without = experiment.unaveraged
    unaveraged = HeldReplay(experiment, optimizer=without) if without else None
    factor = None if experiment.degree is None else experiment.k**experiment.degree
    wanted = frozenset(reported(experiment.steps))
    ones = np.ones(experiment.shape)

    sizes = []
    in_proportion = alike = sgd_alike = 0.0
    last: dict[str, FloatArray] = {}
    limit = min(experiment.steps, LIMIT_STEPS)
    for step, (gradient, other) in enumerate(_gradients(experiment, noise is not None), 1):
        update, larger = base.update(gradient), scaled.update(gradient)
        alike = _worse(alike, deviation(larger, update))
        if factor is not None:
            in_proportion = _worse(in_proportion, deviation(larger, factor * update))
        if step in wanted:
            sizes.append(Size.of(step, update))
        if step <= limit:
            if contrast:
                small, large = (held.update(gradient) for held in contrast)
                sgd_alike = _worse(sgd_alike, deviation(large, small))
            last["constant"] = constant.update(ones)
            last["noise"] = noise.update(other) if noise else update
            if unaveraged:
                last["unaveraged"] = unaveraged.update(other)
        experiment.tick()
    ends = {name: Size.of(limit, update) for name, update in last.items()}
    return Replayed(
        sizes=tuple(sizes),
        noise=ends["noise"],
        constant=ends["constant"],
        unaveraged=ends.get("unaveraged"),
        in_proportion=None if factor is None else in_proportion,
        alike=alike,
        sgd_alike=sgd_alike,
    )


def _gradients(experiment: Experiment, apart: bool) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Of each step the experiment's gradient and one of noise, the same where not apart."""
    if not apart:
        return ((gradient, gradient) for gradient in experiment.stream())
    noise = replace(experiment, noise=Gaussian(), snr=0.0)
    return zip(experiment.stream(), noise.stream(), strict=True)


def _is_noise(experiment: Experiment) -> bool:
    return isinstance(experiment.noise, Gaussian) and experiment.snr == 0


def _worse(most: float, found: float) -> float:
    """The larger of two deviations; NaN, as of updates that are not finite, is beyond all."""
    return math.inf if math.isnan(found) else max(most, found)
