"""Optimizers that have a saved state and no formula here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Self

from scalecheck.optimizers.contract import (
    UNIT,
    FloatArray,
    Gradient,
    Hyperparameters,
    LastUpdate,
    NoFormula,
    SavedState,
    Weights,
)
from scalecheck.theory.schedule import Schedule

NOT_KNOWN = "not known"
NO_FORMULA = "there is no formula for it here"


@dataclass(frozen=True)
class WithoutFormula(Hyperparameters):
    """The optimizer of a saved state that has no formula here: not known, or known by its name.

    second_moment: its average of squared gradients, with beta2, in `state`; empty for none.
    """

    state: ClassVar[SavedState] = SavedState()
    state_without_step: ClassVar[bool] = True

    name: str = NOT_KNOWN
    why: str = ""
    weight_decay: float = 0.0
    second_moment: str = ""
    beta2: float = 0.0

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> NoReturn:
        """NoFormula: why."""
        raise NoFormula(self.why)

    def displacement(self, plan: Schedule, gradient: Gradient) -> NoReturn:
        """NoFormula."""
        raise NoFormula(NO_FORMULA)

    def equilibrium_rms(self, lr: float, gradient: Gradient) -> NoReturn:
        """NoFormula."""
        raise NoFormula(NO_FORMULA)

    def reparameterization(self) -> NoReturn:
        """NoFormula: why."""
        raise NoFormula(self.why)

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """The second moment, corrected for its zero start, and why no update."""
        if self.second_moment not in state:
            return LastUpdate(reason=self.why)
        square = state[self.second_moment] / (1 - self.beta2**step)
        return LastUpdate(square=square, reason=self.why)

    @classmethod
    def of(cls, name: str, why: str, weight_decay: float, settings: Mapping[str, Any]) -> Self:
        """That of a group of these settings."""
        return cls(name, why, weight_decay)
