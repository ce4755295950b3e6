"""LaProp: Adam that averages gradients after they are divided by the second moment's root."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

from scalecheck.optimizers._per_tensor import PerTensor, moving_average
from scalecheck.optimizers.contract import (
    BETAS,
    UNIT,
    Beta,
    Entry,
    FloatArray,
    Gradient,
    LastUpdate,
    NoFormula,
    NotNegative,
    SavedState,
    Totals,
    Weights,
    Writer,
)
from scalecheck.theory.domain import require_step
from scalecheck.theory.reparameterization import Reparameterization

if TYPE_CHECKING:
    import torch

    from scalecheck.optimizers._per_tensor import State

PYTORCH_OPTIMIZER = Writer(
    settings=(
        *("betas", "eps", "weight_decay", "weight_decouple", "fixed_decay", "step"),
        *("centered", "ams_bound"),
    ),
    entries=("exp_avg", "exp_avg_sq", "exp_avg_lr_1", "exp_avg_lr_2"),
    optional_settings=("cautious",),
    optional_entries=("exp_mean_avg_beta2", "max_exp_avg_sq"),
    values={"fixed_decay": False, "weight_decouple": True, "cautious": False},
)


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """m = beta1·m + (1−beta1)·lr·g/(√v̂ + eps), w ← w − m/c, then w ← (1 − lr·weight_decay)·w.

    v̂ is Adam's, c the average of 1 as m of its numbers. m is of each step's own lr, and so is
    exp_avg_lr_1, lr's average. Source: Ziyin et al. 2020.
    """

    state: ClassVar[SavedState] = SavedState(
        entries={
            "step": Entry.STEP,
            "exp_avg": Entry.MOMENTUM,
            "exp_avg_sq": Entry.SECOND_MOMENT,
            "exp_avg_lr_1": Entry.LR_AVERAGE,
        },
        pairs=BETAS,
        second_moment_factor="beta2",
        writers=(PYTORCH_OPTIMIZER,),
    )

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> NoReturn:
        """Not solved."""
        require_step(step)
        raise NoFormula("the expected update of LaProp is not solved: a saved state tells it")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """m, whose lr's average last_update_rms divides it by."""
        return LastUpdate(state["exp_avg"], square=state["exp_avg_sq"] / (1 - self.beta2**step))

    def last_update_rms(
        self, totals: Totals, numbers: Mapping[str, object], lr: float, step: int
    ) -> float:
        """RMS of m over lr's average. Raises NoFormula without one."""
        average = numbers.get("exp_avg_lr_1")
        if not isinstance(average, float) or not average > 0:
            raise NoFormula("its state lacks exp_avg_lr_1")
        return math.sqrt(totals.update_square / totals.numel) / average

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k, weight_decay' = weight_decay/k."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -1})

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        v = moving_average(state, "exp_avg_sq", self.beta2, gradient * gradient)
        root = (v / (1 - self.beta2 ** state["step"])).sqrt()
        ratio = (gradient / (root + self.eps)).masked_fill(gradient == 0, 0.0)  # 0/0 where eps is 0
        m = moving_average(state, "exp_avg", self.beta1, lr * ratio)
        average = self.beta1 * state.get("exp_avg_lr_1", 0.0) + (1 - self.beta1) * lr
        state["exp_avg_lr_1"] = average
        weights.sub_(m, alpha=lr / average).mul_(1 - lr * self.weight_decay)
