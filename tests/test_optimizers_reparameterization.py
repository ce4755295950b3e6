"""Every optimizer of the directory on twin networks: one whose weights are k times larger and are
divided by k in the forward pass computes the same function, step by step, at lr' = k^p·lr."""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
import torch

from scalecheck import registry
from scalecheck.optimizers.contract import Gradient, Hyperparameters, NoFormula, Weights

STEPS = 60
# Large enough to train by, small enough not to diverge in 60 steps.
LR = {
    "sgd": 0.1,
    "sgdw": 0.1,
    "adadelta": 1.0,
    "adafactor": 0.05,
    "adafactor_hf": 0.05,
    "lamb": 0.05,
    "lars": 10.0,
    "lion": 0.003,
    "dadapt_adam": 1.0,
    "dadapt_adan": 1.0,
    "dadapt_sgd": 1.0,
    "prodigy": 1.0,
    "signsgd": 0.003,
    "muon": 0.02,
    "rprop": 0.003,
}
# Settings at which each co-scaled hyperparameter takes part in the training.
TAKING_PART: dict[str, dict[str, float]] = {
    "adafactor": {"eps2": 0.3},
    "came": {"eps1": 1e-2, "weight_decay": 0.02},
    "adafactor_hf": {"eps1": 1e-2, "eps2": 0.3, "weight_decay": 0.02},
    "prodigy": {"d": 0.03, "eps": 1e-3, "weight_decay": 0.02},
    "dadapt_adam": {"d": 0.03, "eps": 1e-3, "weight_decay": 0.02},
    "dadapt_adan": {"d": 0.03, "eps": 1e-3, "weight_decay": 0.02},
    "dadapt_sgd": {"d": 0.5, "weight_decay": 0.02},
    "muon": {"eps": 0.3, "weight_decay": 0.1},
    "lamb": {"eps": 1e-2, "weight_decay": 0.1},
    "rprop": {"step_size_min": 1e-3, "step_size_max": 4e-3},
    "adagrad": {"eps": 1e-2, "weight_decay": 0.02, "initial_accumulator_value": 0.1},
    "radam": {"weight_decay": 0.02},
}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "sgd": [{"momentum": 0.9, "dampening": 0.3}, {"momentum": 0.9, "nesterov": True}],
    "adam": [{"amsgrad": True}],
    "adamw": [{"amsgrad": True}],
    "nadam": [{"decoupled_weight_decay": True}],
    "radam": [{"beta2": 0.6}, {"beta2": 0.6, "decoupled_weight_decay": True}],
    "rmsprop": [{"centered": True}, {"momentum": 0.9}],
    "adamw_hf": [{"correct_bias": False}],
    "adafactor_hf": [
        {"beta1": 0.9, "clip_threshold": 0.5},
        {"scale_parameter": False, "eps2": 1e-3},
    ],
    "lamb": [
        {"bias_correction": False, "decoupled_weight_decay": True},
        {"always_adapt": False, "weight_decay": 0.0, "grad_averaging": False},
    ],
    "adan": [{"no_prox": True}],
    "adopt": [{"decoupled_weight_decay": True}],
    "dadapt_adam": [{"bias_correction": True}, {"decoupled_weight_decay": True}],
    "dadapt_adan": [{"no_prox": True}],
    "novograd": [{"decoupled_weight_decay": True, "grad_averaging": True}],
    "sgdw": [{"momentum": 0.9, "nesterov": True}],
    "dadapt_sgd": [{"decoupled_weight_decay": True}],
    "ademamix": [
        {"decoupled_weight_decay": False},
        {"alpha_warmup": 40.0, "beta3_warmup": 40.0},
    ],
    "prodigy": [{"bias_correction": True}],
    "lion": [{"decoupled_weight_decay": False}],
    "signsgd": [{"momentum": 0.9}, {"decoupled_weight_decay": False}],
}


def load(name: str, **settings: Any) -> Hyperparameters:
    optimizer: type[Hyperparameters] = registry.load("optimizer", name).Optimizer
    usual = {"eps": 1e-3, "weight_decay": 0.02}
    for setting, number in TAKING_PART.get(name, usual).items():
        if setting in optimizer.__dataclass_fields__:
            settings = {setting: number, **settings}
    return optimizer(**settings)


def is_lawful(law: Callable[..., object], *arguments: object) -> bool:
    try:
        law(*arguments)
    except NoFormula:
        return False
    return True


CASES = [
    (name, settings)
    for name in registry.names("optimizer")
    for settings in [{}, *VARIANTS.get(name, [])]
    if is_lawful(load(name, **settings).reparameterization)
]
# Muon's matrix products are in bfloat16, of 8 bits; everything else is float64.
PRECISION = {"muon": 2e-2}


