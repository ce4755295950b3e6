"""Adamax: Adam over the decaying maximum of |gradient| instead of its root mean square."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from scalecheck.optimizers.contract import (
    BETAS,
    TORCH_FLAGS,
    UNIT,
    Beta,
    Entry,
    Evidence,
    FloatArray,
    Gradient,
    Hyperparameters,
    LastUpdate,
    NoFormula,
    NotNegative,
    SavedState,
    Weights,
)
from scalecheck.theory.adam_relatives import adamax_update_rms
from scalecheck.theory.reparameterization import Reparameterization

EPS_COUNTS_BELOW = 1e3  # rms(g)/eps; above, eps takes less than 1% from the update, at step 1 most


@dataclass(frozen=True)
class Optimizer(Hyperparameters):
    """torch.optim.Adamax: w ← w − lr·m̂/u, u = max(beta2·u, |g| + eps), g including weight_decay·w.

    eps is added to every |g| before the maximum; the paper has none.
    Source: Kingma & Ba 2015, algorithm 2.
    """

    torch_class: ClassVar[str] = "Adamax"
    state: ClassVar[SavedState] = SavedState(
        entries={
            "step": Entry.STEP,
            "exp_avg": Entry.FIRST_MOMENT,
            "exp_inf": Entry.GRADIENT_MAXIMUM,
        },
        pairs=BETAS,
        optional_settings=TORCH_FLAGS,
        second_moment_factor="beta2",
        evidence=(Evidence(entry="exp_inf"),),
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """E[(m̂/max_i(beta2^i·|g_(t−i)|))²]^½, exact for eps = 0: 0.085 for noise.

        Raises NoFormula where rms(g)/eps is below EPS_COUNTS_BELOW, and for other than Gaussian
        noise.
        """
        gradient.require_gaussian()
        if gradient.over(self.eps) < EPS_COUNTS_BELOW:
            raise NoFormula(
                f"rms(g)/eps {gradient.over(self.eps):.4g}: solved for an eps that does not count"
            )
        return adamax_update_rms(self.beta1, self.beta2, step, gradient.snr)

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """m̂ over the largest gradient that is remembered, eps in it."""
        mean = state["exp_avg"] / (1 - self.beta1**step)
        return LastUpdate(mean / state["exp_inf"], mean)

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k, weight_decay' = weight_decay/k²."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -2})
