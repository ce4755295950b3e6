"""What every optimizer of the family states: its hyperparameters, the torch optimizer that it is,
what its saved state looks like, the update RMS to expect of it, and how it follows the weights to
another scale."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from functools import cache
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    NamedTuple,
    Protocol,
    Self,
    get_args,
    get_origin,
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
from scalecheck.theory.schedule import Schedule
from scalecheck.theory.update_rms import GAUSSIAN

if TYPE_CHECKING:
    import torch

FloatArray = NDArray[np.float64]

# A hyperparameter's domain is part of its type; Validated checks it.
Beta = Annotated[float, require_beta]
Finite = Annotated[float, require_finite]
NotNegative = Annotated[float, require_not_negative]
Positive = Annotated[float, require_positive]
PositiveOrNone = Annotated[float | None, require_positive]


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
        for name, require, is_optional in _domains(type(self)):  # type: ignore[arg-type] # mypy: its instances' hash
            number = getattr(self, name)
            if not (is_optional and number is None):
                require(name, number)


@cache
def _domains(kind: type) -> list[tuple[str, Callable[[str, float], None], bool]]:
    """The fields of a class with each check of their types, and whether they can be None."""
    hints = get_type_hints(kind, include_extras=True)
    return [
        (each.name, require, NoneType in get_args(get_args(hint)[0]))
        for each in fields(kind)
        if get_origin(hint := hints[each.name]) is Annotated
        for require in hint.__metadata__
    ]


CONSTANT = 1e6  # an snr from which on a gradient is as good as constant


@dataclass(frozen=True)
class Gradient(Validated):
    """The law of a tensor's gradient over time, the same for every element.

    rms: √E[g²], None where it is not known. snr: mean/std of an element; 1e6 and more is a constant
    gradient. noise: how the gradients of one element vary around their mean.
    """

    rms: PositiveOrNone = 1.0
    snr: Finite = 0.0
    noise: Noise = GAUSSIAN

    @property
    def known_rms(self) -> float:
        """Its rms. Raises NoFormula where it is not known."""
        if self.rms is None:
            raise NoFormula("the RMS of its gradients is not known")
        return self.rms

    @property
    def is_constant(self) -> bool:
        """Its noise is too small to count."""
        return abs(self.snr) >= CONSTANT

    def over(self, eps: float) -> float:
        """rms/eps, inf for eps = 0. Raises NoFormula for an eps beside an rms that is not known."""
        return self.known_rms / eps if eps else math.inf

    def kept(self, eps: float) -> float:
        """The share of an update that eps beside √v leaves, v as steady as it is late."""
        ratio = self.over(eps)
        return ratio / (ratio + 1) if ratio < math.inf else 1.0

    def reached(self, step: int | None) -> float:
        """The share of elements that had a gradient by this step; None is the steady state."""
        if not isinstance(self.noise, Sparse) or self.snr or step is None:
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


class Entry(Enum):
    """What an entry of a parameter's saved state is."""

    STEP = "the number of steps done"
    MOMENTUM_PRODUCT = "the product of the momentum factors of all steps"
    FIRST_MOMENT = "a moving average of gradients"
    SLOW_FIRST_MOMENT = "a moving average of gradients over many more steps"
    GRADIENT_CHANGE = "a moving average of the gradient's change since the step before"
    MOMENTUM = "a decaying sum of gradients or of updates"
    SECOND_MOMENT = "a moving average of squared gradients"
    SECOND_MOMENT_MAXIMUM = "the largest second moment so far"
    SECOND_MOMENT_ROWS = "the second moment averaged over each row"
    SECOND_MOMENT_COLUMNS = "the second moment averaged over each column"
    SQUARE_SUM = "the sum of all squared gradients"
    GRADIENT_MAXIMUM = "a decaying maximum of |gradient|"
    VARIANCE = "a moving average of squared distances of gradients from their average"
    CURVATURE = "a moving average of estimates of the Hessian's diagonal"
    UPDATE_SECOND_MOMENT = "a moving average of squared updates"
    LAST_GRADIENT = "the gradient of the step before"
    STEP_SIZE = "the step size of each element"
    INSTABILITY_ROWS = "how far updates stray from their average, squared, over each row"
    INSTABILITY_COLUMNS = "how far updates stray from their average, squared, over each column"
    WEIGHTS_RMS = "the RMS of the weights before the step"
    START = "the weights before the first step"
    ITERATE = "weights that move beside the ones in use"
    FIRST_NORM = "the norm of the first gradient"
    NORM_AVERAGE = "a moving average of the squared norm of gradients"
    LR_AVERAGE = "a moving average of the lr"

    @property
    def has_own_shape(self) -> bool:
        """Whether it has the parameter's shape."""
        return self not in (
            Entry.STEP,
            Entry.MOMENTUM_PRODUCT,
            Entry.FIRST_NORM,
            Entry.NORM_AVERAGE,
            Entry.LR_AVERAGE,
            Entry.SECOND_MOMENT_ROWS,
            Entry.SECOND_MOMENT_COLUMNS,
            Entry.INSTABILITY_ROWS,
            Entry.INSTABILITY_COLUMNS,
            Entry.WEIGHTS_RMS,
        )


