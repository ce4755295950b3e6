"""How an optimizer's hyperparameters move so that weights k times larger are trained as before:
w' = k·w, the forward pass uses w'/k, so that gradients are k times smaller."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from scalecheck.theory.domain import require_positive


@dataclass(frozen=True)
class Reparameterization:
    """The law of one optimizer: lr' = k^lr_exponent·lr, and h' = k^exponents[h]·h for the others.

    lr_exponent is 2 for SGD, 1 for Adam and all that normalise the gradient, 0 where lr is already
    relative to the weights. exponents: hyperparameter's name → power of k, such as eps: −1,
    weight_decay: −1 (decoupled) or −2 (added to the gradient), max_norm: −1.
    """

    lr_exponent: int
    exponents: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "lr" in self.exponents:
            raise ValueError("lr has its own exponent, lr_exponent")
        object.__setattr__(self, "exponents", MappingProxyType(dict(self.exponents)))

    def apply(self, hyperparameters: Mapping[str, float], k: float) -> dict[str, float]:
        """The hyperparameters for weights k times larger; those without an exponent stay.

        Raises ValueError for k not positive or not finite.
        """
        require_positive("k", k)
        powers = {"lr": self.lr_exponent, **self.exponents}
        return {
            name: k ** powers[name] * setting if name in powers else setting
            for name, setting in hyperparameters.items()
        }
