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

NOT_KNOWN = "not known"


@dataclass(frozen=True)
class WithoutFormula(Hyperparameters):
    """The optimizer of a saved state that has no formula here: not known, or known by its name."""

    state: ClassVar[SavedState] = SavedState()
    state_without_step: ClassVar[bool] = True

    name: str = NOT_KNOWN
    why: str = ""
    weight_decay: float = 0.0

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> NoReturn:
        """NoFormula: why."""
        raise NoFormula(self.why)

    def reparameterization(self) -> NoReturn:
        """NoFormula: why."""
        raise NoFormula(self.why)

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """None, for the same reason."""
        return LastUpdate(reason=self.why)

    @classmethod
    def of(cls, name: str, why: str, weight_decay: float, settings: Mapping[str, Any]) -> Self:
        """That of a group of these settings."""
        return cls(name, why, weight_decay)
