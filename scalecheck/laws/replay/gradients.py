"""Synthetic gradients: a noise law by its word on the command line, and draws of it by step."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from scalecheck.errors import UsageError
from scalecheck.theory.drift import drift_fraction
from scalecheck.theory.noise import Autoregressive, Gaussian, Noise, Sparse, StudentT

FloatArray = NDArray[np.float64]

CLIP_EPS = 1e-6  # what torch.nn.utils.clip_grad_norm_ adds to the norm it divides by

SAFE = 1e-280  # a sum of squares from here to its inverse lost nothing to underflow or overflow

_LAWS: dict[str, tuple[Callable[[float], Noise], str, str]] = {
    "student-t": (StudentT, "its degrees of freedom", "3"),
    "sparse": (Sparse, "its density", "0.01"),
    "ar1": (Autoregressive, "its correlation from step to step", "0.9"),
}


def noise_law(word: str) -> Noise:
    """The law that gaussian, student-t:DOF, sparse:DENSITY or ar1:RHO names. Raises UsageError."""
    name, _, parameter = word.partition(":")
    if name == "gaussian":
        if parameter:
            raise UsageError(f"--noise {word}: gaussian takes no parameter")
        return Gaussian()
    if name not in _LAWS:
        raise UsageError(f"--noise {word}: not known; there are gaussian, {', '.join(_LAWS)}")
    law, what, example = _LAWS[name]
    try:
        number = float(parameter)
    except ValueError:
        raise UsageError(f"--noise {word}: needs {what}, such as {name}:{example}") from None
    try:
        return law(number)
    except ValueError as error:
        raise UsageError(f"--noise {word}: {error}") from error


def stream(
    noise: Noise, snr: float, shape: tuple[int, ...], seed: int, steps: int
) -> Iterator[FloatArray]:
    """Gradients of mean square 1 (Student-t of 2 degrees of freedom and less: of unit scale) around
    a mean of snr standard deviations, an array a step, the same numbers for the same seed."""
    mean, std = drift_fraction(snr), 1 / math.hypot(1, snr)
    rng = np.random.default_rng(seed)
    value = rng.standard_normal(shape) if isinstance(noise, Autoregressive) else np.zeros(())
    for _ in range(steps):
        match noise:
            case StudentT(dof):
                scale = math.sqrt((dof - 2) / dof) if dof > 2 else 1.0
                drawn = scale * rng.standard_t(dof, shape)
            case Sparse(density):
                hit = rng.random(shape) < density
                drawn = hit * rng.standard_normal(shape) / math.sqrt(density)
            case Autoregressive(rho):
                drawn = value
                value = rho * value + math.sqrt(1 - rho * rho) * rng.standard_normal(shape)
            case _:
                drawn = rng.standard_normal(shape)
        yield mean + std * drawn


def clip_factor(gradient: FloatArray, max_norm: float | None) -> float:
    """What clipping to a norm multiplies the gradient by, as torch.nn.utils.clip_grad_norm_."""
    if max_norm is None:
        return 1.0
    norm = math.sqrt(gradient.size) * rms(gradient)
    return min(1.0, max_norm / (norm + CLIP_EPS))


def rms(numbers: FloatArray) -> float:
    """√mean(x²), without overflow; NaN or inf where an element is."""
    total = float(np.vdot(numbers, numbers))
    if SAFE < total < 1 / SAFE:
        return math.sqrt(total / numbers.size)
    largest = float(np.max(np.abs(numbers), initial=0.0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    return largest * float(np.sqrt(np.mean((numbers / largest) ** 2)))


def deviation(updates: FloatArray, reference: FloatArray) -> float:
    """rms(updates − reference)/rms(reference); inf where only the reference is 0."""
    with np.errstate(invalid="ignore"):
        difference = rms(updates - reference)
    size = rms(reference)
    if difference == 0:
        return 0.0
    return difference / size if size else math.inf
