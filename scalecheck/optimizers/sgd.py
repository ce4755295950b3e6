"""SGD: the gradient itself, its momentum or Nesterov's look-ahead of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from scalecheck.optimizers import _bitsandbytes
from scalecheck.optimizers.contract import (
    UNIT,
    Beta,
    Entry,
    Finite,
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
from scalecheck.theory.displacement import momentum_sums
from scalecheck.theory.domain import require_step
from scalecheck.theory.drift import displacement_rms, momentum_update_rms, nesterov_over_buffer
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.schedule import Schedule

PYTORCH_OPTIMIZER = Writer(
    settings=("momentum", "weight_decay", "weight_decouple", "dampening", "nesterov", "step"),
    optional_entries=("momentum_buffer",),
    values={"weight_decouple": False},
)
"""pytorch_optimizer's SGDW with weight decay in the gradient."""


def last_update(buffer: FloatArray, momentum: float, nesterov: bool) -> LastUpdate:
    """What the buffer tells of the last update: all, or with nesterov about how large it was."""
    if not nesterov:
        return LastUpdate(buffer)
    why = "nesterov's last update holds a gradient that its state does not"
    return LastUpdate(reason=why, near=nesterov_over_buffer(momentum) * buffer)


@dataclass(frozen=True)
class Optimizer(Hyperparameters):
    """torch.optim.SGD: buffer = momentum·buffer + (1−dampening)·g, w ← w − lr·buffer.

    nesterov: w ← w − lr·(g + momentum·buffer). g includes weight_decay·w. torch does not dampen
    the first gradient, and keeps lr out of the buffer, where Sutskever et al. 2013 have it within.
    Raises ValueError for nesterov without momentum or with dampening.
    """

    torch_class: ClassVar[str] = "SGD"
    state: ClassVar[SavedState] = SavedState(
        optional_entries={"momentum_buffer": Entry.MOMENTUM},
        optional_settings=("foreach", "maximize", "differentiable", "fused"),
        writers=(_bitsandbytes.SGD, PYTORCH_OPTIMIZER),
    )
    state_without_step: ClassVar[bool] = True

    momentum: Beta = 0.0
    dampening: Finite = 0.0
    weight_decay: NotNegative = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                f"nesterov with momentum {self.momentum}, dampening {self.dampening}: "
                "it needs momentum and no dampening"
            )

    def update_rms(
        self, gradient: Gradient, step: int | None = None, weights: Weights = UNIT
    ) -> float:
        """rms(g)·√(d²·(Σk)² + (1−d²)·Σk²), k_i the weights of past gradients: in the limit
        rms(g)/√(1−momentum²) for noise, rms(g)/(1−momentum) for a constant gradient."""
        require_step(step)
        gradient.require_independent()
        if not self.momentum:
            return gradient.known_rms  # torch keeps no buffer then, and dampens nothing
        return gradient.known_rms * momentum_update_rms(
            self.momentum, gradient.snr, step, self.dampening, self.nesterov
        )

    def displacement(self, plan: Schedule, gradient: Gradient) -> float:
        """rms(g)·√((d·ΣS)² + (1−d²)·ΣS²), d the share of drift, S what a gradient moves in all
        through the buffer: (1−dampening)/(1−momentum) times lr where many steps are left."""
        gradient.require_independent()
        dampening = self.dampening if self.momentum else 0.0
        sums = momentum_sums(plan, self.momentum, dampening, self.nesterov)
        return displacement_rms(*sums, gradient.snr) * gradient.known_rms

    def equilibrium_rms(self, lr: float, gradient: Gradient) -> float:
        """None."""
        raise NoFormula("its updates follow the size of its gradients, which a run changes")

    def last_update_from_state(self, state: Mapping[str, FloatArray], step: int) -> LastUpdate:
        """The buffer; with nesterov about as much as it."""
        return last_update(state["momentum_buffer"], self.momentum, self.nesterov)

    def reparameterization(self) -> Reparameterization:
        """lr' = k²·lr: the update shrinks with the gradient while the weights grow."""
        return Reparameterization(2, {"weight_decay": -2})
