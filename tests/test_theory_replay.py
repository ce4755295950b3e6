"""The formulas against torch.optim, replayed on seeded random gradients. Numbers in the docstrings
are those of the notes' test vectors."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from scalecheck.theory.adam_relatives import (
    adagrad_update_rms,
    adamax_update_rms,
    atan2_update_rms,
    nadam_update,
    radam_rectification,
)
from scalecheck.theory.bounds import (
    largest_update,
    peak_after_jump,
    single_gradient_displacement,
    single_gradient_update,
    update_after_jump,
)
from scalecheck.theory.decay import (
    approaching_rms,
    coupled_equilibrium_rms,
    equilibrium_relative_update,
    equilibrium_rms,
)
from scalecheck.theory.displacement import displacement_mean, displacement_rms, effective_steps
from scalecheck.theory.momentum import momentum_update_rms
from scalecheck.theory.noise import Autoregressive, Noise, Sparse, StudentT
from scalecheck.theory.orthogonal_updates import newton_schulz_update_rms
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.schedule import Schedule
from scalecheck.theory.sign_updates import lion_equilibrium_rms, lion_noise_gain, lion_update_mean
from scalecheck.theory.signal import (
    signal_from_state,
    squared_drift_fraction,
    squared_drift_fraction_error,
)
from scalecheck.theory.spectral import noise_spectral_norm, rank_one_spectral_norm
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


@pytest.mark.parametrize("snr", [0.0, 0.5])
def test_first_steps_of_adam_move_by_update_rms(snr: float) -> None:
    numel = 100_000
    replay = adam(zeros(numel), betas=(0.9, 0.999))
    for step in (1, 2, 3, 4, 5):
        move = replay.step(gaussian(numel, snr)(step))
        expected = expected_update(0.9, 0.999, snr, step)
        assert rms(move) == pytest.approx(expected.rms, rel=0.01)
        assert float(move.mean()) == pytest.approx(expected.mean, abs=0.01)


@pytest.mark.parametrize("ratio", [10.0, 1.0, 0.1])
@pytest.mark.parametrize("step", [1, 20])
def test_eps_shrinks_adams_moves_as_expected(ratio: float, step: int) -> None:
    numel = 50_000
    replay = Replay(torch.optim.Adam, zeros(numel), betas=(0.9, 0.95), eps=1 / ratio)
    move = replay.run(gaussian(numel), step)
    expected = update_rms(0.9, 0.95, step=step, grad_rms_over_eps=ratio)
    assert rms(move) == pytest.approx(expected, rel=0.02)


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


@pytest.mark.parametrize("step", [1, 10, 100])
def test_rmsprop_is_adam_without_beta1_and_bias_correction(step: int) -> None:
    numel = 40_000
    move = Replay(torch.optim.RMSprop, zeros(numel), alpha=0.99, eps=0.0).run(
        gaussian(numel, 0.5), step
    )
    expected = update_rms(0.0, 0.99, 0.5, step, bias_correction=False)
    assert rms(move) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("snr", [0.0, 1.0])
def test_adagrad_moves_by_one_over_root_step(snr: float) -> None:
    numel = 20_000
    move = Replay(torch.optim.Adagrad, zeros(numel), eps=0.0).run(gaussian(numel, snr), 30)
    assert rms(move) == pytest.approx(adagrad_update_rms(30), rel=0.02)


@pytest.mark.parametrize("step", [6, 20])
def test_radam_is_adam_times_its_rectification(step: int) -> None:
    numel = 20_000
    move = Replay(torch.optim.RAdam, zeros(numel), betas=(0.9, 0.999), eps=0.0).run(
        gaussian(numel, 0.5), step
    )
    factor = radam_rectification(0.999, step)
    assert factor is not None
    assert rms(move) == pytest.approx(factor * update_rms(0.9, 0.999, 0.5, step), rel=0.02)


def test_radams_first_steps_move_by_the_gradients_average() -> None:
    assert radam_rectification(0.999, 5) is None
    replay = Replay(torch.optim.RAdam, zeros(3), eps=0.0)
    gradient = torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64)
    for _ in range(5):
        assert torch.allclose(replay.step(gradient.clone()), gradient)


@pytest.mark.parametrize(("step", "snr"), [(1, 0.5), (2, 0.5), (10, 0.0), (100, 0.5)])
def test_nadam_moves_as_expected(step: int, snr: float) -> None:
    numel = 50_000
    move = Replay(torch.optim.NAdam, zeros(numel), betas=(0.9, 0.99), eps=0.0).run(
        gaussian(numel, snr), step
    )
    expected = nadam_update(0.9, 0.99, step, snr)
    assert rms(move) == pytest.approx(expected.rms, rel=0.01)
    assert float(move.mean()) == pytest.approx(expected.mean, abs=0.01)


@pytest.mark.parametrize(("step", "snr"), [(1, 0.0), (2, 0.5), (10, 5.0), (100, 0.0)])
def test_adamax_moves_as_expected(step: int, snr: float) -> None:
    """37: exact where the notes' independence formula is 1.3% high."""
    numel = 50_000
    move = Replay(torch.optim.Adamax, zeros(numel), betas=(0.9, 0.999), eps=0.0).run(
        gaussian(numel, snr), step
    )
    assert rms(move) == pytest.approx(adamax_update_rms(0.9, 0.999, step, snr), rel=0.01)


