"""The share of a gradient's rms that is drift, from its signal to noise ratio mean/std."""

import math


def drift_fraction(snr: float) -> float:
    """d = mean/rms of a gradient: snr/√(1+snr²), from −1 to 1."""
    return snr / math.hypot(1.0, snr)
