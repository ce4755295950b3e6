"""How much larger the first updates of a fresh optimizer are than the later ones that an lr is for,
and the multiples of that lr which hold its target from the first step on."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from scalecheck.optimizers.contract import Gradient, Hyperparameters
from scalecheck.updates.forecast import expected_update

WITHIN = 1.02  # of the later update: from there on the lr stands as it is
LONGEST = 1000  # steps that are listed


class Fresh(NamedTuple):
    """An optimizer, a tensor's rms and shape, its gradient, and the step that its lr is meant for;
    None is the steady state."""

    optimizer: Hyperparameters
    rms: float
    shape: tuple[int, ...]
    gradient: Gradient
    step: int | None


class FirstSteps(NamedTuple):
    """multiples: of the lr, for the steps from the first on, rounded to 3 digits and never above 1;
    empty where no step is too large. excess: the first update over the later one. left: the same of
    the step after the last multiple."""

    multiples: tuple[float, ...] = ()
    excess: float = 1.0
    left: float = 1.0


def first_steps(kinds: Iterable[Fresh]) -> FirstSteps:
    """Of groups that may be trained differently the smallest multiple of each step. A step that
    theory refuses, as the first ones of RAdam, has the multiple 1."""
    found = [[*_excesses(kind)] for kind in kinds]
    longest = max(map(len, found), default=0)
    if not longest:
        return FirstSteps()
    steps = [max(one[n] if n < len(one) else 1.0 for one in found) for n in range(longest)]
    listed, left = steps[:LONGEST], steps[LONGEST] if longest > LONGEST else 1.0
    return FirstSteps(tuple(float(f"{1 / over:.3g}") for over in listed), steps[0], left)


def _excesses(kind: Fresh) -> Iterator[float]:
    """The update of each first step over the later one, at least 1, as long as it is larger."""
    later = _update(kind, kind.step)
    if not later:
        return
    last = 0
    while last <= LONGEST and _over(kind, 2 * last + 1, later) > WITHIN:
        last = 2 * last + 1
    high = min(2 * last + 1, LONGEST + 1)
    while high - last > 1:
        middle = (high + last) // 2
        if _over(kind, middle, later) > WITHIN:
            last = middle
        else:
            high = middle
    for step in range(1, min(last, LONGEST + 1) + 1):
        yield max(1.0, _over(kind, step, later))


def _over(kind: Fresh, step: int, later: float) -> float:
    return (_update(kind, step) or later) / later


def _update(kind: Fresh, step: int | None) -> float | None:
    """The RMS of an update at lr 1, what an optimizer caps its lr by included."""
    update, _ = expected_update(kind.optimizer, kind.rms, kind.shape, kind.gradient, step)
    return None if update is None else update * kind.optimizer.effective_lr(1.0, step)
