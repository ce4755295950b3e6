"""The last update of every optimizer's own state is the one that the step before applied, or is
said not to be told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from states import open_state

from scalecheck import registry
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.optimizers.contract import Hyperparameters
from scalecheck.updates.state_statistics import StateStatistics, figures

NAMES = registry.names("optimizer")
SHAPE = (24, 40)
LR = 1e-3
TOLERANCE = {"dadapt_adagrad": 1e-7, "dadapt_sgd": 1e-7}
"""Where the update is a small difference of weights."""
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "adabelief": [{"amsgrad": True}],
    "adapnm": [{"amsgrad": True}],
    "padam": [{"partial": 0.5}],
    "novograd": [{"grad_averaging": True}],
    "adamw_hf": [{"correct_bias": False}],
    "dadapt_adam": [{"bias_correction": True}],
    "ademamix": [{"alpha_warmup": 20.0, "beta3_warmup": 20.0}],
}
"""Settings beside the defaults that change the update."""
SILENT = {
    *("adadelta", "adafactor", "adagrad", "adam_atan2", "lars", "muon", "nadam", "rmsprop"),
    "stable_adamw",
}
"""Those whose state does not tell it at the defaults."""
MOMENTUM = {"sgd", "sgdw", "signsgd"}
"""Those that keep nothing at their default momentum 0."""


def built(name: str, settings: dict[str, Any]) -> Hyperparameters:
    """Without weight decay, which is beside some updates and in others."""
    optimizer: type[Hyperparameters] = registry.load("optimizer", name).Optimizer
    usual = {"weight_decay": 0.0, "eps": 1e-4} | ({"momentum": 0.9} if name in MOMENTUM else {})
    usual |= {"d": 0.1} if "dadapt" in name else {}
    usual |= {"d0": 1e-6, "d_max": 1e-6} if name == "prodigy" else {}  # whose d did not grow
    has = optimizer.__dataclass_fields__
    return optimizer(**{word: number for word, number in usual.items() if word in has} | settings)


CASES = [
    (name, built(name, settings))
    for name in NAMES
    for settings in ({}, *VARIANTS.get(name, ()))
    if not built(name, settings).relative_lr
]
"""Whose lr is relative to the weights have tests of their own."""


@pytest.mark.parametrize("steps", [1, 2, 30])
@pytest.mark.parametrize(("name", "optimizer"), CASES, ids=str)
def test_it_is_the_one_applied_or_is_refused(name, optimizer, steps, tmp_path):
    told, applied = after(steps, optimizer, tmp_path)
    if name in SILENT:
        assert told.update_rms is None
        assert told.reason
    else:
        rel = TOLERANCE.get(name, 1e-9)
        assert told.update_rms == pytest.approx(applied, rel=rel, abs=1e-12)
        assert told.reason == ""


def after(steps: int, optimizer: Hyperparameters, folder: Path) -> tuple[StateStatistics, float]:
    """What the state after these steps tells, and RMS of the last −Δw/lr."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(3)
    weights = torch.from_numpy(rng.standard_normal(SHAPE)).requires_grad_()
    running = optimizer.torch_optimizer([weights], LR)
    for _ in range(steps):
        before = weights.detach().clone()
        gradient = 0.1 * (rng.standard_normal(SHAPE) + 0.2)
        gradient[0] = 0.0
        weights.grad = torch.from_numpy(gradient)
        running.step()
    moved = (before - weights.detach()) / LR
    torch.save({"model": {"w": weights}, "optimizer": running.state_dict()}, folder / "run.pt")
    [last] = open_checkpoint(folder / "run.pt").tensors
    [one] = open_state(folder / "run.pt").states
    return figures(one, optimizer, LR, last), float(moved.square().mean().sqrt())


@pytest.mark.parametrize("amsgrad", [False, True])
def test_adabeliefs_rectified_update_is_told_once_it_is_rectified(amsgrad, tmp_path):
    optimizer = built("adabelief", {"rectify": True, "amsgrad": amsgrad})
    told, _ = after(5, optimizer, tmp_path)
    assert told.update_rms is None
    assert told.reason == "how it moves before v can be rectified is not in its state"
    told, applied = after(6, optimizer, tmp_path)
    assert told.update_rms == pytest.approx(applied, rel=1e-9)


def test_adabeliefs_buffer_tells_how_it_moves_before_it_is_rectified(tmp_path):
    """Rows of the step, of how many steps v averages over, and of the step size."""
    rows = [[None, None, None] for _ in range(10)]
    rows[3] = [3, 2.9, 1 / (1 - 0.9**3)]
    optimizer = built("adabelief", {"rectify": True})
    buffer = tuple(number for row in rows for number in row)
    told, applied = after(3, replace(optimizer, buffer=buffer), tmp_path)
    assert told.update_rms == pytest.approx(applied, rel=1e-9)
    rows[3][2] = -1
    buffer = tuple(number for row in rows for number in row)
    told, _ = after(3, replace(optimizer, buffer=buffer), tmp_path)
    assert told.update_rms == 0