@pytest.mark.parametrize("snr", [0.0, 0.5, 2.0])
def test_atan2_of_adam_moves_as_expected(snr: float) -> None:
    """50: the update of a stationary Adam, its atan2 taken here."""
    numel = 20_000
    replay = adam(zeros(numel), betas=(0.9, 0.99))
    update = replay.run(gaussian(numel, snr), 500)
    expected = atan2_update_rms(expected_update(0.9, 0.99, snr, 500))
    assert rms(4 / math.pi * torch.atan(update)) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("step", [1, 2, 8])
@pytest.mark.parametrize("snr", [0.0, 1.0])
def test_sgds_momentum_moves_as_expected(nesterov: bool, step: int, snr: float) -> None:
    numel = 50_000
    dampening = 0.0 if nesterov else 0.3
    move = Replay(
        torch.optim.SGD, zeros(numel), momentum=0.9, nesterov=nesterov, dampening=dampening
    ).run(gaussian(numel, snr), step)
    expected = momentum_update_rms(0.9, snr, step, dampening, nesterov)
    assert rms(move) == pytest.approx(expected * math.hypot(1.0, snr), rel=0.015)


def worst_gradients(beta1: float, beta2: float, steps: int) -> list[float]:
    """g_i ∝ a_i/b_i, oldest first, the largest 1."""
    return [float((beta1 / beta2) ** (steps - 1 - step)) for step in range(steps)]


@pytest.mark.parametrize("beta2", [0.99, 0.95])
def test_the_largest_update_is_reached(beta2: float) -> None:
    """32: without bias correction, which is gone after 2000 steps."""
    replay = Replay(torch.optim.Adam, zeros(1), betas=(0.9, beta2), eps=1e-30)
    replay.run(lambda step: zeros(1), 2000)
    for gradient in worst_gradients(0.9, beta2, 300):
        move = replay.step(torch.tensor([gradient], dtype=torch.float64))
    assert abs(float(move)) == pytest.approx(largest_update(0.9, beta2), rel=1e-4)


def test_a_jump_of_scale_makes_updates_peak() -> None:
    """33: at a jump of 100."""
    replay = adam(zeros(1), betas=(0.9, 0.95))
    one = torch.ones(1, dtype=torch.float64)
    replay.run(lambda step: one, 600)
    moves = [float(replay.step(100 * one)) for _ in range(40)]
    expected = [update_after_jump(0.9, 0.95, 100.0, step) for step in range(1, 41)]
    assert moves == pytest.approx(expected, rel=1e-6)
    peak = peak_after_jump(0.9, 0.95, 100.0)
    assert max(moves) == pytest.approx(peak.update, rel=1e-6)
    assert moves.index(max(moves)) + 1 == peak.step


