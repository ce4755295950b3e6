"""Where weight decay and updates hold the weights in balance, how fast, and the relative update
there. w ← (1 − lr·weight_decay)·w − lr·u as torch.optim.AdamW does; eps = 0."""

import math

from scalecheck.theory.closed_form import first_order
from scalecheck.theory.domain import require_beta, require_not_negative, require_positive
from scalecheck.theory.snr import drift_fraction


def memory_steps(lr: float, weight_decay: float) -> float:
    """Steps over which AdamW's weights forget: 1/(lr·weight_decay).

    Raises ValueError for lr or weight_decay not positive. Source: Wang & Aitchison 2024.
    """
    return 1 / _decay(lr, weight_decay)


def equilibrium_rms(
    lr: float, weight_decay: float, snr: float = 0.0, beta1: float | None = None
) -> float:
    """RMS of AdamW's weights in balance: √(d²/weight_decay² + (1−d²)·N), d = snr/√(1+snr²).

    beta1 None: N = lr/(2·weight_decay), for lr·weight_decay ≪ 1−beta1 (Kosson et al. 2024).
    beta1 given: N = lr²·c/(1−a²)·(1+a·beta1)/(1−a·beta1), a = 1−lr·weight_decay,
    c = (1−beta1)/(1+beta1). Neither gradient scale nor initial weights matter. Raises ValueError
    for lr or weight_decay not positive, lr·weight_decay ≥ 1, snr not finite, beta1 outside [0, 1).
    Drift and beta1: derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    decay = _decay(lr, weight_decay)
    d2 = drift_fraction(snr) ** 2
    if beta1 is None:
        noise = lr / (2 * weight_decay)
    else:
        kept = 1 - decay
        noise = lr / weight_decay * first_order(beta1) ** 2 / (2 - decay)
        noise *= (1 + kept * beta1) / (1 - kept * beta1)
    return math.hypot(math.sqrt(d2) / weight_decay, math.sqrt((1 - d2) * noise))


def approaching_rms(rms: float, equilibrium: float, lr_sum: float, weight_decay: float) -> float:
    """RMS on the way from rms to equilibrium: √(k²·rms² + (1−k²)·equilibrium²),
    k = e^(−weight_decay·lr_sum).

    lr_sum: Σlr of the steps done. For updates without drift. Raises ValueError for a negative
    argument.
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    require_not_negative("rms", rms)
    require_not_negative("equilibrium", equilibrium)
    require_not_negative("lr_sum", lr_sum)
    require_not_negative("weight_decay", weight_decay)
    kept_square = math.exp(-2 * weight_decay * lr_sum)
    return math.hypot(math.sqrt(kept_square) * rms, math.sqrt(1 - kept_square) * equilibrium)


def equilibrium_relative_update(
    lr: float, weight_decay: float, beta1: float, snr: float = 0.0
) -> float:
    """lr·u/rms(w) of AdamW in balance; √(2·lr·weight_decay·(1−beta1)/(1+beta1)) for noise.

    The angle by which a step turns the weights; over k ≫ 1/(1−beta1) steps they turn by
    √(2·lr·weight_decay·k), as beta1 = 0 says. u is the first-order update RMS at snr. Raises
    ValueError as equilibrium_rms. Source: Kosson et al. 2024 for snr 0.
    """
    require_beta("beta1", beta1)
    return lr * first_order(beta1, snr) / equilibrium_rms(lr, weight_decay, snr)


def coupled_equilibrium_rms(lr: float, weight_decay: float, grad_rms: float) -> float:
    """RMS of weights under torch.optim.Adam's weight_decay, which is added to the gradient:
    √(lr·grad_rms/(2·weight_decay)), for noise.

    Holds while weight_decay·rms ≪ grad_rms, and depends on the scale of the gradient as AdamW's
    does not. Raises ValueError for an argument not positive.
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    require_positive("lr", lr)
    require_positive("weight_decay", weight_decay)
    require_positive("grad_rms", grad_rms)
    return math.sqrt(lr * grad_rms / (2 * weight_decay))


def coupled_memory_steps(lr: float, weight_decay: float, grad_rms: float) -> float:
    """Steps over which weights forget under torch.optim.Adam's weight_decay:
    grad_rms/(lr·weight_decay). Raises ValueError for an argument not positive."""
    require_positive("lr", lr)
    require_positive("weight_decay", weight_decay)
    require_positive("grad_rms", grad_rms)
    return grad_rms / (lr * weight_decay)


def torch_weight_decay(independent_weight_decay: float, peak_lr: float) -> float:
    """torch.optim.AdamW's weight_decay that shrinks weights at peak lr as an independent one does:
    independent_weight_decay/peak_lr, because torch multiplies weight_decay by lr.

    Raises ValueError for a negative weight decay, peak_lr not positive.
    """
    require_not_negative("independent_weight_decay", independent_weight_decay)
    require_positive("peak_lr", peak_lr)
    return independent_weight_decay / peak_lr


def _decay(lr: float, weight_decay: float) -> float:
    """lr·weight_decay, the share of a weight that a step takes away."""
    require_positive("lr", lr)
    require_positive("weight_decay", weight_decay)
    if lr * weight_decay >= 1:
        raise ValueError(f"lr·weight_decay {lr * weight_decay} is not below 1")
    return lr * weight_decay
