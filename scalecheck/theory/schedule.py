"""Learning-rate schedules as multiples of the peak lr: those of each step, and their exact sums."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalecheck.theory.domain import MAX_STEPS, require_steps

SHAPES = ("constant", "linear", "cosine", "wsd", "inverse-sqrt")
FLOORS = {"constant": (0, 1), "inverse-sqrt": (0,)}  # of shapes that do not fall to one


class Sums(NamedTuple):
    """Σ multiple and Σ multiple² over the steps of a schedule; a peak lr scales them by lr, lr²."""

    first: float
    second: float

    def plus(self, other: "Sums") -> "Sums":
        """The sums over the terms of both."""
        return Sums(self.first + other.first, self.second + other.second)


@dataclass(frozen=True)
class Schedule:
    """Warm-up step/warmup to the peak, then the shape over the remaining n = steps − warmup.

    constant: 1. linear: 1 → floor. cosine: floor + (1−floor)·(1+cos(πj/n))/2, j = 0..n−1.
    wsd: 1, then linear to floor over the last `decay` steps. inverse-sqrt: √(warmup/step).
    steps, warmup, decay count steps; floor is a share of the peak, approached, not reached, by the
    last step. done: the steps that the optimizer has made before; they are none of the schedule's,
    whose first step is the optimizer's step done + 1. Raises ValueError for an unknown shape, steps
    outside 1..MAX_STEPS, warmup outside 0..steps (1..steps for inverse-sqrt), floor outside [0, 1],
    decay outside 0..steps−warmup, done outside 0..MAX_STEPS, and a floor or a decay that the shape
    does not use; a constant schedule has the floor 1, which says the same.
    """

    shape: str
    steps: int
    warmup: int = 0
    floor: float = 0.0
    decay: int = 0
    done: int = 0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"schedule {self.shape!r} is none of {', '.join(SHAPES)}")
        require_steps("steps", self.steps)
        shortest = 1 if self.shape == "inverse-sqrt" else 0
        if not shortest <= self.warmup <= self.steps:
            raise ValueError(f"warmup {self.warmup} is outside {shortest}..{self.steps}")
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor {self.floor} is outside [0, 1]")
        if self.floor not in FLOORS.get(self.shape, (self.floor,)):
            raise ValueError(f"floor {self.floor}: a {self.shape} schedule has none")
        if self.decay and self.shape != "wsd":
            raise ValueError(f"decay {self.decay}: only a wsd schedule has one")
        if not 0 <= self.decay <= self.steps - self.warmup:
            raise ValueError(f"decay {self.decay} is outside 0..{self.steps - self.warmup}")
        if not 0 <= self.done <= MAX_STEPS:
            raise ValueError(f"done {self.done} is outside 0..{MAX_STEPS}")

    def multiples(self) -> NDArray[np.float64]:
        """The lr of each step over the peak lr, shape (steps,)."""
        warmup, remaining = self.warmup, self.steps - self.warmup
        rising = np.arange(1, warmup + 1) / max(warmup, 1)
        j = np.arange(remaining, dtype=np.float64)
        return np.concatenate([rising, self._after_warmup(j)])

    def at(self, step: int) -> float:
        """The lr of a step, from 1 to steps, over the peak lr."""
        if step <= self.warmup:
            return step / self.warmup
        return float(self._after_warmup(np.array([step - self.warmup - 1.0]))[0])

    def optimizer_step(self, step: int) -> int:
        """The step that the optimizer counts in a step of the schedule."""
        return min(self.done + step, MAX_STEPS)

    def sum_to(self, step: int) -> float:
        """Σ multiple over the steps up to this one, in closed form as `sums`."""
        warmup, remaining = self.warmup, self.steps - self.warmup
        if step <= warmup:
            return step * (step + 1) / (2 * warmup)
        n, rising = step - warmup, (warmup + 1) / 2 if warmup else 0.0
        if self.shape == "linear":
            return rising + n - (1 - self.floor) * n * (n - 1) / (2 * remaining)
        if self.shape == "cosine":
            half = math.pi / (2 * remaining)
            cosines = math.sin(n * half) * math.cos((n - 1) * half) / math.sin(half)
            return rising + n * (1 + self.floor) / 2 + (1 - self.floor) / 2 * cosines
        if self.shape == "wsd":
            fallen = max(0, n - (remaining - self.decay))
            fall = (1 - self.floor) * fallen * (fallen - 1) / (2 * max(self.decay, 1))
            return rising + n - fall
        if self.shape == "inverse-sqrt":
            return rising + math.sqrt(warmup) * _power_sum(0.5, warmup, step)
        return rising + n

    def steps_to(self, total: float) -> int | None:
        """The first step by which Σ multiple reaches a total; None where none does."""
        if self.sum_to(self.steps) < total:
            return None
        low, high = 0, self.steps
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.sum_to(middle) >= total else (middle, high)
        return high

    def _after_warmup(self, j: NDArray[np.float64]) -> NDArray[np.float64]:
        """The multiples of steps warmup + 1 + j."""
        remaining, fall = max(self.steps - self.warmup, 1), 1 - self.floor
        if self.shape == "linear":
            return 1 - fall * j / remaining
        if self.shape == "cosine":
            return self.floor + fall * (1 + np.cos(math.pi * j / remaining)) / 2
        if self.shape == "wsd":
            return 1 - fall * np.maximum(j - (remaining - self.decay), 0) / max(self.decay, 1)
        if self.shape == "inverse-sqrt":
            return np.sqrt(self.warmup / (self.warmup + 1 + j))
        return np.ones(len(j))

    def sums(self) -> Sums:
        """The sums over all steps, in closed form; exact, 1e-10 for inverse-sqrt.

        With w = warmup, n = steps − w: warm-up (w+1)/2 and (w+1)(2w+1)/(6w); cosine to zero
        (n+1)/2 and (3n+4)/8; linear to zero (n+1)/2 and (n+1)(2n+1)/(6n).
        """
        warmup, remaining = self.warmup, self.steps - self.warmup
        rising = _ramp(warmup, 0.0)
        if self.shape == "linear":
            after = _ramp(remaining, self.floor)
        elif self.shape == "cosine":
            after = _cosine(remaining, self.floor)
        elif self.shape == "wsd":
            falling = _ramp(self.decay, self.floor)
            flat = remaining - self.decay
            after = Sums(flat + falling.first, flat + falling.second)
        elif self.shape == "inverse-sqrt":
            after = Sums(
                math.sqrt(warmup) * _power_sum(0.5, warmup, self.steps),
                warmup * _power_sum(1.0, warmup, self.steps),
            )
        else:
            after = Sums(remaining, remaining)
        return Sums(rising.first + after.first, rising.second + after.second)


def _ramp(n: int, floor: float) -> Sums:
    """1 − (1−floor)·j/n over j = 0..n−1; backwards and with floor 0 it is a warm-up."""
    if n == 0:
        return Sums(0.0, 0.0)
    fall = 1 - floor
    first = n - fall * (n - 1) / 2
    return Sums(first, n - fall * (n - 1) + fall**2 * (n - 1) * (2 * n - 1) / (6 * n))


def _cosine(n: int, floor: float) -> Sums:
    """floor + (1−floor)·(1+cos(πj/n))/2 over j = 0..n−1, by Σ cos = 1 and Σ cos² = n/2."""
    if n == 0:
        return Sums(0.0, 0.0)
    middle, swing = (1 + floor) / 2, (1 - floor) / 2
    squares = 1.0 if n == 1 else n / 2
    return Sums(middle * n + swing, middle**2 * n + 2 * middle * swing + swing**2 * squares)


def _power_sum(exponent: float, above: int, last: int) -> float:
    """Σ k^(−exponent) over k = above+1..last: 16 terms as they are, the rest by Euler-Maclaurin."""
    start = min(last, max(above, 16))
    total = math.fsum(k**-exponent for k in range(above + 1, start + 1))
    for end, sign in ((last, 1.0), (start, -1.0)):
        height = math.pow(end, -exponent)
        slope = -exponent * height / end
        third = slope * (exponent + 1) * (exponent + 2) / end**2
        area = math.log(end) if exponent == 1 else end * height / (1 - exponent)
        total += sign * (area + height / 2 + slope / 12 - third / 720)
    return total
