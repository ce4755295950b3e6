"""How far schedules carry weights: the sums against brute force, and the displacement that each
optimizer states against replays in float64, from the first step to the thousandth."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lr_multiples import multiples_of
from numpy.typing import NDArray
from test_theory_schedule import schedules

from scalecheck import registry
from scalecheck.optimizers.contract import CONSTANT, Gradient, Hyperparameters, NoFormula
from scalecheck.theory.displacement import (
    LONG,
    average_sums,
    discounted,
    momentum_sums,
    sign_displacement,
    sign_gain,
)
from scalecheck.theory.schedule import Schedule

FloatArray = NDArray[np.float64]

NOISE = Gradient()
BETAS = st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.999])
REPLAYED: list[tuple[str, dict[str, Any], Gradient]] = [
    ("adam", {}, NOISE),
    ("adam", {"beta1": 0.95, "beta2": 0.98}, Gradient(snr=0.2)),
    ("adamw", {"beta2": 0.95, "weight_decay": 0.0}, NOISE),
    ("adamw_hf", {"correct_bias": False}, NOISE),
    ("nadam", {}, NOISE),
    ("nadam", {"beta2": 0.99}, Gradient(snr=0.1)),
    ("radam", {"beta2": 0.99}, NOISE),
    ("radam", {}, Gradient(rms=0.01)),
    ("rmsprop", {}, NOISE),
    ("rmsprop", {"momentum": 0.9}, NOISE),
    ("adagrad", {"lr_decay": 0.01}, NOISE),
    ("adagrad", {}, Gradient(snr=0.1)),
    ("sgd", {}, NOISE),
    ("sgd", {"momentum": 0.9}, Gradient(rms=0.2)),
    ("sgd", {"momentum": 0.99}, NOISE),
    ("sgd", {"momentum": 0.9, "dampening": 0.5}, Gradient(snr=0.1)),
    ("sgd", {"momentum": 0.9, "nesterov": True}, NOISE),
    ("sgdw", {"momentum": 0.9, "weight_decay": 0.0}, NOISE),
    ("lion", {}, NOISE),
    ("lion", {"beta1": 0.95, "beta2": 0.98}, NOISE),
    ("signsgd", {}, Gradient(snr=0.1)),
    ("signsgd", {"momentum": 0.9}, NOISE),
]
STEPS = (1, 5, 20, 100, 1000)
ELEMENTS = {1: 20_000, 5: 20_000, 20: 20_000, 100: 10_000, 1000: 4000}


def of_schedules(steps: int) -> Iterator[Schedule]:
    """Constant, warmed up, and a cosine."""
    yield Schedule("constant", steps)
    yield Schedule("linear", steps, warmup=min(steps, 10))
    yield Schedule("cosine", steps, warmup=steps // 10, floor=0.1)


def made(name: str, **settings: Any) -> Hyperparameters:
    optimizer: Hyperparameters = registry.load("optimizer", name).Optimizer(**settings)
    return optimizer


def moved(optimizer: Hyperparameters, gradient: Gradient, lrs: FloatArray, count: int) -> float:
    """RMS of the displacement of so many elements by a step at each lr, gradients drawn anew."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(3)
    d = gradient.snr / math.hypot(1.0, gradient.snr)
    weights = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    running = optimizer.torch_optimizer([weights], 1.0)
    for lr in lrs:
        running.param_groups[0]["lr"] = float(lr)
        drawn = d + math.sqrt(1 - d * d) * rng.standard_normal(count)
        weights.grad = torch.from_numpy(gradient.known_rms * drawn)
        running.step()
    return float(weights.detach().square().mean().sqrt())


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(("name", "settings", "gradient"), REPLAYED, ids=str)
def test_a_schedule_carries_as_far_as_a_replay(
    name: str, settings: dict[str, Any], gradient: Gradient, steps: int
) -> None:
    """Within 4 %: of drawn elements, and of an Adam whose v is not as steady as it is taken for."""
    optimizer = made(name, **settings)
    for schedule in of_schedules(steps):
        expected = optimizer.displacement(schedule, gradient)
        replayed = moved(optimizer, gradient, multiples_of(schedule), ELEMENTS[steps])
        assert replayed == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(("name", "settings", "gradient"), REPLAYED, ids=str)