SECOND_MOMENTS = (
    Entry.SECOND_MOMENT,
    Entry.SECOND_MOMENT_MAXIMUM,
    Entry.SECOND_MOMENT_ROWS,
    Entry.SECOND_MOMENT_COLUMNS,
    Entry.SQUARE_SUM,
)


class Condition(NamedTuple):
    """What a setting fulfils, and one that does."""

    holds: Callable[[object], bool]
    example: object


@dataclass(frozen=True)
class Writer:
    """The whole set of names that a program saves for an optimizer. A state is that program's where
    everything required is there and nothing that the program does not write.

    settings, entries: what each group has beside lr and params, and each parameter that had a
    gradient. optional_settings, optional_entries: what some versions or settings add. values: what
    a setting is where it is there, as the formula holds for this alone, or a Condition of it. step
    is an entry or, of programs that count once for all, a setting, which `count` gives another
    name. names: its names for hyperparameters, by those that the optimizer has here. implies:
    hyperparameters that the program alone tells. without: settings that tell another program from
    it. of_one_group: settings that the program takes from one group for all of them.
    """

    settings: Collection[str] = ()
    entries: Collection[str] = ()
    optional_settings: Collection[str] = ()
    optional_entries: Collection[str] = ()
    values: Mapping[str, object] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    implies: Mapping[str, object] = field(default_factory=dict)
    without: Collection[str] = ()
    of_one_group: Collection[str] = ()
    count: str = "step"


@dataclass(frozen=True)
class SavedState:
    """What an optimizer's state_dict() looks like, beside lr and params of each group.

    The settings of a group are the hyperparameters, by `pairs` some of them as tuples, and `fixed`.

    entries: what is kept for each parameter that had a gradient. optional_entries: what some
    settings or shapes add. pairs: a tuple's name and those of its numbers. fixed: settings that
    always have the same value. optional_settings: what some versions of the optimizer leave out;
    those that are neither hyperparameters nor fixed say how torch computes. second_moment_factor:
    the hyperparameter that the second moment is averaged with. keeps_dimensions: averages over rows
    and columns keep the dimension that they were taken over, of size 1, as torch's do. is_distinct:
    no optimizer of another formula saves the same names, so that they tell it. writers: other
    programs that save it.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    optional_entries: Mapping[str, Entry] = field(default_factory=dict)
    pairs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fixed: Mapping[str, object] = field(default_factory=dict)
    optional_settings: Collection[str] = ()
    second_moment_factor: str | None = None
    keeps_dimensions: bool = True
    is_distinct: bool = True
    writers: tuple[Writer, ...] = ()

    @property
    def every_entry(self) -> Mapping[str, Entry]:
        """The entries and the optional ones."""
        return {**self.entries, **self.optional_entries}


TORCH_FLAGS = ("foreach", "maximize", "differentiable", "capturable")
"""How torch.optim's classes compute; versions differ in which they write."""

BETAS = {"betas": ("beta1", "beta2")}
WEIGHTS = "weights after the step"
"""The name of the weights beside the entries of a state, where update_needs_weights."""

THREE_BETAS = {"betas": ("beta1", "beta2", "beta3")}
ADAM_ENTRIES = {
    "step": Entry.STEP,
    "exp_avg": Entry.FIRST_MOMENT,
    "exp_avg_sq": Entry.SECOND_MOMENT,
}
"""What Adam and its relatives keep."""


class LastUpdate(NamedTuple):
    """What a state tells of its elements; None where `reason` says why it does not.

    update: −Δw/lr of the step applied last, weight decay left out. mean: the gradient's average,
    square: that of its square, both corrected for their zero start. near: about as large as the
    update, where that holds a gradient that the state does not.
    """

    update: FloatArray | None = None
    mean: FloatArray | None = None
    square: FloatArray | None = None
    reason: str = ""
    near: FloatArray | None = None


def entry(state: Mapping[str, FloatArray], *names: str) -> FloatArray:
    """The entry of a state that programs save under different names. KeyError of the first."""
    return state[next((name for name in names if name in state), names[0])]


class Totals(NamedTuple):
    """Sums over the elements of a tensor that have a finite update. numel: how many, update_square:
    of the squares of LastUpdate.update, weights_square: of those of the weights after it,
    update_weights: of their products; the last two None where the weights are not known."""

    numel: int
    update_square: float
    weights_square: float | None = None
    update_weights: float | None = None


