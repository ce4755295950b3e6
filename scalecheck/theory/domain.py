"""Where the formulas hold: each check raises ValueError with the offending number in one line."""

import math

MAX_STEPS = 10**15  # more than any run has; float64 keeps whole numbers apart up to 9e15


STEADY = "steady"  # the steady state, where a step is asked for


def require_beta(name: str, beta: float) -> None:
    """An averaging factor lies in [0, 1)."""
    if not 0.0 <= beta < 1.0:
        raise ValueError(f"{name} {beta} is outside [0, 1)")


def require_finite(name: str, number: float) -> None:
    if not math.isfinite(number):
        raise ValueError(f"{name} {number} is not finite")


def require_positive(name: str, number: float) -> None:
    """A finite number above zero."""
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{name} {number} is not a positive finite number")


def require_not_negative(name: str, number: float) -> None:
    """A finite number from zero up."""
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError(f"{name} {number} is not a finite number from 0 up")


def require_step(step: int | None) -> None:
    """Steps count from 1; None stands for the steady state and passes."""
    if step is not None:
        require_steps("step", step)


def require_steps(name: str, steps: int) -> None:
    """A number of steps from 1 up that float64 keeps apart from the next."""
    if steps < 1:
        raise ValueError(f"{name} {steps} is below 1")
    if steps > MAX_STEPS:
        raise ValueError(f"{name} {steps} is above {MAX_STEPS}")