@pytest.mark.parametrize(
    ("beta2", "first", "total"), [(0.999, 2.5146, 25.33), (0.95, 0.44721, 5.8368)]
)
def test_one_gradient_after_silence_moves_far(beta2: float, first: float, total: float) -> None:
    """31: at step 1000, where v̂ is still bias-corrected."""
    replay = Replay(torch.optim.Adam, zeros(1), betas=(0.9, beta2), eps=1e-200)
    replay.run(lambda step: zeros(1), 999)
    moves = [float(replay.step(torch.ones(1, dtype=torch.float64)))]
    moves += [float(replay.step(zeros(1))) for _ in range(350)]
    assert moves[0] == pytest.approx(single_gradient_update(0.9, beta2, 1000), rel=1e-9)
    assert moves[0] == pytest.approx(first, abs=1e-4)
    assert sum(moves) == pytest.approx(single_gradient_displacement(0.9, beta2, 1000), rel=1e-9)
    assert sum(moves) == pytest.approx(total, abs=0.005)


@pytest.mark.parametrize(("snr", "steps"), [(0.0, 2000), (0.1, 1500)])
def test_adam_is_displaced_as_expected(snr: float, steps: int) -> None:
    """39, 40: with fewer steps."""
    numel = 5000
    replay = adam(zeros(numel), betas=(0.9, 0.98))
    replay.run(gaussian(numel, snr), steps)
    effective = effective_steps(0.9, steps)
    expected = displacement_rms(steps, effective, snr)
    assert rms(replay.weights) == pytest.approx(expected, rel=0.02)
    assert float(replay.weights.mean()) == pytest.approx(
        -displacement_mean(steps, snr), abs=0.02 * expected + 0.8
    )


def test_a_schedule_displaces_as_its_sums_say() -> None:
    """41: on noise, a shorter schedule."""
    numel, schedule = 5000, Schedule("cosine", 1500, warmup=150)
    replay = adam(zeros(numel), betas=(0.9, 0.98))
    for multiple in schedule.multiples():
        replay.optimizer.param_groups[0]["lr"] = float(multiple)
        replay.run(gaussian(numel), 1)
    sums = schedule.sums()
    assert rms(replay.weights) == pytest.approx(displacement_rms(sums.first, sums.second), rel=0.03)


def test_correlated_gradients_displace_farther() -> None:
    numel, steps = 5000, 2000
    replay = adam(zeros(numel), betas=(0.9, 0.99))
    replay.run(correlated(numel, 0.5), steps)
    assert rms(replay.weights) == pytest.approx(displacement_rms(steps, steps, rho=0.5), rel=0.03)


def test_adamw_settles_at_its_equilibrium() -> None:
    """42, 43: on the way and at the end; lr·weight_decay 0.005."""
    numel, lr, weight_decay = 10_000, 0.01, 0.5
    replay = Replay(
        torch.optim.AdamW,
        torch.randn(numel, dtype=torch.float64),
        lr=lr,
        weight_decay=weight_decay,
        eps=0.0,
        betas=(0.9, 0.99),
    )
    replay.run(gaussian(numel), 200)
    expected = approaching_rms(1.0, equilibrium_rms(lr, weight_decay), 200 * lr, weight_decay)
    assert rms(replay.weights) == pytest.approx(expected, rel=0.02)
    replay.run(gaussian(numel), 800)
    assert rms(replay.weights) == pytest.approx(
        equilibrium_rms(lr, weight_decay, beta1=0.9), rel=0.02
    )
    relative = rms(replay.run(gaussian(numel), 1)) / rms(replay.weights)
    assert relative == pytest.approx(equilibrium_relative_update(lr, weight_decay, 0.9), rel=0.04)


def test_adamw_settles_at_its_equilibrium_with_drift() -> None:
    """44."""
    numel = 5000
    replay = Replay(
        torch.optim.AdamW, zeros(numel), lr=0.01, weight_decay=0.5, eps=0.0, betas=(0.9, 0.99)
    )
    replay.run(gaussian(numel, 0.3), 1400)
    assert rms(replay.weights) == pytest.approx(equilibrium_rms(0.01, 0.5, snr=0.3), rel=0.02)