@lru_cache(maxsize=64)
def trained(optimizer: Hyperparameters, lrs: tuple[float, ...], k: float) -> torch.Tensor:
    """Outputs after every step of a 12-16-6 tanh network on minibatches, with weights k times
    larger; lrs holds one lr a step. Muon, which takes matrices only, leaves the biases."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    first, second = normal(16, 12) / 12**0.5, normal(6, 16) / 4
    biases = [0.3 * normal(16), 0.3 * normal(6)]
    tests, inputs, targets = normal(20, 12), normal(STEPS, 8, 12), normal(STEPS, 8, 6)
    weights = [(k * w).requires_grad_() for w in (first, second, *biases)]
    matrices_only = type(optimizer).__module__.endswith("muon")
    running = optimizer.torch_optimizer(weights[:2] if matrices_only else weights, lrs[0])

    def forward(x: torch.Tensor) -> torch.Tensor:
        w1, w2, b1, b2 = (w / k for w in weights)
        return torch.tanh(x @ w1.T + b1) @ w2.T + b2

    outputs = []
    for step, lr in enumerate(lrs):
        running.param_groups[0]["lr"] = lr
        running.zero_grad()
        torch.autograd.backward((forward(inputs[step]) - targets[step]).square().mean())
        running.step()
        outputs.append(forward(tests).detach())
    return torch.stack(outputs)


def deviation(
    name: str,
    optimizer: Hyperparameters,
    moved: Hyperparameters,
    k: float,
    exponent: Callable[[int], int],
) -> float:
    """max|f' − f|/max|f| over all steps; exponent: of lr's factor k^p at each step from 1."""
    lr = LR.get(name, 0.01)
    steps = range(1, STEPS + 1)
    base = trained(optimizer, (lr,) * STEPS, 1.0)
    twin = trained(moved, tuple(k ** exponent(step) * lr for step in steps), k)
    return float((twin - base).abs().max() / base.abs().max())


@pytest.mark.parametrize("k", [0.1, 10.0])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_rescaled_weights_train_alike(name: str, settings: dict[str, Any], k: float) -> None:
    optimizer = load(name, **settings)
    p = optimizer.reparameterization().lr_exponent
    moved = optimizer.rescaled(k)
    assert deviation(name, optimizer, moved, k, lambda step: p) < PRECISION.get(name, 1e-9)


@pytest.mark.parametrize("off", [-1, 1])
@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_no_other_exponent_trains_alike(name: str, settings: dict[str, Any], off: int) -> None:
    optimizer = load(name, **settings)
    p = optimizer.reparameterization().lr_exponent + off
    wrong = deviation(name, optimizer, optimizer.rescaled(10.0), 10.0, lambda step: p)
    assert not wrong <= max(1e-2, 2 * PRECISION.get(name, 0.0))


@pytest.mark.parametrize(
    ("name", "settings", "left"),
    [
        (name, settings, left)
        for name, settings in CASES
        for left in load(name, **settings).reparameterization().exponents
    ],
    ids=str,
)
def test_every_co_scaling_is_needed(name: str, settings: dict[str, Any], left: str) -> None:
    optimizer = load(name, **settings)
    p = optimizer.reparameterization().lr_exponent
    moved = dataclasses.replace(optimizer.rescaled(10.0), **{left: getattr(optimizer, left)})
    assert deviation(name, optimizer, moved, 10.0, lambda step: p) > 1e-3


def test_muon_is_exact_for_a_power_of_two() -> None:
    optimizer = load("muon", eps=1e-7)
    assert deviation("muon", optimizer, optimizer.rescaled(8.0), 8.0, lambda step: 1) == 0


@pytest.mark.parametrize("p", [0, 1, 2])
@pytest.mark.parametrize("k", [0.1, 10.0])
@pytest.mark.parametrize("name", ["radam", "adadelta"])
def test_the_unlawful_break_at_every_exponent(name: str, k: float, p: int) -> None:
    """At their defaults, with an eps that follows as Adam's would: RAdam at p = 1 by 0.03 at k = 10
    and 0.28 at k = 0.1, Adadelta by 0.15 and 0.03."""
    optimizer = registry.load("optimizer", name).Optimizer()
    moved = dataclasses.replace(optimizer, eps=optimizer.eps / k)
    assert deviation(name, optimizer, moved, k, lambda step: p) > 1e-2


@pytest.mark.parametrize("k", [0.1, 10.0])
def test_radam_is_lawful_in_two_parts(k: float) -> None:
    """As its refusal says: k²·lr for the first 5 steps, k·lr after them."""
    optimizer = registry.load("optimizer", "radam").Optimizer()
    moved = dataclasses.replace(optimizer, eps=optimizer.eps / k)
    assert deviation("radam", optimizer, moved, k, lambda step: 2 if step <= 5 else 1) < 1e-9
    with pytest.raises(NoFormula, match="first 5 steps"):
        optimizer.reparameterization()


GRADIENT, WEIGHTS = Gradient(rms=0.3), Weights((30, 20), 0.1)


@pytest.mark.parametrize("k", [0.1, 10.0])
@pytest.mark.parametrize(
    ("name", "settings", "step"),
    [
        (name, settings, step)
        for name, settings in CASES
        for step in (1, 7)
        if is_lawful(load(name, **settings).update_rms, GRADIENT, step, WEIGHTS)
    ],
    ids=str,
)
def test_expected_updates_follow_the_law(
    name: str, settings: dict[str, Any], step: int, k: float
) -> None:
    """k^p·u of the rescaled optimizer on gradients k times smaller is k·u; u, where relative."""
    optimizer = load(name, **settings)
    expected = optimizer.update_rms(GRADIENT, step, WEIGHTS)
    moved = optimizer.rescaled(k).update_rms(
        dataclasses.replace(GRADIENT, rms=GRADIENT.rms / k),
        step,
        dataclasses.replace(WEIGHTS, rms=WEIGHTS.rms * k),
    )
    p = optimizer.reparameterization().lr_exponent
    grown = 1 if optimizer.relative_lr else k
    assert k**p * moved == pytest.approx(grown * expected, rel=1e-9)
