"""How large an Adam update can get, in units of lr: the supremum over all gradients, the peak after
a jump of the gradient's scale, and what a single gradient after a long silence moves. eps = 0."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalecheck.theory.domain import require_beta, require_step


class Peak(NamedTuple):
    """The largest update and the number of steps after the jump at which it comes."""

    update: float
    step: int


def largest_update(beta1: float, beta2: float) -> float:
    """sup |m/√v| over all gradient sequences: (1−beta1)/√((1−beta2)(1−beta1²/beta2)).

    Without bias correction; inf where beta1² ≥ beta2. Reached by gradients ∝ a_i/b_i, by the
    Cauchy-Schwarz inequality; at (0.9, 0.999) it is 7.27, where a single spike gives 3.16.
    Raises ValueError for a beta outside [0, 1).
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    _require_betas(beta1, beta2)
    if beta1 == 0:
        return 1 / math.sqrt(1 - beta2)
    if beta1 * beta1 >= beta2:
        return math.inf
    return (1 - beta1) / math.sqrt((1 - beta2) * (1 - beta1 * beta1 / beta2))


def update_after_jump(beta1: float, beta2: float, jump: float, step: int) -> float:
    """Update of a constant gradient, step steps after its scale is multiplied by jump.

    (beta1^step + jump·(1−beta1^step))/√(beta2^step + jump²·(1−beta2^step)); jump inf is allowed.
    Raises ValueError for a beta outside [0, 1), a jump that is not positive, step < 1.
    """
    _require_betas(beta1, beta2)
    require_step(step)
    if not jump > 0:
        raise ValueError(f"jump {jump} is not positive")
    return float(_after_jump(beta1, beta2, jump, np.array([step]))[0])


def peak_after_jump(beta1: float, beta2: float, jump: float = math.inf) -> Peak:
    """The largest `update_after_jump`; 6.57 at step 12 for (0.9, 0.999) and an endless jump.

    Raises ValueError as update_after_jump, and for a jump below 1, which brings no peak.
    """
    _require_betas(beta1, beta2)
    if not jump >= 1:
        raise ValueError(f"jump {jump} is below 1")
    # m has forgotten the past after 40 time constants; from there on only v grows.
    steps = np.arange(1, math.ceil(40 / (1 - beta1)) + 1)
    updates = _after_jump(beta1, beta2, jump, steps)
    highest = int(np.argmax(updates))
    return Peak(float(updates[highest]), int(steps[highest]))


def _after_jump(
    beta1: float, beta2: float, jump: float, steps: NDArray[np.int64]
) -> NDArray[np.float64]:
    kept1, kept2 = beta1**steps, beta2**steps
    past = 1 / jump
    updates: NDArray[np.float64] = (past * kept1 + 1 - kept1) / np.sqrt(past**2 * kept2 + 1 - kept2)
    return updates


def single_gradient_update(beta1: float, beta2: float, step: int | None = None) -> float:
    """|u| at the first nonzero gradient of an element, at this step (None: late):
    (1−beta1)·√(1−beta2^step)/(√(1−beta2)·(1−beta1^step)).

    The one move of torch.optim.SparseAdam, and the first of Adam. Raises ValueError for a beta
    outside [0, 1), step < 1.
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    _require_betas(beta1, beta2)
    require_step(step)
    late = (1 - beta1) / math.sqrt(1 - beta2)
    if step is None:
        return late
    return late * math.sqrt(1 - beta2**step) / (1 - beta1**step)


def single_gradient_displacement(beta1: float, beta2: float, step: int | None = None) -> float:
    """Sum of all moves that one nonzero gradient at this step causes, the momentum's tail included.

    Late (None) it is (1−beta1)/(√(1−beta2)·(1−beta1/√beta2)): 31.77·lr at (0.9, 0.999). Raises
    ValueError for a beta outside [0, 1), step < 1 and beta1² ≥ beta2, where the sum diverges.
    Derived in the project's notes, checked in tests/test_theory_replay.py.
    """
    _require_betas(beta1, beta2)
    require_step(step)
    if beta1 == 0:
        return single_gradient_update(beta1, beta2, step)
    ratio = beta1 / math.sqrt(beta2) if beta2 else math.inf
    if ratio >= 1:
        raise ValueError(f"beta1 {beta1}, beta2 {beta2}: the displacement is infinite")
    if step is None:
        return (1 - beta1) / (math.sqrt(1 - beta2) * (1 - ratio))
    lag = np.arange(math.ceil(math.log(1e-17) / math.log(ratio)))
    moves = ratio**lag * np.sqrt(1 - beta2 ** (step + lag)) / (1 - beta1 ** (step + lag))
    return (1 - beta1) / math.sqrt(1 - beta2) * float(moves.sum())


def _require_betas(beta1: float, beta2: float) -> None:
    require_beta("beta1", beta1)
    require_beta("beta2", beta2)