def test_coupled_decay_settles_where_the_gradients_scale_puts_it() -> None:
    """45: with a shorter memory, lr 3e-3, weight_decay 1, gradient rms 1."""
    numel = 5000
    replay = adam(zeros(numel), lr=3e-3, weight_decay=1.0, betas=(0.9, 0.99))
    replay.run(gaussian(numel), 1200)
    assert rms(replay.weights) == pytest.approx(coupled_equilibrium_rms(3e-3, 1.0, 1.0), rel=0.03)


def lion_moves(numel: int, steps: int, snr: float) -> Iterator[torch.Tensor]:
    """sign(c) of Lion at betas (0.9, 0.99) from its stationary state on."""
    noise = torch.randn(numel, dtype=torch.float64) * math.sqrt(0.01 / 1.99)
    m = noise + snr
    for _ in range(steps):
        gradient = gaussian(numel, snr)(0)
        yield torch.sign(0.9 * m + 0.1 * gradient)
        m = 0.99 * m + 0.01 * gradient


def test_lions_signs_add_up_as_expected() -> None:
    numel, steps = 3000, 2500
    displacement = sum(lion_moves(numel, steps, 0.0), zeros(numel))
    assert lion_noise_gain(0.9, 0.99) == pytest.approx(6.78, abs=0.005)
    assert rms(displacement) / math.sqrt(steps) == pytest.approx(6.78, rel=0.05)
    drift = sum(float(move.mean()) for move in lion_moves(numel, 500, 0.1)) / 500
    assert drift == pytest.approx(lion_update_mean(0.9, 0.99, 0.1), rel=0.01)
    assert drift == pytest.approx(0.6008, rel=0.01)


def test_lion_settles_at_its_equilibrium() -> None:
    numel, lr, weight_decay = 3000, 0.01, 0.5
    weights = zeros(numel)
    for move in lion_moves(numel, 1200, 0.0):
        weights = (1 - lr * weight_decay) * weights - lr * move
    expected = lion_equilibrium_rms(lr, weight_decay, 0.9, 0.99)
    assert expected == pytest.approx(0.557, abs=5e-4)
    assert rms(weights) == pytest.approx(expected, rel=0.03)


def test_adams_noise_and_rank_one_updates_have_their_spectral_norms() -> None:
    """47: 1024 × 256."""
    weights = torch.zeros(1024, 256, dtype=torch.float64)
    replay = adam(weights, betas=(0.9, 0.99))
    update = replay.run(lambda step: torch.randn(1024, 256, dtype=torch.float64), 40)
    norm = float(torch.linalg.matrix_norm(update, 2))
    assert norm == pytest.approx(noise_spectral_norm(1024, 256, rms(update)), rel=0.03)
    rank_one = torch.outer(
        torch.randn(1024, dtype=torch.float64), torch.randn(256, dtype=torch.float64)
    )
    update = adam(weights, betas=(0.9, 0.99)).run(lambda step: rank_one, 3)
    norm = float(torch.linalg.matrix_norm(update, 2))
    assert norm == pytest.approx(rank_one_spectral_norm(1024, 256, 1.0), rel=1e-9)
    assert norm == pytest.approx(512.0)


