"""LAMB: Adam's update stretched to the length of the weights, so that lr is relative."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scalecheck.optimizers._lamb_writers import WRITERS
from scalecheck.optimizers._per_tensor import PerTensor, moving_average
from scalecheck.optimizers.contract import (
    ADAM_ENTRIES,
    BETAS,
    UNIT,
    Beta,
    FloatArray,
    Gradient,
    LastUpdate,
    NoFormula,
    NotNegative,
    SavedState,
    Totals,
    Weights,
)
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.update_rms import expected_update

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

ZERO_START = 1e-5  # to which weights are lr times the update, relative, where they began at zero


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """u = m̂/(√v̂ + eps) + weight_decay·w, w ← w − lr·‖w‖/‖u‖·u.

    The paper's φ is the identity: implementations that cap ‖w‖ or the ratio lose the law where the
    cap acts. The ratio is 1 where a norm is 0, and lr is not relative there. weight_decay counts
    through the direction only, or with decoupled_weight_decay beside it: w first shrinks by
    lr·weight_decay. always_adapt False leaves weights without decay unscaled; None is one of both.
    bias_correction False takes m and v as they are; grad_averaging False adds gradients to m whole.
    Source: You et al. 2020, algorithm 2.
    """

    state: ClassVar[SavedState] = SavedState(
        entries=ADAM_ENTRIES,
        pairs=BETAS,
        second_moment_factor="beta2",
        is_distinct=False,
        writers=WRITERS,
    )
    update_needs_weights: ClassVar[bool] = True

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-6
    weight_decay: NotNegative = 0.01
    bias_correction: bool = True
    grad_averaging: bool = True
    decoupled_weight_decay: bool = False
    always_adapt: bool | None = True

    @property
    def relative_lr(self) -> bool:  # type: ignore[override] # it depends on settings
        """Unless weights without decay are left unscaled."""
        return self.always_adapt is not False or self.weight_decay > 0

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """1, exactly, weight decay in the direction included; Adam's for weights that are left
        unscaled. Raises NoFormula for weights that are all zero."""
        require_step(step)
        if self.relative_lr:
            weights.require_nonzero()
            return 1.0
        b1, b2, over_eps = self.beta1, self.beta2, gradient.over(self.eps)
        update = expected_update(
            *(b1, b2, gradient.snr, step, over_eps, gradient.noise),
            bias_correction=self.bias_correction,
        )
        return update.rms * self._sum_factor

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """m̂/(√v̂ + eps), before it is stretched."""
        m, v = state["exp_avg"], state["exp_avg_sq"]
        first, second = self._corrections(step)
        update = m / first / (np.sqrt(v / second) + self.eps)
        mean = m / (1 - self.beta1**step) / self._sum_factor
        return LastUpdate(update, mean, v / (1 - self.beta2**step))

    def last_update_rms(
        self, totals: Totals, numbers: Mapping[str, object], lr: float, step: int
    ) -> float:
        """‖Δw‖/(lr·‖w‖), w after the step; by the norms that the program saved, if it did."""
        if not self.relative_lr:
            return math.sqrt(totals.update_square / totals.numel)
        if not totals.weights_square or totals.update_weights is None:
            raise NoFormula("the weights that its update is relative to are not known, or all zero")
        if self.always_adapt is None and (not self.weight_decay or "trust_ratio" in numbers):
            raise NoFormula(
                "its state does not say whether it scales this update to the weights, taken as so"
            )
        ratio, norm = numbers.get("trust_ratio"), numbers.get("adam_norm")
        if isinstance(ratio, float | int) and isinstance(norm, float | int):
            moved = ratio * norm / (1 - self.beta1**step)  # pytorch_optimizer's lr is divided so
            return moved / math.sqrt(totals.weights_square)
        decay = 0.0 if self.decoupled_weight_decay else self.weight_decay
        return _stretched(
            totals.update_square, totals.weights_square, totals.update_weights, decay, lr
        )

    def reparameterization(self) -> Reparameterization:
        """lr' = lr, eps' = eps/k, weight_decay' = weight_decay/k unless it is decoupled; lr' = k·lr
        for weights that are left unscaled."""
        if not self.relative_lr:
            return Reparameterization(1, {"eps": -1})
        decay = {} if self.decoupled_weight_decay else {"weight_decay": -1}
        return Reparameterization(0, {"eps": -1, **decay})

    @property
    def _sum_factor(self) -> float:
        """What m is larger by than an average."""
        return 1.0 if self.grad_averaging else 1 / (1 - self.beta1)

    def _corrections(self, step: int) -> tuple[float, float]:
        """What m and v are divided by."""
        if not self.bias_correction:
            return 1.0, 1.0
        return 1 - self.beta1**step, 1 - self.beta2**step

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        first, second = self._corrections(state["step"])
        m = moving_average(state, "exp_avg", self.beta1, gradient * self._sum_factor) / first
        v = moving_average(state, "exp_avg_sq", self.beta2, gradient * gradient) / second
        update = (m / (v.sqrt() + self.eps)).masked_fill(m == 0, 0.0)  # 0/0 where eps is 0
        if self.decoupled_weight_decay:
            weights.mul_(1 - lr * self.weight_decay)
        else:
            update += self.weight_decay * weights
        length, update_length = float(weights.norm()), float(update.norm())
        adapts = self.relative_lr and length and update_length
        weights.sub_(update, alpha=lr * (length / update_length if adapts else 1.0))


def _stretched(update: float, weights: float, products: float, decay: float, lr: float) -> float:
    """‖Δw‖/(lr·‖w‖) by ‖u‖², ‖w‖² and u·w of the weights w after the step.

    Those before it are (w + t·u)/(1 − t·decay) with t = lr·‖w before‖/‖u + decay·w before‖, so that
    t²·‖u + decay·w‖² = lr²·‖w + t·u‖². Raises NoFormula where that has not one positive solution.
    """
    is_parallel = math.isclose(-products, math.sqrt(update * weights), rel_tol=ZERO_START)
    if is_parallel and math.isclose(weights, lr**2 * update, rel_tol=ZERO_START):
        return 1 / lr  # weights that are lr times the update were zero, and it was not stretched
    direction = update + 2 * decay * products + decay**2 * weights
    leading = direction - lr**2 * update
    if leading <= 0:
        raise NoFormula("its direction is as short as its update is relative to the weights")
    root = math.sqrt(lr**2 * products**2 + leading * weights)
    t = lr * (lr * products + root) / leading
    return t * math.sqrt(direction / weights) / abs(1 - t * decay) / lr
