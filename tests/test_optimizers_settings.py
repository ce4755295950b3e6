"""Hyperparameters and gradients outside their domains are refused with the number."""

import dataclasses
import math
from typing import Any

import pytest

from scalecheck import registry
from scalecheck.optimizers.contract import Gradient, Hyperparameters

NAMES = registry.names("optimizer")


def load(name: str, **settings: Any) -> Hyperparameters:
    optimizer: type[Hyperparameters] = registry.load("optimizer", name).Optimizer
    return optimizer(**settings)


BAD: dict[str, list[float]] = {
    "beta": [-0.1, 1.0, math.nan],
    "momentum": [-0.1, 1.0],
    "alpha": [-0.1, math.nan],
    "alpha_warmup": [0.0, math.nan],
    "beta3_warmup": [0.0, math.nan],
    "rho": [1.0],
    "eps": [-1e-9, math.inf, math.nan],
    "weight_decay": [-0.1, math.nan],
    "lr_decay": [-1.0],
    "initial": [-1.0],
    "eta": [0.0, math.nan],
    "step_size": [0.0],
    "trust": [0.0],
    "dampening": [math.inf],
    "d": [-0.5, math.nan],
    "partial": [0.0, math.nan],
    "p": [0.0, math.nan],
    "g0_norm": [0.0, math.nan],
    "d_hat": [math.inf],
    "growth_rate": [0.0, math.nan],
    "decay_rate": [math.inf],
    "clip": [0.0, math.nan],
}


@pytest.mark.parametrize(
    ("name", "setting", "number"),
    [
        (name, field.name, number)
        for name in NAMES
        for field in dataclasses.fields(load(name))
        if "float" in str(field.type) and not str(field.type).startswith("tuple")
        for number in BAD[max((word for word in BAD if field.name.startswith(word)), key=len)]
        if field.name not in {"momentum_decay", "beta2_decay"}
        and (name, field.name) != ("adapnm", "beta3")  # 1 by default
    ],
)
def test_a_setting_outside_its_domain_is_refused(name: str, setting: str, number: float) -> None:
    with pytest.raises(ValueError, match=rf"{setting} {number}"):
        load(name, **{setting: number})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("adafactor", {"d": 0.5}),
        ("sgd", {"nesterov": True}),
        ("sgd", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
        ("rprop", {"eta_minus": 1.0}),
        ("rprop", {"eta_plus": 1.0}),
        ("muon", {"ns_steps": 0}),
        ("muon", {"ns_steps": 100}),
        ("muon", {"adjust_lr_fn": "rms"}),
        ("nadam", {"momentum_decay": -1.0}),
        ("adafactor", {"beta2_decay": 0.1}),
        ("adafactor", {"eps1": 0.0}),
        ("adafactor_hf", {"decay_rate": 0.1}),
    ],
)
def test_settings_that_torch_refuses_are_refused(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(settings)))):
        load(name, **settings)


@pytest.mark.parametrize("bad", [{"rms": 0.0}, {"rms": -1.0}, {"rms": math.nan}, {"snr": math.inf}])
def test_an_impossible_gradient_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(bad))} "):
        Gradient(**bad)


@pytest.mark.parametrize("name", NAMES)
def test_hyperparameters_are_frozen_and_hashable(name: str) -> None:
    optimizer = load(name)
    assert hash(optimizer) == hash(load(name))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(optimizer, dataclasses.fields(optimizer)[0].name, 0.5)
