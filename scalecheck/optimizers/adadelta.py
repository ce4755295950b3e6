"""Adadelta: Adagrad's successor that takes the size of a step from the steps before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NoReturn

from scalecheck.optimizers.contract import (
    TORCH_FLAGS,
    UNIT,
    Beta,
    Entry,
    FloatArray,
    Gradient,
    Hyperparameters,
    LastUpdate,
    NoFormula,
    NotNegative,
    SavedState,
    Weights,
)


@dataclass(frozen=True)
class Optimizer(Hyperparameters):
    """torch.optim.Adadelta: Δ = g·√(D + eps)/√(v + eps), w ← w − lr·Δ.

    v and D are the moving averages of g² and Δ² with rho, from zero; g includes weight_decay·w.
    Source: Zeiler 2012, who has no lr.
    """

    torch_class: ClassVar[str] = "Adadelta"
    state: ClassVar[SavedState] = SavedState(
        entries={
            "step": Entry.STEP,
            "square_avg": Entry.SECOND_MOMENT,
            "acc_delta": Entry.UPDATE_SECOND_MOMENT,
        },
        optional_settings=TORCH_FLAGS,
        second_moment_factor="rho",
    )

    rho: Beta = 0.9
    eps: NotNegative = 1e-6
    weight_decay: NotNegative = 0.0

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> NoReturn:
        """NoFormula: an update's size is fed back from the updates before it, from √eps on."""
        raise NoFormula(
            "Adadelta takes the size of a step from its earlier steps, starting at √eps: "
            "no expectation in closed form"
        )

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """The average of squared gradients."""
        square = state["square_avg"] / (1 - self.rho**step)
        why = "Adadelta's last update is of a gradient that its state does not hold"
        return LastUpdate(square=square, reason=why)

    def reparameterization(self) -> NoReturn:
        """NoFormula: eps is added to a mean square of gradients and to one of updates.

        Two separate eps, one over k² and one times k², would make lr relative.
        """
        raise NoFormula(
            "Adadelta adds one eps to squared gradients, which shrink with k², and to squared "
            "updates, which grow with k²: no exponent fits both"
        )
