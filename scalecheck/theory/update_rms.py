"""The expected size of an Adam update, u = m̂/(√v̂ + eps), from the betas, the step and the law of
the gradient: lr·u is what a parameter moves by. Exact, by 1/v = ∫ e^(−zv) dz: under the integral
only averages weighted by e^(−zv) remain, which a noise law knows."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from scalecheck.theory.averages import Averages, adam_averages
from scalecheck.theory.domain import require_beta, require_finite, require_step
from scalecheck.theory.noise import Gaussian, Noise, Sparse, StudentT
from scalecheck.theory.special import eps_damping

GAUSSIAN = Gaussian()
_STEP = 0.25  # of log z: the trapezoid rule is converged to 1e-10
_LOWEST, _HIGHEST = -45.0, 75.0  # log z: the tails beyond hold less than 1e-10
LEAST = 1e-140  # rms/eps below which the square of an update leaves float64's range


class Update(NamedTuple):
    """Root mean square and mean of one element's update over gradients, in units of lr."""

    rms: float
    mean: float


def require_finite_mean_square(
    beta1: float, beta2: float, step: int | None, noise: Noise, snr: float = 0.0
) -> None:
    """Refuse what has no update RMS at eps = 0: a v that forgets faster than m remembers."""
    if beta2 == 0 < beta1 and step != 1:
        raise ValueError(f"beta2 0 with beta1 {beta1}: the update's mean square is infinite")
    if step is not None or snr or not isinstance(noise, Sparse):
        return
    if (1 - noise.density) * beta1**2 >= beta2 > 0:
        raise ValueError(
            f"density {noise.density} with beta1 {beta1}, beta2 {beta2}: "
            "the update's mean square is infinite"
        )


def update_rms(
    beta1: float,
    beta2: float,
    snr: float = 0.0,
    step: int | None = None,
    grad_rms_over_eps: float = math.inf,
    noise: Noise = GAUSSIAN,
    bias_correction: bool = True,
) -> float:
    """RMS of an Adam update in units of lr: 0.2293 at betas (0.9, 0.999) for a gradient without
    mean, 1 at step 1 or for a constant gradient.

    Arguments and errors as in `expected_update`; also raises ValueError for a beta outside [0, 1),
    an snr that is not finite and a grad_rms_over_eps that is not a number from 0 up.
    """
    require_beta("beta1", beta1)
    require_beta("beta2", beta2)
    require_finite("snr", snr)
    if not grad_rms_over_eps >= 0:
        raise ValueError(f"grad_rms_over_eps {grad_rms_over_eps} is not a number from 0 up")
    return expected_update(beta1, beta2, snr, step, grad_rms_over_eps, noise, bias_correction).rms


@lru_cache(maxsize=1024)
def expected_update(
    beta1: float,
    beta2: float,
    snr: float = 0.0,
    step: int | None = None,
    grad_rms_over_eps: float = math.inf,
    noise: Noise = GAUSSIAN,
    bias_correction: bool = True,
) -> Update:
    """RMS and mean of u = m̂/(√v̂ + eps), exact to 1e-9 for the given law of the gradient.

    beta1, beta2: averaging factors of m and v; RMSprop is beta1 = 0 without bias correction.
    snr: mean/std of an element's gradient; elements of different snr average in mean square.
    step: updates done, from 1; None is the steady state.
    grad_rms_over_eps: rms(gradient)/eps, inf for eps = 0; eps is added to √v̂, as torch.optim.Adam
    does (TensorFlow and torch.optim.RAdam add it to √v: divide theirs by √(1−beta2^step) first).
    noise: Gaussian(), Autoregressive(rho), StudentT(dof), Sparse(density).
    bias_correction: m̂ = m/(1−beta1^step), v̂ = v/(1−beta2^step); without it, m and v.

    Raises ValueError for step < 1, a grad_rms_over_eps below LEAST and not 0, an update whose mean
    square is infinite (eps = 0 and beta2 = 0 below beta1, or steady sparse noise with
    (1−density)·beta1² ≥ beta2), and eps beside noise without a mean square. Replayed in
    tests/test_theory_replay.py.
    """
    require_step(step)
    if grad_rms_over_eps == math.inf:
        require_finite_mean_square(beta1, beta2, step, noise, snr)
    elif isinstance(noise, StudentT) and noise.dof <= 2:
        raise ValueError(f"dof {noise.dof}: a gradient without an rms has none over eps")
    if grad_rms_over_eps == 0:
        return Update(0.0, 0.0)
    if grad_rms_over_eps < LEAST:
        raise ValueError(f"grad_rms_over_eps {grad_rms_over_eps} is below {LEAST}: not solved")
    averages = adam_averages(
        beta1, beta2, step, bias_correction=bias_correction, every_lag=noise.needs_every_lag
    )
    mean_square, mean = update_moments(averages, noise, snr, 1 / grad_rms_over_eps)
    return Update(math.sqrt(mean_square), mean)


def update_moments(averages: Averages, noise: Noise, snr: float, eps: float) -> tuple[float, float]:
    """E[u²] and E[u] of u = m/(√v + eps), for gradients of mean square 1.

    E[u²] = ∫ E[m²·e^(−zv)]·second(eps·√z) dz,  E[u] = ∫ E[m·e^(−zv)]·first(eps·√z)/√(πz) dz.
    """
    # A large eps moves the integrand's centre from 1/v to 1/eps².
    lowest = _LOWEST - 2 * math.log(max(eps, 1.0))
    log_z = np.arange(lowest, _HIGHEST, _STEP)
    z = np.exp(log_z)
    with np.errstate(over="ignore"):
        first, second = eps_damping(eps * np.exp(log_z / 2))  # 0 where its argument is inf
    mean, mean_square = noise.tilted(z, averages, snr)
    return (
        float(_STEP * np.sum(z * second * mean_square)),
        float(_STEP * np.sum(np.sqrt(z / math.pi) * first * mean)),
    )
