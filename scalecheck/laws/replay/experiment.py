"""What a simulation replays: an optimizer with its settings, the gradients that it is given, and
the factor k of the laws."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalecheck.laws.replay.gradients import Stream, clip_factor
from scalecheck.laws.replay.running_optimizer import Replay
from scalecheck.optimizers.contract import (
    REFUSALS,
    Gradient,
    Hyperparameters,
    NoFormula,
    Weights,
    refusal,
)
from scalecheck.theory.noise import Noise
from scalecheck.theory.reparameterization import Reparameterization

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Expected:
    """What theory says of a size; None with the reason where it says nothing."""

    size: float | None
    reason: str = ""


@dataclass(frozen=True)
class Experiment:
    """The settings of one simulation, checked by its caller.

    size: elements of the replayed tensor. snr, grad_scale: the gradients' mean/std and RMS. clip:
    the norm that they are clipped to. dtype: of weights, gradients and state, one of
    running_optimizer.DTYPES. tolerance: relative. tick: called once a step of the longest replay.
    """

    name: str
    optimizer: Hyperparameters
    k: float
    steps: int
    size: int
    lr: float
    noise: Noise
    snr: float
    grad_scale: float
    clip: float | None
    dtype: str
    seed: int
    tolerance: float
    tick: Callable[[], None]

    @cached_property
    def law(self) -> Reparameterization | None:
        """The optimizer's reparameterization, None where it has none."""
        return self._law[0]

    @cached_property
    def refusal(self) -> str:
        """Why the optimizer has no reparameterization."""
        return self._law[1]

    @cached_property
    def _law(self) -> tuple[Reparameterization | None, str]:
        try:
            return self.optimizer.reparameterization(), ""
        except NoFormula as error:
            return None, str(error)

    @cached_property
    def degree(self) -> int | None:
        """u(k·g) = k^degree·u(g): by the reparameterization, where weights k times larger move k
        times as far under lr' = k^p·lr on gradients k times smaller."""
        if self.law is None:
            return None
        return self.law.lr_exponent - (0 if self.optimizer.relative_lr else 1)

    @cached_property
    def deviates(self) -> float:
        """What the updates of two replays may deviate by, element by element, that a law says are
        the same: six times the optimizer's precision, if that is more than the tolerance."""
        return max(self.tolerance, 6 * self.optimizer.precision)

    @cached_property
    def sizes_deviate(self) -> float:
        """The same of the RMS of two replays."""
        return max(self.tolerance, 2 * self.optimizer.precision)

    @cached_property
    def decay(self) -> float:
        """The weight decay; 0 for an optimizer that has none."""
        return float(getattr(self.optimizer, "weight_decay", 0.0))

    @cached_property
    def is_decay_coupled(self) -> bool:
        """Weight decay that the optimizer sees as a part of the gradient: g' = g/k wants it over
        k²."""
        if not self.decay:
            return False
        if self.law is None:
            return not getattr(self.optimizer, "decoupled_weight_decay", False)
        return self.law.exponents.get("weight_decay", 0) == -2

    @cached_property
    def decay_beside(self) -> float:
        """The weight decay that shrinks the weights beside the update, and is no part of it."""
        if self.law is None:
            return 0.0 if self.is_decay_coupled else self.decay
        is_beside = self.law.exponents.get("weight_decay", 0) == -self.law.lr_exponent
        return self.decay if is_beside and not self.is_decay_coupled else 0.0

    @cached_property
    def unaveraged(self) -> Hyperparameters | None:
        """The optimizer with beta1 0; None where it has no beta1."""
        if not hasattr(self.optimizer, "beta1"):
            return None
        without: Any = {"beta1": 0.0}
        return replace(self.optimizer, **without)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """The replayed tensor's: the matrix of so many elements that is nearest to a square."""
        rows = next(n for n in range(math.isqrt(self.size), 0, -1) if self.size % n == 0)
        return rows, self.size // rows

    @cached_property
    def weights(self) -> FloatArray:
        """Where the tensor is held: zero, which rounds nothing away; signs, of RMS 1, where the
        optimizer looks at the weights."""
        if self.optimizer.relative_lr or self.is_decay_coupled:
            return np.random.default_rng([self.seed, 1]).choice([-1.0, 1.0], self.shape)
        return np.zeros(self.shape)

    def stream(self) -> Iterator[FloatArray]:
        """The gradients before grad_scale, a step each."""
        return Stream(self.noise, self.snr, self.shape, self.seed).gradients(self.steps)

    def rms(self, k: float = 1.0) -> float:
        """RMS of the gradients k·g, clipped."""
        largest = math.inf if self.clip is None else self.clip / math.sqrt(self.size)
        return min(self.grad_scale * k, largest)

    def gradient(self, k: float = 1.0) -> Gradient:
        """The law of the gradients k·g, clipped."""
        return Gradient(self.rms(k), self.snr, self.noise)

    def expected(self, step: int, gradient: Gradient) -> Expected:
        """RMS of the optimizer's update at lr 1 at this step."""
        try:
            return Expected(self.optimizer.update_rms(gradient, step, Weights(self.shape)))
        except REFUSALS as error:
            return Expected(None, refusal(error))


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