def test_noise_never_carries_further_than_drift(
    name: str, settings: dict[str, Any], gradient: Gradient, steps: int
) -> None:
    optimizer = made(name, **settings)
    for schedule in of_schedules(steps):
        try:
            bound = optimizer.displacement(schedule, Gradient(gradient.rms, CONSTANT))
        except NoFormula:  # each step of a sign is one lr
            bound = schedule.sums().first
        carried = optimizer.displacement(schedule, Gradient(gradient.rms))
        assert carried <= bound * (1 + 1e-12)
        assert steps > 1 or carried == pytest.approx(bound)


def test_a_running_maximum_has_the_displacement_of_constant_gradients_alone() -> None:
    """By step 1000 of noise at beta2 0.95 it is 20 % below Adam's."""
    optimizer, plan = made("adam", amsgrad=True), Schedule("constant", 100)
    assert optimizer.displacement(plan, Gradient(snr=CONSTANT)) == pytest.approx(100)
    for law in (optimizer.displacement, made("adamw", amsgrad=True).displacement):
        with pytest.raises(NoFormula, match="running maximum"):
            law(plan, NOISE)
    with pytest.raises(NoFormula, match="running maximum"):
        made("adamw", amsgrad=True).equilibrium_rms(1e-3, NOISE)


@given(schedules(), BETAS)
@settings(deadline=None, max_examples=30)
def test_discounted_sums_are_those_of_a_recursion(schedule: Schedule, factor: float) -> None:
    lrs = multiples_of(schedule)
    found, later = discounted(lrs, factor), 0.0
    for i in reversed(range(len(lrs))):
        later = lrs[i] + factor * later
        assert found[i] == pytest.approx(later, rel=1e-12)


@given(BETAS, BETAS, st.integers(1, 120))
@settings(deadline=None, max_examples=60)
def test_signs_are_carried_by_the_arcsine_law_of_every_pair(
    beta1: float, beta2: float, steps: int
) -> None:
    """By the covariance of c as a sum over all gradients, and asin of every pair of steps."""
    schedule = Schedule("cosine", steps, warmup=steps // 3)
    weights = np.zeros((steps, steps))  # of each gradient in each c
    for t in range(steps):
        age = t - 1 - np.arange(t)
        weights[t, :t] = beta1 * (1 - beta2) * np.power(beta2, age)
        weights[t, t] = 1 - beta1
    covariance = weights @ weights.T
    rms = np.sqrt(np.diag(covariance))
    agreement = 2 / math.pi * np.arcsin(np.clip(covariance / np.outer(rms, rms), -1, 1))
    lrs = multiples_of(schedule)
    expected = math.sqrt(lrs @ agreement @ lrs)
    assert sign_displacement(schedule, beta1, beta2) == pytest.approx(expected, rel=1e-3)


def test_many_steps_carry_as_the_limit_says() -> None:
    """Adam's noise by √Σlr², SGD's by 1/(1−momentum) of it, Lion's by 6.78 times it."""
    plan = Schedule("constant", 200_000)
    first, second = plan.sums()
    assert [*average_sums(plan, 0.9)] == pytest.approx([first, second], rel=1e-4)
    assert [*momentum_sums(plan, 0.9)] == pytest.approx([10 * first, 100 * second], rel=1e-3)
    assert sign_gain(0.9, 0.99) == pytest.approx(6.78, abs=0.005)
    carried = sign_displacement(plan, 0.9, 0.99)
    assert carried == pytest.approx(sign_gain(0.9, 0.99) * math.sqrt(second), rel=1e-3)


@pytest.mark.parametrize("shape", ["constant", "cosine", "wsd", "inverse-sqrt"])
@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999, 1 - 1e-7])
def test_the_longest_schedules_are_carried_as_far_as_the_next_shorter(
    shape: str, beta: float
) -> None:
    """On both sides of LONG, whatever the share of a run that an average holds."""
    decay = 1000 if shape == "wsd" else 0
    below = Schedule(shape, LONG, warmup=1000, decay=decay)
    above = Schedule(shape, LONG + 8, warmup=1000, decay=decay)
    expected = [*average_sums(below, beta)]
    assert [*average_sums(above, beta)] == pytest.approx(expected, rel=1e-3)
    found = momentum_sums(above, beta, 0.1)
    assert [*found] == pytest.approx([*momentum_sums(below, beta, 0.1)], rel=1e-3)


def test_a_run_of_every_length_has_a_displacement() -> None:
    plan = Schedule("cosine", 10**15, warmup=10**12)
    for name in ("adamw", "sgd", "lion"):
        carried = made(name).displacement(plan, NOISE)
        assert 1 < carried / math.sqrt(plan.sums().second) * (1 + 1e-6) < 10