def test_a_net_of_larger_weights_trains_alike_under_the_law() -> None:
    """48: y = (w'/k)·x with w' = k·w; a wrong exponent trains another function."""

    def outputs(k: float, lr: float, eps: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)

        def randn(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        inner = (k * randn(16, 12) / math.sqrt(12)).requires_grad_()
        outer = (k * randn(6, 16) / 4).requires_grad_()
        x, y, probe = randn(60, 8, 12), randn(60, 8, 6), randn(10, 12)
        optimizer = torch.optim.Adam([inner, outer], lr=lr, eps=eps)
        seen = []
        for batch, target in zip(x, y, strict=True):
            optimizer.zero_grad()
            hidden = torch.tanh(batch @ inner.T / k)
            (hidden @ outer.T / k - target).square().mean().backward()
            optimizer.step()
            seen.append((torch.tanh(probe @ inner.T / k) @ outer.T / k).detach())
        return torch.stack(seen)

    k = 10.0
    law = Reparameterization(1, {"eps": -1})
    plain = {"lr": 0.01, "eps": 1e-8}
    reference = outputs(1.0, **plain)

    def deviation(hyperparameters: dict[str, float]) -> float:
        return float(
            (outputs(k, **hyperparameters) - reference).abs().max() / reference.abs().max()
        )

    moved = law.apply(plain, k)
    assert deviation(moved) < 1e-12
    assert deviation(moved | {"lr": plain["lr"]}) > 0.1
    assert deviation(moved | {"lr": plain["lr"] * k * k}) > 0.1


def moments(replay: Replay, beta1: float, beta2: float) -> tuple[torch.Tensor, torch.Tensor]:
    """m̂ and v̂ from an Adam state."""
    state = replay.optimizer.state[replay.parameter]
    return (
        state["exp_avg"] / (1 - beta1**replay.steps),
        state["exp_avg_sq"] / (1 - beta2**replay.steps),
    )


def test_snr_is_read_from_an_adam_state() -> None:
    """49: step 10, snr 1, 1e5 elements."""
    replay = adam(zeros(100_000), betas=(0.9, 0.999))
    replay.run(gaussian(100_000, 1.0), 10)
    m, v = moments(replay, 0.9, 0.999)
    signal = signal_from_state(float(m.square().mean()), float(v.mean()), 0.9, 10)
    assert signal.snr == pytest.approx(1.0, rel=0.03)
    assert signal.noise == pytest.approx(1.0, rel=0.03)


def test_drift_is_read_from_elements_of_different_scales() -> None:
    numel = 50_000
    scale = torch.exp(3 * torch.randn(numel, dtype=torch.float64))
    replay = adam(zeros(numel), betas=(0.9, 0.95))
    replay.run(lambda step: scale * gaussian(numel, 0.3)(step), 100)
    m, v = moments(replay, 0.9, 0.95)
    drift = squared_drift_fraction(float((m.square() / v).mean()), 0.9, 0.95, 100)
    assert drift == pytest.approx(0.09 / 1.09, rel=0.03)


def test_noise_reads_as_no_drift_within_its_error() -> None:
    numel = 50_000
    replay = adam(zeros(numel), betas=(0.9, 0.95))
    replay.run(gaussian(numel), 100)
    m, v = moments(replay, 0.9, 0.95)
    drift = squared_drift_fraction(float((m.square() / v).mean()), 0.9, 0.95, 100)
    assert abs(drift) < 4 * squared_drift_fraction_error(0.9, 100, numel)


@pytest.mark.parametrize(("rows", "cols"), [(256, 256), (64, 1024), (256, 64)])
def test_muon_moves_noise_as_the_singular_values_say(rows: int, cols: int) -> None:
    """51: torch's iteration runs in bfloat16."""
    replay = Replay(
        torch.optim.Muon,
        torch.zeros(rows, cols),
        weight_decay=0.0,
        adjust_lr_fn="match_rms_adamw",
    )
    move = replay.run(lambda step: torch.randn(rows, cols), 3)
    expected = 0.2 * math.sqrt(max(rows, cols)) * newton_schulz_update_rms(rows, cols)
    assert rms(move) == pytest.approx(expected, rel=0.015)


@pytest.mark.parametrize(
    ("gradient", "update"), [(1e-21, 0.844763), (1e-22, math.inf), (6e20, 0.0)]
)
def test_float32_adam_loses_squares_beyond_its_range(gradient: float, update: float) -> None:
    """52."""
    replay = Replay(torch.optim.Adam, torch.zeros(1), eps=0.0)
    move = replay.step(torch.tensor([gradient]))
    assert float(move) == pytest.approx(update, abs=1e-5)


def test_bfloat16_second_moment_cannot_decay_at_beta2_0_999() -> None:
    replay = Replay(torch.optim.Adam, torch.zeros(64, dtype=torch.bfloat16), betas=(0.9, 0.999))
    replay.step(torch.tensor(np.linspace(1, 2, 64), dtype=torch.bfloat16))
    state = replay.optimizer.state[replay.parameter]["exp_avg_sq"]
    before = state.clone()
    replay.step(torch.zeros(64, dtype=torch.bfloat16))
    assert torch.equal(state, before)
