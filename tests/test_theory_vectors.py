"""Test vectors: numbers that theory gave before it was written as code, found by integration and by
Monte Carlo. Vectors that replay an optimizer are in test_theory_replay.py."""

import math
from typing import Any

import pytest

from scalecheck import registry
from scalecheck.measure.initial_scale import Model, scheme
from scalecheck.optimizers.contract import Gradient, Hyperparameters, Weights
from scalecheck.theory.drift import average_rms, displacement_rms
from scalecheck.theory.noise import Autoregressive, Sparse, StudentT
from scalecheck.theory.reparameterization import Reparameterization
from scalecheck.theory.schedule import Schedule
from scalecheck.theory.update_rms import expected_update, update_rms

NOISE = Gradient()


def load(name: str, **settings: Any) -> Hyperparameters:
    optimizer: type[Hyperparameters] = registry.load("optimizer", name).Optimizer
    return optimizer(**settings)


@pytest.mark.parametrize(
    ("vector", "beta1", "beta2", "snr", "rms", "mean"),
    [
        (1, 0.9, 0.999, 0.0, 0.229302, 0.0),
        (2, 0.9, 0.95, 0.0, 0.226057, 0.0),
        (3, 0.9, 0.98, 0.0, 0.227567, 0.0),
        (4, 0.9, 0.99, 0.0, 0.228387, 0.0),
        (5, 0.8, 0.95, 0.0, 0.327071, 0.0),
        (6, 0.95, 0.95, 0.0, 0.158819, 0.0),
        (7, 0.0, 0.95, 0.0, 0.977754, 0.0),
        (8, 0.0, 0.999, 0.0, 0.999501, 0.0),
        (9, 0.9, 0.999, 0.1, 0.248862, 0.099444),
        (10, 0.9, 0.999, 0.5, 0.491567, 0.447020),
        (11, 0.9, 0.999, 1.0, 0.725048, 0.706955),
        (12, 0.9, 0.95, 0.5, 0.479595, 0.443156),
        (13, 0.9, 0.95, 1.0, 0.715074, 0.705030),
        (14, 0.9, 0.999, 3.0, 0.951356, None),
    ],
)
def test_stationary_update_is_the_vectors(
    vector: int, beta1: float, beta2: float, snr: float, rms: float, mean: float | None
) -> None:
    update = expected_update(beta1, beta2, snr)
    assert update.rms == pytest.approx(rms, abs=1e-5)
    if mean is not None:
        assert update.mean == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize("beta1", [0.0, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("beta2", [0.9, 0.95, 0.999])
@pytest.mark.parametrize("snr", [0.0, 0.5, 5.0])
def test_vector_15_first_step_is_one(beta1: float, beta2: float, snr: float) -> None:
    assert update_rms(beta1, beta2, snr, step=1) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("vector", "beta2", "snr", "step", "rms"),
    [
        (16, 0.999, 0.0, 2, 0.708076),
        (17, 0.95, 0.0, 2, 0.707725),
        (18, 0.999, 0.0, 5, 0.452096),
        (18, 0.999, 0.0, 10, 0.330082),
        (18, 0.999, 0.0, 100, 0.229321),
        (19, 0.999, 0.5, 2, 0.747539),
        (19, 0.999, 0.5, 10, 0.515699),
        (20, 0.95, 0.5, 10, 0.513683),
    ],
)
def test_transient_update_is_the_vectors(
    vector: int, beta2: float, snr: float, step: int, rms: float
) -> None:
    assert update_rms(0.9, beta2, snr, step) == pytest.approx(rms, abs=1e-5)


def test_vector_16_second_step_has_a_closed_form() -> None:
    beta1, beta2 = 0.9, 0.999
    root = math.sqrt(beta2)
    square = (1 + beta2) / (1 + beta1) ** 2 * (beta1**2 / (root * (1 + root)) + 1 / (1 + root))
    assert update_rms(beta1, beta2, step=2) == pytest.approx(math.sqrt(square), abs=1e-9)


@pytest.mark.parametrize(
    ("vector", "beta2", "snr", "step", "ratio", "rms"),
    [
        (21, 0.999, 0.0, None, 10.0, 0.208460),
        (21, 0.999, 0.0, None, 1.0, 0.114669),
        (22, 0.95, 0.0, None, 1.0, 0.113329),
        (23, 0.999, 1.0, None, 10.0, 0.659154),
        (24, 0.999, 0.0, 1, 1.0, 0.427801),
    ],
)
def test_update_beside_eps_is_the_vectors(
    vector: int, beta2: float, snr: float, step: int | None, ratio: float, rms: float
) -> None:
    assert update_rms(0.9, beta2, snr, step, ratio) == pytest.approx(rms, abs=1e-5)


def test_vector_23_mean_beside_eps() -> None:
    update = expected_update(0.9, 0.999, 1.0, grad_rms_over_eps=10.0)
    assert update.mean == pytest.approx(0.642689, abs=1e-5)


@pytest.mark.parametrize(("snr", "rms"), [(0.0, 0.229416), (0.5, 0.492042), (1.0, 0.725476)])
def test_vector_26_average_rms(snr: float, rms: float) -> None:
    assert average_rms(0.9, snr) == pytest.approx(rms, abs=1e-6)


def test_vector_28_exact_for_correlated_gradients() -> None:
    assert update_rms(0.9, 0.95, noise=Autoregressive(0.9)) == pytest.approx(0.61857, abs=1e-4)


def test_vector_29_cauchy_noise_halves_the_mean_square() -> None:
    rms = update_rms(0.0, 0.999, noise=StudentT(1.0))
    assert rms == pytest.approx(0.70713, abs=1e-4)
    assert rms == pytest.approx(math.sqrt(0.5), abs=1e-4)


@pytest.mark.parametrize(("beta2", "rms"), [(0.999, 0.21481), (0.95, 0.10256)])
def test_vector_30_sparse_gradients(beta2: float, rms: float) -> None:
    assert update_rms(0.9, beta2, noise=Sparse(0.01)) == pytest.approx(rms, abs=2e-4)


@pytest.mark.parametrize(
    ("beta2", "total"), [(0.999, 31.7658), (0.99, 10.4749), (0.98, 7.7821), (0.95, 5.8368)]
)
def test_vector_31_single_gradient_displacement(beta2: float, total: float) -> None:
    displacement = load("adam", beta2=beta2).isolated_gradient_displacement()
    assert displacement == pytest.approx(total, abs=1e-4)


@pytest.mark.parametrize(
    ("step", "rms"), [(1, 10.0), (10, 3.22187), (100, 1.24991), (1000, 0.99515)]
)
def test_vector_34_rmsprop_on_noise(step: int, rms: float) -> None:
    assert update_rms(0.0, 0.99, step=step, bias_correction=False) == pytest.approx(rms, abs=1e-4)


@pytest.mark.parametrize(("step", "rms"), [(10, 3.23393), (100, 1.25593)])
def test_vector_35_rmsprop_on_a_constant_gradient(step: int, rms: float) -> None:
    update = update_rms(0.0, 0.99, snr=1e6, step=step, bias_correction=False)
    assert update == pytest.approx(rms, abs=1e-5)


def test_vector_36_adagrad() -> None:
    adagrad = load("adagrad", eps=0.0)
    assert [adagrad.update_rms(NOISE, step) for step in (1, 4, 100)] == [1.0, 0.5, 0.1]


def test_vector_37_adamax() -> None:
    """The exact integral lies below what independence of m̂ and the maximum would give, .08501 and
    .09020, and on the Monte Carlo, .0840 and .0888."""
    adamax = load("adamax", eps=0.0)
    assert adamax.update_rms(NOISE) == pytest.approx(0.084340, abs=1e-6)
    assert adamax.update_rms(NOISE, 100) == pytest.approx(0.089023, abs=1e-6)


def test_vector_38_nadam_limit() -> None:
    """.265766 is the limit of beta2 → 1; at 0.999 the update is smaller by 0.05%."""
    nadam = load("nadam", eps=0.0)
    limit = load("nadam", beta2=0.999999, eps=0.0).update_rms(NOISE)
    assert limit == pytest.approx(0.265766, abs=1e-5)
    assert nadam.update_rms(NOISE) == pytest.approx(0.265634, abs=1e-6)
    assert nadam.update_rms(NOISE, 1000) == pytest.approx(0.5443, abs=1e-3)


@pytest.mark.parametrize(
    ("step", "factor"), [(6, 0.025821), (10, 0.048998), (100, 0.215335), (1000, 0.645326)]
)
def test_vector_38_radam_rectification(step: int, factor: float) -> None:
    update = load("radam", eps=0.0).update_rms(Gradient(snr=1e6), step)
    assert update == pytest.approx(factor, abs=1e-5)


@pytest.mark.parametrize(
    ("steps", "snr", "displacement"), [(10_000, 0.0, 100.0), (3000, 0.1, 303.45)]
)
def test_vectors_39_and_40_displacement(steps: int, snr: float, displacement: float) -> None:
    sums = Schedule("constant", steps).sums()
    assert displacement_rms(*sums, snr) == pytest.approx(displacement, abs=0.01)


def test_vector_41_cosine_with_warmup() -> None:
    sums = Schedule("cosine", 4000, warmup=400).sums()
    assert sums == pytest.approx((2000, 1483.33), rel=1e-3)
    assert sums == pytest.approx((2001.0, 1484.3), abs=0.05)


def test_vector_42_adamw_equilibrium() -> None:
    adamw = load("adamw", weight_decay=0.5, eps=0.0)
    assert adamw.equilibrium_rms(0.01, NOISE) == pytest.approx(0.0978296, abs=1e-6)
    assert adamw.equilibrium_rms(1e-4, NOISE) == pytest.approx(0.01, rel=1e-3)


def test_vector_44_equilibrium_with_drift() -> None:
    adamw = load("adamw", weight_decay=0.5, beta1=0.0)
    assert adamw.equilibrium_rms(0.01, Gradient(snr=0.3)) == pytest.approx(0.58262, abs=1e-4)


def test_vector_45_coupled_equilibrium() -> None:
    adam = load("adam", weight_decay=0.3)
    assert adam.equilibrium_rms(1e-3, NOISE) == pytest.approx(0.0408248, abs=1e-6)


@pytest.mark.parametrize(
    ("word", "shape", "rms"),
    [
        ("torch-linear", (256, 512), 0.0255155),
        ("kaiming", (256, 512), 0.0625),
        ("xavier", (1024, 512), 0.0360844),
        ("orthogonal", (512, 1024), 0.03125),
        ("gpt2", (512, 512), 0.00408248),
    ],
)
def test_vector_46_initial_rms(word: str, shape: tuple[int, ...], rms: float) -> None:
    model = Model({f"h.{block}.attn.c_proj.weight": shape for block in range(12)})
    reference = scheme(word).of("h.0.attn.c_proj.weight", "matrix", shape, model)
    assert reference is not None
    assert reference.rms == pytest.approx(rms, abs=1e-6)


def test_vector_48_adam_moves_lr_and_eps_with_the_weights() -> None:
    law = Reparameterization(1, {"eps": -1})
    assert law.apply({"lr": 1e-3, "eps": 1e-8}, 10.0) == pytest.approx({"lr": 1e-2, "eps": 1e-9})


def test_vector_50_adam_atan2() -> None:
    assert load("adam_atan2", beta2=0.999999).update_rms(NOISE) == pytest.approx(0.278848, abs=1e-5)


@pytest.mark.parametrize(("rows", "cols", "rms"), [(256, 256, 0.181), (64, 1024, 0.151)])
def test_vector_51_muon_with_matched_rms(rows: int, cols: int, rms: float) -> None:
    muon = load("muon", adjust_lr_fn="match_rms_adamw")
    assert muon.update_rms(NOISE, 5, Weights((rows, cols))) == pytest.approx(rms, rel=0.005)
