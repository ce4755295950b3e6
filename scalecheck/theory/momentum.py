"""What SGD's momentum makes of a gradient: the buffer's RMS in units of the gradient's."""

import math

from scalecheck.theory.snr import drift_fraction


def momentum_update_rms(
    momentum: float,
    snr: float = 0.0,
    step: int | None = None,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> float:
    """RMS of torch.optim.SGD's update in units of lr·rms(gradient), independent gradients.

    √(d²·(Σk)² + (1−d²)·Σk²), d = snr/√(1+snr²), over the weights k_i of past gradients in the
    buffer: k_i = (1−dampening)·momentum^i, and momentum^(step−1) for the very first, which torch
    does not dampen. nesterov: the update is gradient + momentum·buffer. Stationary without
    dampening: 1/√(1−momentum²) for noise, 1/(1−momentum) for a constant gradient.
    Replayed in tests/test_optimizers_replay.py.
    """
    first = 0.0 if step is None else momentum ** (step - 1)
    kept = 1 - dampening
    total = kept * (1 - first) / (1 - momentum) + first
    square = kept**2 * (1 - first**2) / (1 - momentum**2) + first**2
    if nesterov:
        newest = 1.0 if step == 1 else kept
        square = 1 + 2 * momentum * newest + momentum**2 * square
        total = 1 + momentum * total
    d2 = drift_fraction(snr) ** 2
    return math.sqrt(d2 * total**2 + (1 - d2) * square)
