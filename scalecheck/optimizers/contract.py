"""What every optimizer of the family states: its hyperparameters, the torch optimizer that it is,
the update RMS to expect of it, and how it follows the weights to another scale."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    NamedTuple,
    Protocol,
    Self,
    get_type_hints,
)

import numpy as np
from numpy.typing import NDArray

from scalecheck.errors import ScalecheckError
from scalecheck.theory.domain import (
    require_beta,
    require_finite,
    require_not_negative,
    require_positive,
    require_step,
)
from scalecheck.theory.noise import Gaussian, Noise, Sparse, StudentT
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.update_rms import GAUSSIAN

if TYPE_CHECKING:
    import torch

FloatArray = NDArray[np.float64]

# A hyperparameter's domain is part of its type; Validated checks it.
Beta = Annotated[float, require_beta]
Finite = Annotated[float, require_finite]
NotNegative = Annotated[float, require_not_negative]
Positive = Annotated[float, require_positive]


PAIRS = {
    "betas": ("beta1", "beta2"),
    "eps": ("eps1", "eps2"),
    "etas": ("eta_minus", "eta_plus"),
    "step_sizes": ("step_size_min", "step_size_max"),
}
"""What torch.optim takes as pairs, and the names of both."""


class NoFormula(ScalecheckError):
    """Theory has no such law for this optimizer or this gradient; the text is the reason."""


REFUSALS = (NoFormula, ValueError, ArithmeticError)
"""What the laws of an optimizer raise where they have no answer: none is known, a number lies
outside its domain, or leaves the range of float64."""


def refusal(error: Exception) -> str:
    """One of REFUSALS in words."""
    left = isinstance(error, ArithmeticError)
    return "its numbers leave the range of float64" if left else str(error)


@dataclass(frozen=True)
class Validated:
    """A frozen dataclass whose fields lie in the domains of their types. Raises ValueError."""

    def __post_init__(self) -> None:
        for name, require in _domains(type(self)):  # type: ignore[arg-type] # mypy: its instances' hash
            require(name, getattr(self, name))


@cache
def _domains(kind: type) -> list[tuple[str, Callable[[str, float], None]]]:
    """The fields of a class with each check of their types."""
    hints = get_type_hints(kind, include_extras=True)
    return [
        (field.name, require)
        for field in fields(kind)
        for require in getattr(hints[field.name], "__metadata__", ())
    ]


@dataclass(frozen=True)
class Gradient(Validated):
    """The law of a tensor's gradient over time, the same for every element.

    rms: √E[g²]. snr: mean/std of an element; 1e6 and more is a constant gradient. noise: how the
    gradients of one element vary around their mean.
    """

    rms: Positive = 1.0
    snr: Finite = 0.0
    noise: Noise = GAUSSIAN

    def over(self, eps: float) -> float:
        """rms/eps, inf for eps = 0."""
        return self.rms / eps if eps else math.inf

    def reached(self, step: int | None) -> float:
        """The share of elements that had a gradient other than 0 by this step; None is late."""
        if not isinstance(self.noise, Sparse) or step is None:
            return 1.0
        return 1 - (1 - self.noise.density) ** step

    def require_independent(self) -> None:
        """Raises NoFormula for gradients that depend on earlier ones or have no mean square."""
        if self.noise.needs_every_lag:
            raise NoFormula(f"{self.noise}: solved for independent gradients only")
        if isinstance(self.noise, StudentT) and self.noise.dof <= 2:
            raise NoFormula(f"{self.noise}: a gradient without a mean square has no update RMS")

    def require_gaussian(self) -> None:
        """Raises NoFormula for any other noise than Gaussian."""
        if not isinstance(self.noise, Gaussian):
            raise NoFormula(f"{self.noise}: solved for independent Gaussian gradients only")


@dataclass(frozen=True)
class Weights(Validated):
    """What an update RMS can depend on beside the gradient: a tensor's shape and RMS."""

    shape: tuple[int, ...] = (1,)
    rms: NotNegative = 1.0

    def require_nonzero(self) -> None:
        """Raises NoFormula for weights that are all zero: no update has a size relative to them."""
        if self.rms == 0:
            raise NoFormula("weights that are all zero have no relative update")


UNIT = Weights()


