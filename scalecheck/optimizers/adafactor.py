"""Adafactor: the clipped gradient over factored second moments, relative to the weights' RMS."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from scalecheck.optimizers._factored import vector_update_rms
from scalecheck.optimizers.contract import (
    UNIT,
    Entry,
    Finite,
    FloatArray,
    Gradient,
    Hyperparameters,
    LastUpdate,
    NotNegative,
    Positive,
    PositiveOrNone,
    SavedState,
    Weights,
)
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization

FLOAT32_EPS = 2.0**-23  # torch's eps1 for float32 weights, where none is given


@dataclass(frozen=True)
class Optimizer(Hyperparameters):
    """torch.optim.Adafactor: w ← w − max(eps2, rms(w))·min(lr, 1/√t)·u/max(1, rms(u)/d).

    u = g/√v̂, v averages g² with beta2_t = 1 − t^beta2_decay; of a matrix only the means over its
    rows and columns are kept, v̂ = row·col/max(mean(row), eps1), at least eps1². eps1 None is the
    eps of the weights' dtype. w first shrinks by lr·weight_decay, with lr as given; Hugging Face
    multiplies the decay by rms(w) as well and has eps1 = 1e-30, added to g².
    Source: Shazeer & Stern 2018.
    """

    torch_class: ClassVar[str] = "Adafactor"
    state: ClassVar[SavedState] = SavedState(
        entries={"step": Entry.STEP},
        optional_entries={
            "row_var": Entry.SECOND_MOMENT_ROWS,
            "col_var": Entry.SECOND_MOMENT_COLUMNS,
            "variance": Entry.SECOND_MOMENT,
        },
        pairs={"eps": ("eps1", "eps2")},
        optional_settings=("foreach", "maximize"),
    )
    relative_lr: ClassVar[bool] = True

    beta2_decay: Finite = -0.8
    eps1: PositiveOrNone = None
    eps2: NotNegative = 1e-3
    d: Positive = 1.0
    weight_decay: NotNegative = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d < 1:
            raise ValueError(f"d {self.d} is below 1")
        if self.beta2_decay > 0:
            raise ValueError(f"beta2_decay {self.beta2_decay} is above 0")

    def effective_lr(self, lr: float, step: int | None = None) -> float:
        """min(lr, 1/√step); lr where the step is not known."""
        require_step(step)
        return lr if step is None else min(lr, 1 / math.sqrt(step))

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """min(rms(u), d)·max(eps2/rms(w), 1), an update of an effective_lr of 1.

        rms(u) is 1 for a matrix of many elements. For a vector it is exact for independent noise,
        and below 1 by 5% at most, at step 3. eps1 counts, as for float32 if it is None, only
        below rms(g) = √eps1: u of a matrix is √eps1/rms(g) then, but not above rms(g)/eps1.
        Raises NoFormula for weights that are all zero.
        """
        require_step(step)
        weights.require_nonzero()
        eps1 = FLOAT32_EPS if self.eps1 is None else self.eps1
        rms = gradient.known_rms
        if len(weights.shape) > 1:
            root = rms**2 / max(rms, math.sqrt(eps1))
            unclipped = rms / max(root, eps1)
        else:
            unclipped = min(vector_update_rms(self.beta2_decay, gradient, step), rms / eps1)
        return min(unclipped, self.d) * max(self.eps2 / weights.rms, 1.0)

    def at_precision(self, epsilon: float) -> Self:
        """eps1 None is the weights' spacing."""
        return replace(self, eps1=epsilon) if self.eps1 is None else self

    def formula_error(self, step: int | None = None) -> float:
        """Row and column means of a finite matrix."""
        return 0.01

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """The squares of a vector's gradients, and of a matrix's their means over its rows."""
        square = state["variance"] if "variance" in state else state["row_var"]
        why = "Adafactor's last update is of a gradient that its state does not hold"
        return LastUpdate(square=square, reason=why)

    def reparameterization(self) -> Reparameterization:
        """lr' = lr, eps2' = k·eps2. An eps1 that counts has no law: it bounds a mean square and,
        squared, another."""
        return Reparameterization(0, {"eps2": 1})
