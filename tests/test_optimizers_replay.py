"""Every optimizer of the directory, replayed on seeded random gradients: as large as expected.

A replay's RMS over n independent updates u has the relative standard error
√((E[u⁴]/E[u²]² − 1)/4n): four of them are allowed, and what the optimizer's own docstring says of
its formula.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from replays import replay

from scalecheck import registry
from scalecheck.optimizers.contract import (
    Gradient,
    Hyperparameters,
    NoFormula,
    Weights,
)
from scalecheck.theory.schedule import Schedule

FloatArray = NDArray[np.float64]

STEPS = (1, 2, 5, 20, 100)
NOISE, HALF, CONSTANT = Gradient(), Gradient(rms=0.01, snr=0.5), Gradient(snr=1e6)
SHAPE = (100, 150)
SMALL_LR = 2.0**-20  # so small that weights, and what an update takes from them, stay
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "sgd": [
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.8, "dampening": 0.3},
    ],
    "adam": [{"beta2": 0.95}, {"beta1": 0.0}, {"eps": 1.0}],
    "adamw": [{"eps": 0.1}],
    "radam": [{"beta2": 0.99, "eps": 0.5}],
    "nadam": [{"beta2": 0.95, "eps": 0.1}],
    "rmsprop": [
        {"momentum": 0.9},
        {"eps": 0.5},
        {"centered": True},
        {"centered": True, "alpha": 0.9, "eps": 0.5},
        {"centered": True, "momentum": 0.9},
    ],
    "adagrad": [{"eps": 1.0}, {"lr_decay": 0.1}],
    "adafactor": [{"eps2": 3.0}],
    "adafactor_hf": [
        {"eps2": 3.0, "clip_threshold": 0.5},
        {"beta1": 0.9},
        {"scale_parameter": False, "eps1": 0.5},
    ],
    "muon": [{"adjust_lr_fn": "match_rms_adamw", "nesterov": False}],
    "rprop": [{"eta_minus": 0.7, "eta_plus": 1.1}],
    "signsgd": [{"momentum": 0.9}],
    "came": [{"beta3": 0.99, "clip_threshold": 0.5}],
    "lamb": [
        {"always_adapt": False, "grad_averaging": False},
        {"always_adapt": False, "bias_correction": False},
    ],
    "lars": [{"momentum": 0.0}],
    "adam_atan2": [{"beta2": 0.95}],
    "adamw_hf": [{"correct_bias": False}, {"eps": 0.5}],
    "ademamix": [{"beta3": 0.95, "alpha": 5.0}, {"alpha_warmup": 10.0, "eps": 0.5}],
    "prodigy": [{"bias_correction": True, "eps": 0.5, "d": 0.1}],
}
CASES = [
    (name, settings)
    for name in registry.names("optimizer")
    for settings in [{}, *VARIANTS.get(name, [])]
]


def load(name: str, **settings: Any) -> Hyperparameters:
    """One optimizer without the weight decay that its expected update leaves out."""
    optimizer: type[Hyperparameters] = registry.load("optimizer", name).Optimizer
    if "weight_decay" in optimizer.__dataclass_fields__:
        settings = {"weight_decay": 0.0, **settings}
    return optimizer(**settings)


def allowed(name: str, settings: dict[str, Any], gradient: Gradient, step: int) -> float:
    if name == "adam_atan2" and gradient is not CONSTANT and step > 1:
        return 0.09 if step < 5 else 0.04 if step < 10 else 0.015
    if name == "muon":
        return 0.02  # finite matrices stray from the Marchenko-Pastur law
    if name == "came":
        return 0.02
    if name in ("adafactor", "adafactor_hf"):
        return 0.01  # row and column means of a finite matrix
    if name == "lars":
        return 0.002  # ‖g‖ of a finite tensor
    if name == "rmsprop" and "momentum" in settings and gradient is HALF:
        return 0.025
    return 1e-5


def draws(
    gradient: Gradient, seed: int = 0, shape: tuple[int, ...] = SHAPE
) -> Iterator[FloatArray]:
    """Gaussian gradients of this rms and snr without end."""
    rng = np.random.default_rng(seed)
    std = gradient.rms / math.hypot(1.0, gradient.snr)
    while True:
        yield std * (gradient.snr + rng.standard_normal(shape))


def rms(updates: FloatArray) -> float:
    return float(np.sqrt(np.mean(updates**2)))


def standard_error(updates: FloatArray) -> float:
    """Of the rms of independent updates, relative."""
    square = updates.ravel() ** 2
    return float(square.std() / (2 * math.sqrt(square.size) * square.mean()))


def moves(
    optimizer: Hyperparameters, gradient: Gradient, steps: tuple[int, ...]
) -> dict[int, FloatArray]:
    """The updates at these steps: over rms(w), which is 1, where lr is relative."""
    torch.set_num_threads(1)
    weights = np.random.default_rng(1).choice([-1.0, 1.0], SHAPE)
    start = weights if optimizer.relative_lr else np.zeros(SHAPE)
    lr = SMALL_LR if optimizer.relative_lr else 1.0
    stream = zip(range(max(steps)), draws(gradient), strict=False)
    updates = replay(optimizer, start, (drawn for _, drawn in stream), lr)
    return {step: update for step, update in enumerate(updates, 1) if step in steps}


def expected_or_none(
    optimizer: Hyperparameters, gradient: Gradient, step: int | None
) -> float | None:
    """None where theory refuses; test_optimizers.py lists what may."""
    try:
        return optimizer.update_rms(gradient, step, Weights(SHAPE))
    except NoFormula:
        return None


@pytest.mark.parametrize("gradient", [NOISE, HALF, CONSTANT], ids=["noise", "half", "constant"])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_replay_is_as_large_as_expected(
    name: str, settings: dict[str, Any], gradient: Gradient
) -> None:
    optimizer = load(name, **settings)
    steps = STEPS[:4] if name == "rprop" else STEPS  # then its step sizes reach their bounds
    for step, update in moves(optimizer, gradient, steps).items():
        expected = expected_or_none(optimizer, gradient, step)
        if expected is not None:
            tolerance = 4 * standard_error(update) + allowed(name, settings, gradient, step)
            assert rms(update) == pytest.approx(expected, rel=tolerance), f"step {step}"


@pytest.mark.parametrize("name", registry.names("optimizer"))
def test_late_replay_is_as_large_as_expected(name: str) -> None:
    """At step 600; and in the limit, where 600 steps are late enough for the default averages."""
    optimizer = load(name)
    weights = np.random.default_rng(1).choice([-1.0, 1.0], (50, 60))
    if not optimizer.relative_lr:
        weights *= 0
    lr = SMALL_LR if optimizer.relative_lr else 1.0
    stream = draws(NOISE, shape=weights.shape)
    gradients = (next(stream) for _ in range(600))
    *_, update = replay(optimizer, weights, gradients, lr)
    for step in (600, None):
        if (name, step) in {
            ("rprop", 600),
            ("adagrad", None),
            ("nadam", None),
            ("radam", None),
        } or (name in {"prodigy", "dadapt_adam", "came"} and step is None):
            continue  # bounds reached; limits that come later
        try:
            expected = optimizer.update_rms(NOISE, step, Weights(weights.shape))
        except NoFormula:
            continue
        tolerance = 4 * standard_error(update) + allowed(name, {}, NOISE, 600)
        assert rms(update) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("gradient", [NOISE, HALF], ids=["noise", "half"])
@pytest.mark.parametrize("beta2_decay", [-0.8, -0.3])
def test_adafactors_vectors_move_as_expected(beta2_decay: float, gradient: Gradient) -> None:
    """Vectors keep their full v, whose first averages are short."""
    optimizer = load("adafactor", beta2_decay=beta2_decay)
    weights = np.ones(20_000)
    stream = draws(gradient, shape=weights.shape)
    gradients = (next(stream) for _ in range(50))
    for step, update in enumerate(replay(optimizer, weights, gradients, SMALL_LR), 1):
        expected = optimizer.update_rms(gradient, step, Weights(weights.shape))
        assert rms(update) == pytest.approx(expected, rel=4 * standard_error(update) + 1e-6)
        assert 0.88 < expected <= 1 + 1e-9


def test_adafactors_vectors_come_ever_closer_to_one() -> None:
    """Where v is too long to unroll, it is taken as known."""
    optimizer = load("adafactor")
    late = [optimizer.update_rms(NOISE, step) for step in (3, 10, 100, 1000, 2000, 2001, 10**7)]
    assert late == sorted(late)
    assert late[0] == pytest.approx(0.959, abs=5e-4)
    assert late[-3] == pytest.approx(1, abs=3e-3)
    assert late[-1] == 1 == optimizer.update_rms(NOISE)


@pytest.mark.parametrize("adjust_lr_fn", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("shape", [(256, 64), (64, 256), (16, 1024)], ids=str)
def test_muon_depends_on_the_shape_as_expected(shape: tuple[int, int], adjust_lr_fn: str) -> None:
    optimizer = load("muon", adjust_lr_fn=adjust_lr_fn)
    stream = draws(NOISE, shape=shape)
    *_, update = replay(optimizer, np.zeros(shape), (next(stream) for _ in range(5)))
    expected = optimizer.update_rms(NOISE, 5, Weights(shape))
    assert rms(update) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("grad_rms", [1e-1, 1e-3, 1e-4, 1e-6, 1e-7, 1e-8])
@pytest.mark.parametrize("d", [1.0, 1e9])
def test_adafactors_eps1_counts_as_expected(grad_rms: float, d: float) -> None:
    """Unclipped 3.43 at 1e-4, 8.4 at 1e-6, and 0.084 at 1e-8, clipped or not."""
    optimizer = load("adafactor", eps1=2.0**-23, d=d)
    gradient = Gradient(rms=grad_rms)
    weights = np.ones(SHAPE)
    update = next(replay(optimizer, weights, draws(gradient), SMALL_LR))
    expected = optimizer.update_rms(gradient, 1, Weights(SHAPE))
    assert rms(update) == pytest.approx(expected, rel=0.02)


def test_adafactor_caps_lr() -> None:
    """At lr 0.2 the cap, 1/√step, acts from step 26 on; every step is relative to its weights."""
    optimizer, lr = load("adafactor"), 0.2
    weights = np.ones(SHAPE)
    stream = draws(NOISE)
    for step, update in enumerate(
        replay(optimizer, weights, (next(stream) for _ in range(50)), lr), 1
    ):
        expected = optimizer.effective_lr(lr, step) * optimizer.update_rms(
            NOISE, step, Weights(SHAPE, rms(weights))
        )
        assert rms(lr * update) / rms(weights) == pytest.approx(expected, rel=0.02)
        assert expected == pytest.approx(min(0.2, step**-0.5))
        weights = weights - lr * update


def trained(
    optimizer: Hyperparameters, start: FloatArray, gradients: Iterator[FloatArray], lrs: FloatArray
) -> FloatArray:
    """The weights after a step at each lr, decay and all."""
    torch.set_num_threads(1)
    weights = torch.tensor(start, requires_grad=True)
    running = optimizer.torch_optimizer([weights], 1.0)
    for lr, gradient in zip(lrs, gradients, strict=False):
        running.param_groups[0]["lr"] = float(lr)
        weights.grad = torch.from_numpy(gradient)
        running.step()
    return weights.detach().numpy()


MANY = (5000,)
HELD: list[tuple[str, dict[str, Any], Gradient, float, int]] = [
    ("adamw", {"beta2": 0.99, "weight_decay": 0.5}, NOISE, 0.01, 1000),
    ("adamw", {"beta2": 0.99, "weight_decay": 0.5}, Gradient(snr=0.3), 0.01, 1400),
    ("adamw_hf", {"beta2": 0.99, "weight_decay": 0.5}, NOISE, 0.01, 1000),
    ("adam", {"beta2": 0.99, "weight_decay": 1.0}, NOISE, 3e-3, 1200),
    ("lion", {"weight_decay": 0.5}, NOISE, 0.01, 1200),
]


@pytest.mark.parametrize(("name", "settings", "gradient", "lr", "steps"), HELD, ids=str)
def test_weight_decay_holds_weights_at_their_equilibrium(
    name: str, settings: dict[str, Any], gradient: Gradient, lr: float, steps: int
) -> None:
    """Weights that start there stay there, long after they have forgotten their start."""
    optimizer = load(name, **settings)
    expected = optimizer.equilibrium_rms(lr, gradient)
    start = expected * np.random.default_rng(2).standard_normal(MANY)
    held = trained(optimizer, start, draws(gradient, shape=MANY), np.full(steps, lr))
    assert rms(held) == pytest.approx(expected, rel=0.03)


def test_lion_has_no_inertia_without_momentum() -> None:
    """It settles as AdamW does, whose updates of noise are as independent then."""
    lion = load("lion", beta1=0.0, beta2=0.0, weight_decay=0.5)
    adamw = load("adamw", beta1=0.0, weight_decay=0.5)
    assert lion.displacement(Schedule("constant", 100), NOISE) == pytest.approx(10.0)
    expected = adamw.equilibrium_rms(1e-4, NOISE)
    assert lion.equilibrium_rms(1e-4, NOISE) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_decay_of_a_whole_weight_a_step_has_no_equilibrium(name: str) -> None:
    with pytest.raises(NoFormula, match=r"lr·weight_decay 1\.0 is not below 1"):
        load(name, weight_decay=0.5).equilibrium_rms(2.0, NOISE)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.99), (0.9, 0.95), (0.0, 0.95)])
def test_one_gradient_after_silence_moves_far(beta1: float, beta2: float) -> None:
    """After 2000 steps, where v̂ is no longer bias-corrected."""
    optimizer = load("adam", beta1=beta1, beta2=beta2, eps=1e-200)
    gradients = iter([*np.zeros((2000, 1)), np.ones(1), *np.zeros((400, 1))])
    [moved] = trained(optimizer, np.zeros(1), gradients, np.ones(2401))
    assert -moved == pytest.approx(optimizer.isolated_gradient_displacement(), rel=1e-6)


def test_one_gradient_moves_without_end_where_momentum_outlives_its_square() -> None:
    with pytest.raises(NoFormula, match="displacement is infinite"):
        load("adam", beta2=0.81).isolated_gradient_displacement()
