"""How much of a gradient is drift, read from a saved Adam state: unbiased for independent noise and
negative, not cut, where the state lies below its noise floor."""

import math
from typing import NamedTuple

from scalecheck.theory.averages import squared_weight_sum
from scalecheck.theory.domain import require_beta, require_step
from scalecheck.theory.update_rms import update_rms


class Signal(NamedTuple):
    """The mean square of a gradient taken apart: drift mean² (an estimate, so it can be negative)
    and noise std²."""

    drift: float
    noise: float

    @property
    def snr(self) -> float | None:
        """mean/std; None at or below the noise floor."""
        if self.drift <= 0 or self.noise <= 0:
            return None
        return math.sqrt(self.drift / self.noise)


def signal_from_state(
    first_moment_mean_square: float, second_moment_mean: float, beta1: float, step: int
) -> Signal:
    """Drift and noise of a gradient from mean(m̂²) and mean(v̂) over the elements of a tensor.

    mean² = (A − c·V)/(1−c), std² = (V − A)/(1−c), with A = first_moment_mean_square,
    V = second_moment_mean, c = Σa² of beta1 at step. Elements with large gradients dominate, and
    positively correlated noise reads as drift. Raises ValueError for beta1 outside [0, 1) and
    where c = 1 (step 1 or beta1 0): one gradient does not tell drift from noise.
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    floor = _noise_floor(beta1, step)
    return Signal(
        (first_moment_mean_square - floor * second_moment_mean) / (1 - floor),
        (second_moment_mean - first_moment_mean_square) / (1 - floor),
    )


def squared_drift_fraction(
    update_mean_square: float, beta1: float, beta2: float, step: int
) -> float:
    """d² = mean²/(mean²+std²) from mean(m̂²/v̂), each element measured against its own scale.

    (update_mean_square − c)/slope, c the exact mean square of an update without drift and slope
    that of its growth with d² about the result (1 − c for beta2 → 1). Heavier tails than normal
    read as less drift. Raises ValueError as `signal_from_state`.
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    _noise_floor(beta1, step)
    floor = update_rms(beta1, beta2, step=step) ** 2
    near = min(max((update_mean_square - floor) / (1 - floor), 0.01), 0.99)
    with_drift = update_rms(beta1, beta2, math.sqrt(near / (1 - near)), step) ** 2
    return near * (update_mean_square - floor) / (with_drift - floor)


def squared_drift_fraction_error(beta1: float, step: int, numel: int) -> float:
    """Standard error of an estimated squared drift fraction near zero: c·√(2/numel)/(1−c).

    numel independent elements, c = Σa² of beta1 at step. Raises ValueError for numel < 1 and as
    `signal_from_state`.
    """
    if numel < 1:
        raise ValueError(f"numel {numel} is below 1")
    floor = _noise_floor(beta1, step)
    return floor * math.sqrt(2 / numel) / (1 - floor)


def _noise_floor(beta1: float, step: int) -> float:
    require_beta("beta1", beta1)
    require_step(step)
    floor = squared_weight_sum(beta1, step)
    if floor == 1:
        raise ValueError(f"step {step} with beta1 {beta1}: drift cannot be told from noise")
    return floor
