"""Which step an expected update is of: the one that was asked for, that of the optimizer state, or
where neither is known one that a run reaches; and after which step a planned run goes on."""

import math
from dataclasses import replace
from typing import NamedTuple

from scalecheck.optimizers.contract import Gradient, Hyperparameters
from scalecheck.theory.domain import MAX_STEPS
from scalecheck.theory.schedule import Schedule
from scalecheck.updates.forecast import expected_update

USUAL = 1000
"""The step of a forecast where no step and no length of the run is known, of optimizers that do not
settle before it."""
SETTLED = 0.03  # of the steady state, within which an update has settled

ASKED, STATE, RUN, ASSUMED = "--step", "state", "--steps", "assumed"
LIMIT, FIRST = "steady state", "first step"


class ExpectedStep(NamedTuple):
    """A step, None for the steady state, and what says it."""

    step: int | None
    by: str

    def starting(self, plan: Schedule, has_state: bool) -> Schedule:
        """A planned run of a tensor, after the steps that its optimizer has done: those before the
        step that was asked for, or those of its state; the steady state of a state that counts no
        steps, and a fresh optimizer without one."""
        done = MAX_STEPS if has_state and self.by != FIRST else 0
        if self.by == ASKED:
            done = MAX_STEPS if self.step is None else self.step - 1
        elif self.by == STATE and self.step is not None:
            done = self.step
        return replace(plan, done=done)


def unless_settled(
    optimizer: Hyperparameters,
    lr: float,
    rms: float,
    shape: tuple[int, ...],
    gradient: Gradient,
    run: int | None,
) -> ExpectedStep:
    """The steady state where the optimizer has settled by the last step of the run, or by the usual
    step where the run's length is not known; else that step."""

    def moved(step: int | None) -> float | None:
        update, _ = expected_update(optimizer, rms, shape, gradient, step)
        return None if update is None else update * optimizer.effective_lr(lr, step)

    steady = ExpectedStep(None, LIMIT)
    late = moved(run or USUAL)
    if late is None:
        return steady
    limit = moved(None)
    if limit is not None and math.isclose(late, limit, rel_tol=SETTLED):
        return steady
    return ExpectedStep(run, RUN) if run else ExpectedStep(USUAL, ASSUMED)
