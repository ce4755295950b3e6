"""AdamW: Adam with weight decay beside the gradient instead of in it."""

from dataclasses import dataclass, replace
from typing import ClassVar

from scalecheck.optimizers import adam
from scalecheck.optimizers.contract import Gradient, NotNegative, SavedState
from scalecheck.theory.decay import equilibrium_rms
from scalecheck.theory.reparameterization import Reparameterization


@dataclass(frozen=True)
class Optimizer(adam.Optimizer):
    """torch.optim.AdamW: w ← (1 − lr·weight_decay)·w − lr·m̂/(√v̂ + eps).

    weight_decay is multiplied by lr, as in optax and Keras; the paper multiplies it by the
    schedule alone. Source: Loshchilov & Hutter 2019.
    """

    torch_class: ClassVar[str] = "AdamW"
    state: ClassVar[SavedState] = replace(
        adam.Optimizer.state, fixed={"decoupled_weight_decay": True}
    )

    weight_decay: NotNegative = 1e-2

    def equilibrium_rms(self, lr: float, gradient: Gradient) -> float:
        """√(d²/weight_decay² + (1−d²)·lr/(2·weight_decay)), sharpened for beta1; whatever the
        gradient's scale, while eps does not count."""
        gradient.require_independent()
        return equilibrium_rms(lr, self.weight_decay, gradient.snr, self.beta1)

    def reparameterization(self) -> Reparameterization:
        """lr' = k·lr, eps' = eps/k; weight_decay' = weight_decay/k keeps lr·weight_decay."""
        return Reparameterization(1, {"eps": -1, "weight_decay": -1})
