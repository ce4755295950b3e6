"""AdamW: Adam with weight decay beside the gradient instead of in it."""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar

from scalecheck.optimizers import _bitsandbytes, adam
from scalecheck.optimizers.contract import (
    ADAM_ENTRIES,
    Gradient,
    NoFormula,
    NotNegative,
    SavedState,
    Writer,
)
from scalecheck.theory.drift import average_rms, drift_fraction
from scalecheck.theory.reparameterization import Reparameterization

MUONS_AUXILIARY = Writer(
    settings=("betas", "eps", "weight_decay", "use_muon"),
    entries=ADAM_ENTRIES,
    values={"use_muon": False},
)
"""The Adam for what are no matrices in Jordan's MuonWithAuxAdam."""


@dataclass(frozen=True)
class Optimizer(adam.Optimizer):
    """torch.optim.AdamW: w ← (1 − lr·weight_decay)·w − lr·m̂/(√v̂ + eps).

    weight_decay is multiplied by lr, as in optax and Keras; the paper multiplies it by the
    schedule alone. Source: Loshchilov & Hutter 2019.
    """

    torch_class: ClassVar[str] = "AdamW"
    spellings: ClassVar[Collection[str]] = ("FusedAdam", "DeepSpeedCPUAdam", "AnyPrecisionAdamW")
    state: ClassVar[SavedState] = replace(
        adam.Optimizer.state,
        fixed={"decoupled_weight_decay": True},
        writers=(
            *adam.Optimizer.state.writers,
            MUONS_AUXILIARY,
            _bitsandbytes.ADAM,
            _bitsandbytes.LAMB_OF_CODES,
        ),
    )

    weight_decay: NotNegative = 1e-2

    def equilibrium_rms(self, lr: float, gradient: Gradient) -> float:
        """√(d²/weight_decay² + (1−d²)·lr²·c/(1−a²)·(1+a·beta1)/(1−a·beta1)), d = snr/√(1+snr²),
        a = 1−lr·weight_decay, c = (1−beta1)/(1+beta1): about √(lr/(2·weight_decay)) for noise.

        Neither the gradient's scale nor the initial weights matter, while eps does not count.
        Raises NoFormula for lr·weight_decay ≥ 1 and for amsgrad. Source: Kosson et al. 2024 for
        noise and beta1 0.
        """
        gradient.require_independent()
        self._require_average()
        decay = lr * self.weight_decay
        if decay >= 1:
            raise NoFormula(f"lr·weight_decay {decay} is not below 1")
        kept = 1 - decay
        noise = lr / self.weight_decay * average_rms(self.beta1) ** 2 / (2 - decay)
        noise *= (1 + kept * self.beta1) / (1 - kept * self.beta1)
        d2 = drift_fraction(gradient.snr) ** 2
        return math.hypot(math.sqrt(d2) / self.weight_decay, math.sqrt((1 - d2) * noise))

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k; weight_decay' = weight_decay/k keeps lr·weight_decay."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -1})