class LastUpdate(NamedTuple):
    """What a state tells of its elements; None where `reason` says why it does not.

    update: −Δw/lr of the step applied last, weight decay left out. mean: the gradient's average,
    square: that of its square, both corrected for their zero start.
    """

    update: FloatArray | None = None
    mean: FloatArray | None = None
    square: FloatArray | None = None
    reason: str = ""


@dataclass(frozen=True)
class Hyperparameters(Validated, ABC):
    """An optimizer without its lr: torch.optim's names and defaults, with beta1 and beta2 for the
    tuple betas. Members of the family are subclasses called Optimizer, one a module.

    torch_class: torch.optim's class of it; empty where it has none, and torch_optimizer makes one.
    relative_lr: lr is already the relative update, so that update_rms is relative as well.
    few_carry: the RMS of late updates of noise is that of a few elements, so that samples stray.
    precision: to which the reparameterization holds in float64 arithmetic.
    equal_updates: |Δw| is the same for all elements.
    state_without_step: its saved state does not count steps, nor needs to.
    """

    torch_class: ClassVar[str] = ""
    relative_lr: ClassVar[bool] = False
    heavy_tailed_updates: ClassVar[bool] = False
    precision: ClassVar[float] = 1e-9
    equal_updates: ClassVar[bool] = False
    state_without_step: ClassVar[bool] = False

    def torch_settings(self) -> dict[str, Any]:
        """The hyperparameters under the names of torch.optim's class, pairs as tuples."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        for pair, names in PAIRS.items():
            if names[0] in settings:
                values = (settings.pop(name) for name in names)
                settings[pair] = tuple(None if x is None else float(x) for x in values)
        return settings

    def torch_optimizer(
        self, params: "Iterable[torch.Tensor]", lr: float
    ) -> "torch.optim.Optimizer":
        """The running optimizer."""
        import torch

        kind = getattr(torch.optim, self.torch_class)
        running: torch.optim.Optimizer = kind(params, lr=lr, **self.torch_settings())
        return running

    @abstractmethod
    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """RMS of Δw/lr over the elements at this step, of Δw/(lr·rms(w)) where relative_lr.

        Weight decay's share is left out. step counts from 1; None is the limit of late steps.
        Raises NoFormula where theory has no answer, ValueError for step < 1 and for a gradient
        that theory's formulas refuse at these settings.
        """

    def formula_error(self, step: int | None = None) -> float:
        """Relative error of update_rms at this step, 0 where it is exact."""
        return 0.0

    def at_precision(self, epsilon: float) -> Self:
        """The optimizer with the defaults that it takes from the weights' type, whose relative
        spacing is epsilon."""
        return self

    def displacement(self, lr_sum: float, lr_square_sum: float, gradient: Gradient) -> float:
        """RMS of the sum of many updates, of Σlr and Σlr² over the steps, weight decay left out:
        drift adds up with Σlr, noise with √Σlr². Raises NoFormula where it is not solved."""
        raise NoFormula("how far its updates carry over many steps is not solved")

    def equilibrium_rms(self, lr: float, gradient: Gradient) -> float:
        """RMS at which weight decay and updates hold the weights in balance. Raises NoFormula where
        it is not solved, ValueError where lr or weight decay is not positive."""
        raise NoFormula("where weight decay holds its weights is not solved")

    def isolated_gradient_displacement(self) -> float:
        """Σ|Δw|/lr that one gradient of an element brings which had none for long. Raises NoFormula
        where it is not solved, ValueError where the sum diverges."""
        raise NoFormula("what a single gradient moves is not solved")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """What elements of a saved state of torch.optim's class tell after this step; float64,
        each of the parameter's elements under the state's own names. KeyError without one."""
        return LastUpdate(reason="its state does not tell the last update")

    @abstractmethod
    def reparameterization(self) -> Reparameterization:
        """How lr and hyperparameters follow weights k times larger. Raises NoFormula."""

    def effective_lr(self, lr: float, step: int | None = None) -> float:
        """The lr that counts at this step where lr is given: lr, unless the optimizer caps it."""
        require_step(step)
        return lr

    def rescaled(self, k: float) -> Self:
        """The optimizer that trains weights k times larger as this one does these, with
        lr' = k^lr_exponent·lr. Raises NoFormula, and ValueError for k not positive."""
        law = self.reparameterization()
        moved = law.apply({name: getattr(self, name) for name in law.exponents}, k)
        return replace(self, **moved)


class OptimizerModule(Protocol):
    """What a module of this folder has."""

    Optimizer: type[Hyperparameters]
