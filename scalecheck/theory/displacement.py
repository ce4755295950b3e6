"""How far updates carry a parameter over many steps: drift adds up with Σlr, noise with √Σlr²."""

import math

from scalecheck.theory.snr import drift_fraction


def displacement_rms(lr_sum: float, lr_square_sum: float, snr: float) -> float:
    """RMS displacement √((d·Σlr)² + (1−d²)·Σlr²), d = snr/√(1+snr²), without weight decay.

    lr_sum, lr_square_sum: Σlr and Σlr² of the schedule. For Adam, whatever its beta1: over time
    each gradient contributes 1 in all, so noise carries lr·√T and not lr·update_rms·√T. Holds for
    many more than 1/(1−beta1) steps of independent gradients. Replayed in
    tests/test_optimizers_replay.py.
    """
    d = drift_fraction(snr)
    return math.hypot(d * lr_sum, math.sqrt((1 - d**2) * lr_square_sum))
