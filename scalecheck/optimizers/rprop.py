"""Rprop: the gradient's sign times a step size that grows while the sign stays."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scalecheck.optimizers.contract import (
    TORCH_FLAGS,
    UNIT,
    Entry,
    FloatArray,
    Gradient,
    Hyperparameters,
    LastUpdate,
    NoFormula,
    Positive,
    SavedState,
    Totals,
    Weights,
)
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization

MARGIN = 10.0  # of the RMS above step_size_min: half the step sizes and more are smaller


@dataclass(frozen=True)
class Optimizer(Hyperparameters):
    """torch.optim.Rprop: w ← w − sign(g)·s; s starts at the lr of the first step, and is
    multiplied by eta_plus where g has the sign of the step before, by eta_minus where it has the
    other. No later lr counts.

    Where the sign changed, the weight stays and the next step leaves s as it is. s is kept in
    step_size_min..step_size_max. torch's etas are (eta_minus, eta_plus), its step_sizes the
    bounds. Source: Riedmiller & Braun 1993, without its return to the weight before.
    """

    torch_class: ClassVar[str] = "Rprop"
    state: ClassVar[SavedState] = SavedState(
        entries={
            "step": Entry.STEP,
            "prev": Entry.LAST_GRADIENT,
            "step_size": Entry.STEP_SIZE,
        },
        pairs={
            "etas": ("eta_minus", "eta_plus"),
            "step_sizes": ("step_size_min", "step_size_max"),
        },
        optional_settings=TORCH_FLAGS,
    )
    heavy_tailed_updates: ClassVar[bool] = True
    only_first_lr: ClassVar[bool] = True

    eta_minus: Positive = 0.5
    eta_plus: Positive = 1.2
    step_size_min: Positive = 1e-6
    step_size_max: Positive = 50.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.eta_minus < 1 < self.eta_plus:
            raise ValueError(
                f"eta_minus {self.eta_minus}, eta_plus {self.eta_plus}: 1 is not between them"
            )

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """E[(s/lr)²; the weight moves]^½ for independent Gaussian gradients, while s is inside its
        bounds: eta_plus^(step−1) for a constant gradient, about 0.93^step for noise.

        Between two moves of one sign s² grows by eta_plus², a change of sign takes eta_minus² and a
        pause. Raises NoFormula in the limit, which is at step_size_min or step_size_max, where it
        is near to them at lr 1, and for other noise. Derived here, checked in
        tests/test_optimizers_replay.py.
        """
        require_step(step)
        gradient.require_gaussian()
        if step is None:
            raise NoFormula(
                "Rprop's step sizes end at step_size_min or step_size_max, whatever lr was"
            )
        positive = (1 + math.erf(gradient.snr / math.sqrt(2))) / 2
        negative = 1 - positive
        grown, shrunk = self.eta_plus**2, self.eta_minus**2
        # E[(s/lr)²] over: moved along +g, moved along −g, paused; column: from, row: to.
        transition = np.array(
            [
                [positive * grown, 0.0, positive],
                [0.0, negative * grown, negative],
                [negative * shrunk, positive * shrunk, 0.0],
            ]
        )
        with np.errstate(over="ignore", invalid="ignore"):
            moved = np.linalg.matrix_power(transition, step - 1) @ [positive, negative, 0.0]
        size = math.sqrt(moved[0] + moved[1])
        if size < MARGIN * self.step_size_min or size > self.step_size_max:
            raise NoFormula(f"Rprop's step sizes reach their bounds before step {step} at lr 1")
        return size

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """lr times it: the step sizes hold their own lr. prev is 0 where the weight stayed."""
        return LastUpdate(np.sign(state["prev"]) * state["step_size"])

    def last_update_rms(
        self, totals: Totals, numbers: Mapping[str, object], lr: float, step: int
    ) -> float:
        """That of the step over lr."""
        return super().last_update_rms(totals, numbers, lr, step) / lr

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, and both bounds times k."""
        return Reparameterization(1, {"step_size_min": 1, "step_size_max": 1})
