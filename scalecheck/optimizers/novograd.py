"""NovoGrad: momentum of gradients that are divided by an average of their tensor's norm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

from scalecheck.optimizers._per_tensor import PerTensor, decayed
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
        "grad_averaging",
    ),
    entries=("moments", "grads_ema"),
    optional_settings=("adam_debias",),
    values={"fixed_decay": False, "adam_debias": False},
    names={"decoupled_weight_decay": "weight_decouple"},
)


@dataclass(frozen=True)
class Optimizer(PerTensor):
    """m = beta1·m + g/(√v + eps) + weight_decay·w, w ← w − lr·m.

    v averages ‖g‖² of the whole tensor with beta2, from the first on. grad_averaging: what is added
    is multiplied by 1−beta1, but at the first step. With decoupled_weight_decay w shrinks by
    lr·weight_decay before instead. Source: Ginsburg et al. 2019.
    """

    state: ClassVar[SavedState] = SavedState(
        entries={
            "step": Entry.STEP,
            "moments": Entry.MOMENTUM,
            "grads_ema": Entry.NORM_AVERAGE,
        },
        pairs=BETAS,
        writers=(PYTORCH_OPTIMIZER,),
    )
    state_without_step: ClassVar[bool] = True

    beta1: Beta = 0.95
    beta2: Beta = 0.98
    eps: NotNegative = 1e-8
    weight_decay: NotNegative = 0.0
    decoupled_weight_decay: bool = False
    grad_averaging: bool = False

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> NoReturn:
        """Not solved."""
        require_step(step)
        raise NoFormula("the expected update of NovoGrad is not solved: a saved state tells it")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """m, of gradients that are divided already."""
        return LastUpdate(state["moments"])

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k, weight_decay' = weight_decay/k."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -1})

    def _move(
        self, weights: "torch.Tensor", gradient: "torch.Tensor", state: "State", lr: float
    ) -> None:
        is_first = state["step"] == 1
        square = gradient.square().sum()
        v = state.get("grads_ema", square)
        state["grads_ema"] = v = self.beta2 * v + (1 - self.beta2) * square
        ratio = (gradient / (v.sqrt() + self.eps)).masked_fill(gradient == 0, 0.0)
        beside = lr if self.decoupled_weight_decay else None
        ratio = decayed(weights, ratio, self.weight_decay, beside)
        if self.grad_averaging and not is_first:
            ratio = (1 - self.beta1) * ratio
        state["moments"] = self.beta1 * state.get("moments", 0.0) + ratio
        weights.sub_(state["moments"], alpha=lr)
