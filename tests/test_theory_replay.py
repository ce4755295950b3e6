"""update_rms against torch.optim.Adam, replayed on random gradients of every law of noise."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch

from scalecheck.theory.noise import Autoregressive, Noise, Sparse, StudentT
from scalecheck.theory.update_rms import GAUSSIAN, expected_update, update_rms

Gradient = Callable[[int], torch.Tensor]


@pytest.fixture(autouse=True)
def seeded_on_one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def gaussian(numel: int, snr: float = 0.0) -> Gradient:
    return lambda step: torch.randn(numel, dtype=torch.float64) + snr


def correlated(numel: int, rho: float, snr: float = 0.0) -> Gradient:
    noise = torch.randn(numel, dtype=torch.float64)

    def gradient(step: int) -> torch.Tensor:
        if step > 1:
            fresh = torch.randn(numel, dtype=torch.float64)
            noise.mul_(rho).add_(fresh, alpha=math.sqrt(1 - rho * rho))
        return noise + snr

    return gradient


class Replay:
    """One parameter of independent elements, an optimizer, and the moves it makes."""

    def __init__(
        self,
        optimizer: type[torch.optim.Optimizer],
        weights: torch.Tensor,
        lr: float = 1.0,
        **options: Any,
    ) -> None:
        self.parameter = weights.clone().requires_grad_()
        self.optimizer = optimizer([self.parameter], lr=lr, **options)  # type: ignore[call-arg]  # the base class names no options
        self.steps = 0

    @property
    def weights(self) -> torch.Tensor:
        return self.parameter.detach()

    def step(self, gradient: torch.Tensor) -> torch.Tensor:
        before = self.weights.clone()
        self.parameter.grad = gradient
        self.optimizer.step()
        self.steps += 1
        return before - self.weights

    def run(self, gradient: Gradient, steps: int) -> torch.Tensor:
        """The last of `steps` moves."""
        for _ in range(steps):
            move = self.step(gradient(self.steps + 1))
        return move

    def mean_square(self, gradient: Gradient, skipped: int, averaged: int) -> float:
        """Mean square move over the `averaged` steps after the skipped ones."""
        self.run(gradient, skipped)
        return sum(float(self.run(gradient, 1).square().mean()) for _ in range(averaged)) / averaged


def zeros(numel: int) -> torch.Tensor:
    return torch.zeros(numel, dtype=torch.float64)


def rms(tensor: torch.Tensor) -> float:
    return float(tensor.square().mean().sqrt())


adam = partial(Replay, torch.optim.Adam, eps=0.0)


@pytest.mark.parametrize(
    ("beta1", "beta2", "snr"),
    [(0.9, 0.95, 0.0), (0.9, 0.95, 0.5), (0.9, 0.98, 1.0), (0.0, 0.95, 0.0), (0.95, 0.95, 0.1)],
)
def test_stationary_adam_moves_by_update_rms(beta1: float, beta2: float, snr: float) -> None:
    numel = 4000
    replay = adam(zeros(numel), betas=(beta1, beta2))
    measured = math.sqrt(replay.mean_square(gaussian(numel, snr), 250, 250))
    assert measured == pytest.approx(update_rms(beta1, beta2, snr), rel=0.005)


def student_t(numel: int, dof: float) -> Gradient:
    law = torch.distributions.StudentT(torch.tensor(dof, dtype=torch.float64))
    return lambda step: law.sample((numel,))


def sparse(numel: int, density: float) -> Gradient:
    return lambda step: torch.randn(numel, dtype=torch.float64) * (torch.rand(numel) < density)


@pytest.mark.parametrize(
    ("noise", "gradient"),
    [
        (StudentT(1.0), student_t(4000, 1.0)),
        (StudentT(3.0), student_t(4000, 3.0)),
        (Sparse(0.1), sparse(8000, 0.1)),
    ],
)
def test_heavy_tails_and_sparse_gradients_lower_adams_moves(
    noise: Noise, gradient: Gradient
) -> None:
    numel = len(gradient(1))
    # eps 1e-30 stands for 0, which would make 0/0 before the first gradient.
    replay = Replay(torch.optim.Adam, zeros(numel), betas=(0.9, 0.95), eps=1e-30)
    measured = math.sqrt(replay.mean_square(gradient, 300, 200))
    expected = update_rms(0.9, 0.95, noise=noise)
    assert measured == pytest.approx(expected, rel=0.01)
    assert expected < update_rms(0.9, 0.95, noise=GAUSSIAN)


@pytest.mark.parametrize(
    ("density", "snr", "step"), [(0.01, 0.1, 20), (0.1, 0.5, 50), (0.01, 2.0, 100)]
)
def test_rare_noise_around_a_mean_moves_adam_as_expected(
    density: float, snr: float, step: int
) -> None:
    """At 0.01 and 0.1, 0.915 at step 20: the mean alone moves most elements."""
    numel, std = 40_000, 1 / math.hypot(1, snr)

    def gradient(_: int) -> torch.Tensor:
        hit = torch.rand(numel) < density
        drawn = torch.randn(numel, dtype=torch.float64) * hit / math.sqrt(density)
        return std * (snr + drawn)

    move = adam(zeros(numel), betas=(0.9, 0.99)).run(gradient, step)
    expected = expected_update(0.9, 0.99, snr, step, noise=Sparse(density))
    assert rms(move) == pytest.approx(expected.rms, rel=0.01)
    assert float(move.mean()) == pytest.approx(expected.mean, rel=0.015)


@pytest.mark.parametrize(("rho", "snr"), [(-0.5, 0.0), (0.5, 0.3), (0.9, 0.0)])
def test_correlated_gradients_move_adam_as_expected(rho: float, snr: float) -> None:
    numel = 4000
    replay = adam(zeros(numel), betas=(0.9, 0.95))
    measured = math.sqrt(replay.mean_square(correlated(numel, rho, snr), 250, 250))
    expected = update_rms(0.9, 0.95, snr, noise=Autoregressive(rho))
    assert measured == pytest.approx(expected, rel=0.01)


def test_correlated_gradients_move_adam_as_expected_at_step_3() -> None:
    numel = 100_000
    move = adam(zeros(numel), betas=(0.9, 0.95)).run(correlated(numel, 0.5, 0.3), 3)
    expected = expected_update(0.9, 0.95, 0.3, 3, noise=Autoregressive(0.5))
    assert rms(move) == pytest.approx(expected.rms, rel=0.01)
    assert float(move.mean()) == pytest.approx(expected.mean, rel=0.01)
