"""The optimizers that torch lacks against their papers, transcribed here in numpy float64: one
tensor, lr 0.1, weight decay, gradients whose scale jumps so that clipping acts."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scalecheck import registry
from scalecheck.optimizers.contract import Hyperparameters

FloatArray = NDArray[np.float64]
Trajectory = Iterator[FloatArray]

LR, STEPS = 0.1, 30


def lion(
    w: FloatArray, gradients: FloatArray, beta1: float, beta2: float, decay: float
) -> Trajectory:
    """Chen et al. 2023, algorithm 2."""
    m = np.zeros_like(w)
    for g in gradients:
        c = beta1 * m + (1 - beta1) * g
        w = w - LR * (np.sign(c) + decay * w)
        m = beta2 * m + (1 - beta2) * g
        yield w


def signum(w: FloatArray, gradients: FloatArray, beta: float) -> Trajectory:
    """Bernstein et al. 2018, algorithm 2."""
    m = np.zeros_like(w)
    for g in gradients:
        m = beta * m + (1 - beta) * g
        w = w - LR * np.sign(m)
        yield w


def averages(
    gradients: FloatArray, beta1: float, beta2: float
) -> Iterator[tuple[FloatArray, FloatArray, FloatArray]]:
    """g, m̂, v̂ as plain sums over all gradients so far."""
    for t in range(1, len(gradients) + 1):
        age = np.arange(t - 1, -1, -1)
        a, b = beta1**age, beta2**age
        past = gradients[:t]
        yield (
            gradients[t - 1],
            np.tensordot(a / a.sum(), past, 1),
            np.tensordot(b / b.sum(), past**2, 1),
        )


def lamb(
    w: FloatArray, gradients: FloatArray, beta1: float, beta2: float, eps: float, decay: float
) -> Trajectory:
    """You et al. 2020, algorithm 2, with φ(z) = z."""
    for _, m, v in averages(gradients, beta1, beta2):
        r = m / (np.sqrt(v) + eps)
        w = w - LR * np.linalg.norm(w) / np.linalg.norm(r + decay * w) * (r + decay * w)
        yield w


def lars(
    w: FloatArray, gradients: FloatArray, momentum: float, decay: float, trust: float
) -> Trajectory:
    """You et al. 2017, algorithm 1."""
    v = np.zeros_like(w)
    for g in gradients:
        local = trust * np.linalg.norm(w) / (np.linalg.norm(g) + decay * np.linalg.norm(w))
        v = momentum * v + LR * local * (g + decay * w)
        w = w - v
        yield w


def adam_atan2(
    w: FloatArray, gradients: FloatArray, beta1: float, beta2: float, decay: float
) -> Trajectory:
    """Everett et al. 2024, times 4/π; arctan(m̂/√v̂), as v̂ > 0 here."""
    for _, m, v in averages(gradients, beta1, beta2):
        w = (1 - LR * decay) * w - LR * 4 / math.pi * np.arctan(m / np.sqrt(v))
        yield w


def stable_adamw(
    w: FloatArray, gradients: FloatArray, beta1: float, beta2: float, eps: float, decay: float
) -> Trajectory:
    """Wortsman et al. 2023, algorithm 2, with its own form of bias correction."""
    v, u = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        hat1 = beta1 * (1 - beta1 ** (t - 1)) / (1 - beta1**t)
        hat2 = beta2 * (1 - beta2 ** (t - 1)) / (1 - beta2**t)
        v = hat1 * v + (1 - hat1) * g
        u = hat2 * u + (1 - hat2) * g**2
        rms = np.sqrt(np.mean(g**2 / np.maximum(u, eps**2)))
        eta = LR / max(1.0, rms)
        w = w - eta * decay * w - eta * v / (np.sqrt(u) + eps)
        yield w


def gradients_that_jump(shape: tuple[int, ...]) -> FloatArray:
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((STEPS, *shape))
    gradients[STEPS // 2 :] *= 30.0
    return gradients


def built(name: str, **settings: Any) -> Hyperparameters:
    optimizer: Hyperparameters = registry.load("optimizer", name).Optimizer(**settings)
    return optimizer


CASES: list[tuple[Hyperparameters, Callable[..., Trajectory], tuple[float, ...]]] = [
    (built("lion", weight_decay=0.3), lion, (0.9, 0.99, 0.3)),
    (built("signsgd"), signum, (0.0,)),
    (built("signsgd", momentum=0.9), signum, (0.9,)),
    (built("lamb", eps=0.1), lamb, (0.9, 0.999, 0.1, 0.01)),
    (built("lars", weight_decay=0.3, trust_coefficient=0.2), lars, (0.9, 0.3, 0.2)),
    (built("adam_atan2", weight_decay=0.3), adam_atan2, (0.9, 0.999, 0.3)),
    (built("stable_adamw", eps=0.1), stable_adamw, (0.9, 0.99, 0.1, 0.2)),
]
NAMES = [type(case[0]).__module__.rpartition(".")[2] for case in CASES]


def torch_trajectory(
    running: torch.optim.Optimizer, weights: torch.Tensor, gradients: FloatArray
) -> Trajectory:
    for gradient in gradients:
        weights.grad = torch.tensor(gradient)
        running.step()
        yield weights.detach().numpy().copy()


def started(
    optimizer: Hyperparameters, start: FloatArray
) -> tuple[torch.optim.Optimizer, torch.Tensor]:
    weights = torch.tensor(start, requires_grad=True)
    return optimizer.torch_optimizer([weights], LR), weights


@pytest.mark.parametrize("shape", [(), (1,), (7, 5)], ids=str)
@pytest.mark.parametrize(("optimizer", "paper", "settings"), CASES, ids=NAMES)
def test_it_is_what_its_paper_says(
    optimizer: Hyperparameters,
    paper: Callable[..., Trajectory],
    settings: tuple[float, ...],
    shape: tuple[int, ...],
) -> None:
    start = np.random.default_rng(1).standard_normal(shape)
    gradients = gradients_that_jump(shape)
    running, weights = started(optimizer, start)
    expected = list(paper(start, gradients, *settings))
    np.testing.assert_allclose(
        list(torch_trajectory(running, weights, gradients)), expected, rtol=1e-11, atol=1e-13
    )


@pytest.mark.parametrize("optimizer", [case[0] for case in CASES], ids=NAMES)
def test_it_resumes_from_its_saved_state(optimizer: Hyperparameters) -> None:
    gradients = gradients_that_jump((4,))
    running, weights = started(optimizer, np.ones(4))
    *_, halfway = torch_trajectory(running, weights, gradients[:10])
    saved = copy.deepcopy(running.state_dict())
    onward = list(torch_trajectory(running, weights, gradients[10:]))
    resumed, weights = started(optimizer, halfway)
    resumed.load_state_dict(saved)
    np.testing.assert_array_equal(list(torch_trajectory(resumed, weights, gradients[10:])), onward)


@pytest.mark.parametrize("optimizer", [case[0] for case in CASES], ids=NAMES)
def test_it_runs_a_closure_and_leaves_out_what_has_no_gradient(optimizer: Hyperparameters) -> None:
    weights = [torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)]
    running = optimizer.torch_optimizer(weights, LR)

    def closure() -> float:
        weights[0].grad = torch.ones(3)
        return 3.0

    assert running.step(closure) == 3.0
    assert bool((weights[0] < 1).all())
    assert bool((weights[1] == 1).all())


@pytest.mark.parametrize("name", ["lamb", "lars"])
def test_lr_is_not_relative_to_weights_of_zero(name: str) -> None:
    """The ratio is 1 then: a gradient of 1 moves the first step by lr."""
    running, weights = started(built(name), np.zeros(3))
    (after,) = torch_trajectory(running, weights, np.ones((1, 3)))
    assert after == pytest.approx([-LR] * 3, rel=1e-5)
