"""What is left of a gradient's drift and of its noise in an average, in a sum with momentum, and
over many steps."""

import math

from scalecheck.theory.averages import squared_weight_sum


def drift_fraction(snr: float) -> float:
    """d = mean/rms of a gradient: snr/√(1+snr²), from −1 to 1."""
    return snr / math.hypot(1.0, snr)


def average_rms(beta: float, snr: float = 0.0, step: int | None = None) -> float:
    """RMS of a bias-corrected moving average of independent gradients over that of a gradient:
    √(d² + (1−d²)·Σa²), d = snr/√(1+snr²); step None is the steady state.

    Adam's update RMS in first order, E m̂²/E v̂: too high for beta2 ≥ 0.95 by 3.2% at most in the
    steady state, 5.3% in the first steps. Source: Kosson et al. 2024 for snr 0.
    """
    d2 = drift_fraction(snr) ** 2
    return math.sqrt(d2 + (1 - d2) * squared_weight_sum(beta, step))


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
    does not dampen. nesterov: the update is gradient + momentum·buffer. In the steady state without
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


def nesterov_over_buffer(momentum: float) -> float:
    """RMS of nesterov's update over that of SGD's buffer after it, of independent noise:
    √((1−momentum²)·(1+momentum)² + momentum⁴), 1.16 at momentum 0.9; of a constant gradient it is
    1. Replayed in tests/test_expected_steps.py."""
    return math.hypot(math.sqrt(1 - momentum**2) * (1 + momentum), momentum**2)


def displacement_rms(lr_sum: float, lr_square_sum: float, snr: float) -> float:
    """RMS displacement √((d·Σlr)² + (1−d²)·Σlr²), d = snr/√(1+snr²), without weight decay.

    lr_sum, lr_square_sum: Σ and Σ of squares of what each gradient moves in all. For Adam that is
    its lr, whatever its beta1, where more than 1/(1−beta1) steps are left: noise carries lr·√T, and
    not lr·update_rms·√T. `theory.displacement` has them for short runs as well.
    """
    d = drift_fraction(snr)
    return math.hypot(d * lr_sum, math.sqrt((1 - d**2) * lr_square_sum))
