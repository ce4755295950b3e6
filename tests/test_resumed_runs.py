"""Runs that go on from a saved optimizer state: displacement against replays in float64 that resume
a state, and what --steps says of the next steps of a saved run."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lr_multiples import multiples_of
from test_theory_displacement import REPLAYED, made, of_schedules
from test_theory_schedule import schedules

from scalecheck.optimizers.contract import CONSTANT, Gradient, Hyperparameters, NoFormula
from scalecheck.theory.displacement import LONG, average_sums, momentum_sums
from scalecheck.theory.domain import MAX_STEPS
from scalecheck.theory.schedule import Schedule

DONE = (1, 4, 30, 400)
STEPS = (1, 5, 20, 200)
ELEMENTS = 4000


def resumed(
    optimizer: Hyperparameters, gradient: Gradient, done: int, plans: list[Schedule]
) -> list[float]:
    """RMS of the displacement by each schedule after so many steps on gradients of the same law:
    each resumes the state that was saved then."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(5)
    d = gradient.snr / math.hypot(1.0, gradient.snr)

    def step(weights: torch.Tensor, running: torch.optim.Optimizer, lr: float) -> None:
        running.param_groups[0]["lr"] = lr
        drawn = d + math.sqrt(1 - d * d) * rng.standard_normal(ELEMENTS)
        weights.grad = torch.from_numpy(gradient.known_rms * drawn)
        running.step()

    weights = torch.zeros(ELEMENTS, dtype=torch.float64, requires_grad=True)
    before = optimizer.torch_optimizer([weights], 1.0)
    for _ in range(done):
        step(weights, before, 1.0)
    found = []
    for plan in plans:
        weights = torch.zeros(ELEMENTS, dtype=torch.float64, requires_grad=True)
        running = optimizer.torch_optimizer([weights], 1.0)
        running.load_state_dict(copy.deepcopy(before.state_dict()))
        for lr in multiples_of(plan):
            step(weights, running, float(lr))
        found.append(float(weights.detach().square().mean().sqrt()))
    return found


@pytest.mark.parametrize("done", DONE)
@pytest.mark.parametrize(("name", "settings", "gradient"), REPLAYED, ids=str)
def test_a_resumed_run_carries_as_far_as_a_replay(
    name: str, settings: dict[str, Any], gradient: Gradient, done: int
) -> None:
    """Within 6 %: of drawn elements, and of a v that is not as steady as it is taken for."""
    optimizer = made(name, **settings)
    plans = [
        Schedule(each.shape, steps, each.warmup, each.floor, done=done)
        for steps in STEPS
        for each in of_schedules(steps)
    ]
    expected = [optimizer.displacement(plan, gradient) for plan in plans]
    assert resumed(optimizer, gradient, done, plans) == pytest.approx(expected, rel=0.06)
