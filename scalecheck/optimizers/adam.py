"""Adam: the gradient's moving average over the root of its square's."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scalecheck.optimizers.contract import (
    ADAM_ENTRIES,
    BETAS,
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
    Writer,
)
from scalecheck.theory.displacement import average_sums
from scalecheck.theory.drift import displacement_rms
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.schedule import Schedule
from scalecheck.theory.update_rms import expected_update

PLAIN = Writer(
    settings=("betas", "eps", "weight_decay"), entries=ADAM_ENTRIES, without=("foreach",)
)
"""Adam as published, of programs of one's own."""

APEX = Writer(
    settings=("betas", "eps", "weight_decay", "bias_correction"),
    entries=("exp_avg", "exp_avg_sq"),
    optional_settings=("step", "amsgrad"),
    optional_entries=("step",),
    values={"bias_correction": True, "amsgrad": False},
)
"""apex's and DeepSpeed's FusedAdam, and DeepSpeedCPUAdam, of which some count for each parameter.
Where weight decay is, they do not write."""


@dataclass(frozen=True)
class Optimizer(Hyperparameters):
    """torch.optim.Adam: w ← w − lr·m̂/(√v̂ + eps), g including weight_decay·w (coupled L2).

    m and v average g and g² with beta1 and beta2, hats divide by 1 − beta^step; amsgrad: v̂ from
    the largest v so far. eps is added to √v̂; TensorFlow adds it to √v, which makes it
    1/√(1−beta2^step) times larger. optax.adam has no weight_decay.
    Source: Kingma & Ba 2015; amsgrad: Reddi et al. 2018.
    """

    torch_class: ClassVar[str] = "Adam"
    state: ClassVar[SavedState] = SavedState(
        entries=ADAM_ENTRIES,
        optional_entries={"max_exp_avg_sq": Entry.SECOND_MOMENT_MAXIMUM},
        pairs=BETAS,
        fixed={"decoupled_weight_decay": False},
        optional_settings=(*TORCH_FLAGS, "fused", "decoupled_weight_decay"),
        second_moment_factor="beta2",
        writers=(PLAIN, APEX),
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0
    amsgrad: bool = False

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """E[(m̂/(√v̂ + eps))²]^½, exact: 0.2293 for noise, 1 at step 1 or for a constant gradient.

        Raises NoFormula for amsgrad after step 1: the law of a running maximum is not solved.
        Adam's is an upper bound for it.
        """
        if step != 1:
            self._require_average()
        return expected_update(
            self.beta1,
            self.beta2,
            gradient.snr,
            step,
            gradient.over(self.eps),
            gradient.noise,
        ).rms

    def displacement(self, plan: Schedule, gradient: Gradient) -> float:
        """√((d·Σlr)² + (1−d²)·ΣS²), d the share of drift, S what a gradient moves through m, v as
        steady as it is late; where eps counts, times what it leaves of an update. Independent
        gradients; of amsgrad, whose v is no average, constant ones."""
        gradient.require_independent()
        if not gradient.is_constant:
            self._require_average()
        sums = average_sums(plan, self.beta1)
        return displacement_rms(*sums, gradient.snr) * gradient.kept(self.eps)

    def equilibrium_rms(self, lr: float, gradient: Gradient) -> float:
        """√(lr·rms(g)/(2·weight_decay)) for noise, while weight_decay·rms(w) ≪ rms(g): the decay is
        in the gradient (coupled L2)."""
        gradient.require_independent()
        return math.sqrt(lr * gradient.known_rms / (2 * self.weight_decay))

    def isolated_gradient_displacement(self) -> float:
        """(1−beta1)/(√(1−beta2)·(1−beta1/√beta2)), momentum's tail included: 31.8 at (0.9, 0.999).
        Raises NoFormula for beta1² ≥ beta2, where the sum diverges."""
        if self.beta1 and self.beta1**2 >= self.beta2:
            raise NoFormula(f"beta1 {self.beta1}, beta2 {self.beta2}: the displacement is infinite")
        ratio = self.beta1 / math.sqrt(self.beta2) if self.beta1 else 0.0
        return (1 - self.beta1) / (math.sqrt(1 - self.beta2) * (1 - ratio))

    def _require_average(self) -> None:
        """Raises NoFormula for amsgrad."""
        if self.amsgrad:
            raise NoFormula("amsgrad divides by a running maximum, whose law is not solved")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """m̂/(√v̂ + eps), v̂ of amsgrad from the largest v."""
        mean = state["exp_avg"] / (1 - self.beta1**step)
        square = state["exp_avg_sq"] / (1 - self.beta2**step)
        divisor = square
        if self.amsgrad:
            divisor = state["max_exp_avg_sq"] / (1 - self.beta2**step)
        return LastUpdate(mean / (np.sqrt(divisor) + self.eps), mean, square)

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k; weight_decay' = weight_decay/k², as it joins the gradient."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -2})
