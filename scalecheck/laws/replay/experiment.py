"""What a simulation replays: one optimizer or all, with their settings, the gradients that they are
given, and the factor k of the laws."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalecheck import registry
from scalecheck.dtypes import BY_TORCH_NAME, FLOAT_TYPES
from scalecheck.errors import UsageError
from scalecheck.laws.replay.gradients import stream
from scalecheck.optimizers.contract import (
    REFUSALS,
    Gradient,
    Hyperparameters,
    NoFormula,
    Weights,
    refusal,
)
from scalecheck.report.formatting import setting
from scalecheck.theory.noise import Noise
from scalecheck.theory.reparameterization import Reparameterization

FloatArray = NDArray[np.float64]
ALL = "all"
LARGEST = 1e100  # of a hyperparameter: its cube is still a float64 number


@dataclass(frozen=True)
class Experiment:
    """The settings of one simulation, checked by its caller.

    size: elements of the replayed tensor. snr, grad_scale: the gradients' mean/std and RMS. clip:
    the norm that they are clipped to. dtype: of weights, gradients and state, one of
    replay.DTYPES. tolerance: relative. tick: called once a step of the longest replay.
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
        return None if self.refusal else self.optimizer.reparameterization()

    @cached_property
    def refusal(self) -> str:
        """Why the optimizer has no reparameterization; empty where it has."""
        try:
            self.optimizer.reparameterization()
        except NoFormula as error:
            return str(error)
        return ""

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
        return stream(self.noise, self.snr, self.shape, self.seed, self.steps)

    def rms(self, k: float = 1.0) -> float:
        """RMS of the gradients k·g, clipped."""
        largest = math.inf if self.clip is None else self.clip / math.sqrt(self.size)
        return min(self.grad_scale * k, largest)

    def gradient(self, k: float = 1.0) -> Gradient:
        """The law of the gradients k·g, clipped."""
        return Gradient(self.rms(k), self.snr, self.noise)

    def expected(self, step: int, gradient: Gradient) -> tuple[float | None, str]:
        """RMS of the optimizer's update at lr 1 at this step; None with the reason where theory
        says nothing."""
        try:
            return self.optimizer.update_rms(gradient, step, Weights(self.shape)), ""
        except REFUSALS as error:
            return None, refusal(error)


def optimizers(optimizer: str, given: Mapping[str, Any], dtype: str) -> dict[str, Hyperparameters]:
    """The optimizer of a name, or all of them, with the settings given where they have them."""
    known = registry.names("optimizer")
    found: dict[str, Hyperparameters] = {}
    nowhere = set(given)
    precision = FLOAT_TYPES[BY_TORCH_NAME[dtype].name]
    for word, value in given.items():
        if isinstance(value, float) and abs(value) > LARGEST:
            raise UsageError(f"--optimizer {optimizer}: {word} {value} is above {LARGEST:g}")
    for name in known if optimizer == ALL else [optimizer]:
        family: type[Hyperparameters] = registry.load("optimizer", name).Optimizer
        has = [field.name for field in fields(family)]
        if optimizer != ALL and (lacking := [word for word in given if word not in has]):
            raise UsageError(f"--optimizer {name}: has no {lacking[0]}; it has {', '.join(has)}")
        try:
            one = family(**{word: given[word] for word in given if word in has})
            found[name] = one.at_precision(precision.epsilon)
        except (TypeError, ValueError) as error:
            raise UsageError(f"--optimizer {name}: {error}") from error
        nowhere -= set(has)
    if nowhere:
        raise UsageError(f"--optimizer {optimizer}: none has {', '.join(sorted(nowhere))}")
    return found


def recorded(
    own: Mapping[str, Hyperparameters], optimizer: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Every hyperparameter of the one optimizer; of all, those that were given."""
    return dict(given) if optimizer == ALL else asdict(own[optimizer])


def headline(experiments: list[Experiment], optimizer: str, noise: str) -> str:
    one = experiments[0]
    words = [f"k = {setting(one.k)}", f"{one.steps} steps of {one.size} gradients"]
    if noise != "gaussian" or one.snr:
        words.append(f"{noise} noise of snr {setting(one.snr)}")
    words += [f"rms(g) {setting(one.grad_scale)}", f"lr {setting(one.lr)}"]
    if one.clip is not None:
        words.append(f"clipped to {setting(one.clip)}")
    words += [one.dtype, f"seed {one.seed}"]
    own = "" if optimizer == ALL else _settings(one.optimizer)
    name = f"{len(experiments)} optimizers" if optimizer == ALL else optimizer
    return f"{name}{own}\n{', '.join(words)}"


def _settings(optimizer: Hyperparameters) -> str:
    """The settings that are numbers, such as beta1 0.9, eps 1e-08."""
    numbers = [
        f"{name} {setting(value)}"
        for name, value in asdict(optimizer).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and value
    ]
    return f" ({', '.join(numbers)})" if numbers else ""