@dataclass(frozen=True)
class Hyperparameters(Validated, ABC):
    """An optimizer without its lr: torch.optim's names and defaults, with beta1 and beta2 for the
    tuple betas. Members of the family are subclasses called Optimizer, one a module.

    state: what its saved state looks like.
    torch_class: torch.optim's class of it; empty where it has none, and torch_optimizer makes one.
    spellings: names that other programs have for it, where they are not its name here with other
    capitals or a suffix such as 8bit.
    relative_lr: lr is already the relative update, so that update_rms is relative as well.
    heavy_tailed_updates: a few elements make up the RMS of late updates of noise, so samples stray.
    precision: to which the reparameterization holds in float64 arithmetic.
    equal_updates: |Δw| is the same for all elements that move.
    state_without_step: its saved state does not count steps, nor needs to.
    update_needs_weights: the last update follows from its state and the weights after it.
    update_needs_tensor: the last update follows from its state as a whole, no element by itself.
    needs_lr: it has no lr of its own, so that one must be known.
    only_first_lr: the lr of its first step alone counts.
    estimates_lr: it multiplies lr by an estimate that grows during a run.
    """

    state: ClassVar[SavedState]
    torch_class: ClassVar[str] = ""
    spellings: ClassVar[Collection[str]] = ()
    relative_lr: ClassVar[bool] = False
    heavy_tailed_updates: ClassVar[bool] = False
    precision: ClassVar[float] = 1e-9
    equal_updates: ClassVar[bool] = False
    state_without_step: ClassVar[bool] = False
    update_needs_weights: ClassVar[bool] = False
    update_needs_tensor: ClassVar[bool] = False
    needs_lr: ClassVar[bool] = True
    only_first_lr: ClassVar[bool] = False
    estimates_lr: ClassVar[bool] = False

    def torch_settings(self) -> dict[str, Any]:
        """The hyperparameters under the names of torch.optim's class, pairs as tuples."""
        settings = {each.name: getattr(self, each.name) for each in fields(self)}
        for pair, names in self.state.pairs.items():
            values = (settings.pop(name) for name in names)
            settings[pair] = tuple(None if x is None else float(x) for x in values)
        return settings

    @property
    def second_moment_factor(self) -> float | None:
        """What its second moment is averaged with; None where it has no such average."""
        name = self.state.second_moment_factor
        return None if name is None else float(getattr(self, name))

    def torch_optimizer(
        self, params: "Iterable[torch.Tensor]", lr: float
    ) -> "torch.optim.Optimizer":
        """The running optimizer."""
        import torch

        kind = getattr(torch.optim, self.torch_class)
        running: torch.optim.Optimizer = kind(params, lr=lr, **self.torch_settings())
        return running

    @property
    def decay_scale(self) -> float:
        """What lr·weight_decay is multiplied by where the decay is beside the gradient."""
        return 1.0

    @abstractmethod
    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """RMS of Δw/lr over the elements at this step, of Δw/(lr·rms(w)) where relative_lr.

        Weight decay's share is left out. step counts from 1; None is the steady state.
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

    def displacement(self, plan: Schedule, gradient: Gradient) -> float:
        """RMS of Σ Δw over the steps of a schedule at a peak lr of 1, weight decay left out; it
        grows with the lr. The optimizer has made plan.done steps before, on gradients of the same
        law, whose averages it keeps. Raises NoFormula where it is not solved."""
        if self.estimates_lr:
            raise NoFormula("it multiplies lr by its estimate d, which grows during a run")
        raise NoFormula("no formula is known for the sum of its updates over many steps")

    def equilibrium_rms(self, lr: float, gradient: Gradient) -> float:
        """RMS at which updates and weight decay hold weights. Raises NoFormula where no such RMS is
        known; needs a weight decay other than 0."""
        raise NoFormula("no formula for it has been checked against runs")

    def isolated_gradient_displacement(self) -> float:
        """Σ|Δw|/lr that one gradient of an element brings which had none for long. Raises NoFormula
        where it is not solved or the sum diverges."""
        raise NoFormula("what a single gradient moves is not solved")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """What elements of a saved state of torch.optim's class tell after this step; float64, each
        of the parameter's elements under the state's own names, of shape (n,). Averages over rows
        and columns are those of each element's row and column, and over rows divided by their own
        average; the weights after the step under WEIGHTS where update_needs_weights and they are
        known; of a state without entries of the parameter's shape the rows are given alone, as they
        are. KeyError without one."""
        return LastUpdate(reason="its state does not tell the last update")

    def last_update_from_tensors(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """As last_update_from_state, of the tensors of a saved state in their shapes: asked where
        update_needs_tensor, of parameters that are not too large. Raises NoFormula where they do
        not tell the update, and KeyError without one."""
        return self.last_update_from_state({name: x.ravel() for name, x in state.items()}, step)

    def last_update_rms(
        self, totals: Totals, numbers: Mapping[str, object], lr: float, step: int
    ) -> float:
        """RMS of Δw/lr of the step applied last, of Δw/(lr·rms(w)) where relative_lr, from sums
        over the whole tensor; numbers are the state's entries that are one number. Raises NoFormula
        where they do not tell it."""
        return math.sqrt(totals.update_square / totals.numel)

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
