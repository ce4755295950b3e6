"""The last update of states that need the whole tensor, its weights or its averages over rows and
columns: against replays in float64 numpy, written here from each program's own text."""

import math

import numpy as np
import pytest
import torch

import scalecheck as api

SHAPE = (24, 40)


def gradients(steps=9, shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    scales = np.exp(0.5 * rng.standard_normal(shape))
    return [0.1 * scales * (0.3 + rng.standard_normal(shape)) for _ in range(steps)]


def start(shape=SHAPE):
    return 0.05 * np.random.default_rng(1).standard_normal(shape)


def read(folder, weights, group, entries):
    """The row of one tensor saved with a state."""
    tensors = {
        name: torch.tensor(kept) if isinstance(kept, np.ndarray) else kept
        for name, kept in entries.items()
    }
    optimizer = {"state": {0: tensors}, "param_groups": [{**group, "params": [0]}]}
    run = {"model": {"layers.0.w": torch.tensor(weights)}, "optimizer": optimizer}
    torch.save(run, folder / "run.pt")
    report = api.translate(folder / "run.pt")
    [row] = report.rows
    return {**row, "notes": report.notes}


def rms(x):
    return math.sqrt(np.mean(np.square(x)))


ADAFACTOR = {
    "lr": 1e-3,
    "eps": (1e-30, 1e-3),
    "clip_threshold": 1.0,
    "decay_rate": -0.8,
    "beta1": None,
    "weight_decay": 0.0,
    "scale_parameter": True,
    "relative_step": False,
    "warmup_init": False,
}


def adafactor(w, group):
    """transformers' Adafactor.step; the weights, what the last step took from them, the state."""
    kept = {"exp_avg_sq_row": 0.0, "exp_avg_sq_col": 0.0} if w.ndim > 1 else {"exp_avg_sq": 0.0}
    momentum, beta1 = 0.0, group["beta1"]
    for t, g in enumerate(gradients(shape=w.shape), 1):
        lr = group["lr"]
        if group["relative_step"]:
            lr = min(1e-6 * t if group["warmup_init"] else 1e-2, t**-0.5)
        eta = lr * max(group["eps"][1], rms(w)) if group["scale_parameter"] else lr
        beta2 = 1 - t ** group["decay_rate"]
        square, scale = g**2 + group["eps"][0], rms(w)
        if w.ndim > 1:
            for name, axis in (("exp_avg_sq_row", -1), ("exp_avg_sq_col", -2)):
                kept[name] = beta2 * kept[name] + (1 - beta2) * square.mean(axis)
            row, column = kept["exp_avg_sq_row"], kept["exp_avg_sq_col"]
            v = row[..., None] * column[..., None, :] / row.mean(-1)[..., None, None]
        else:
            kept["exp_avg_sq"] = beta2 * kept["exp_avg_sq"] + (1 - beta2) * square
            v = kept["exp_avg_sq"]
        update = g / np.sqrt(v)
        update *= eta / max(1.0, rms(update) / group["clip_threshold"])
        if beta1 is not None:
            update = momentum = beta1 * momentum + (1 - beta1) * update
        w = w * (1 - eta * group["weight_decay"]) - update
    kept |= {"step": t, "RMS": scale} | ({} if beta1 is None else {"exp_avg": momentum})
    return w, update, kept


@pytest.mark.parametrize("shape", [SHAPE, (40,), (3, 8, 5)], ids=str)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"clip_threshold": 0.5, "weight_decay": 0.1},
        {"scale_parameter": False, "weight_decay": 0.1},
        {"lr": None, "relative_step": True},
        {"lr": None, "relative_step": True, "warmup_init": True},
        {"lr": None, "relative_step": True, "scale_parameter": False},
    ],
    ids=str,
)
def test_adafactors_averaged_update_is_the_one_applied(settings, shape, tmp_path):
    group = ADAFACTOR | {"beta1": 0.9} | settings
    after, moved, state = adafactor(start(shape), group)
    row = read(tmp_path, after, group, state)
    assert row["optimizer"] == "adafactor_hf"
    assert row["measured"]
    assert row["relative_update"] == pytest.approx(rms(moved) / rms(after), rel=1e-9)
    assert row["absolute_update"] == pytest.approx(rms(moved), rel=1e-9)


@pytest.mark.parametrize(
    ("settings", "relative"),
    [
        ({}, 1e-3),
        ({"clip_threshold": 0.5}, 5e-4),
        ({"scale_parameter": False}, 1e-3 / 0.05),
        ({"lr": None, "relative_step": True}, 1e-2),
        ({"lr": None, "relative_step": True, "warmup_init": True}, 9e-6),
    ],
    ids=str,
)
def test_adafactors_update_without_beta1_is_expected_and_why(settings, relative, tmp_path):
    group = ADAFACTOR | settings
    after, moved, state = adafactor(start(), group)
    row = read(tmp_path, after, group, state)
    why = "Adafactor's last update is of a gradient that its state does not hold"
    assert (row["measured"], row["state_reason"]) == (False, why)
    assert row["relative_update"] == pytest.approx(relative, rel=0.05)
    assert row["relative_update"] == pytest.approx(rms(moved) / rms(after), rel=0.15)
    assert row["grad_rms"] == pytest.approx(rms(np.stack(gradients()[-5:])), rel=0.1)
    assert f"expected, not measured, for 1 of 1 tensors: {why}" in row["notes"]


def test_adafactors_vector_has_its_gradients_beside_it(tmp_path):
    after, _, state = adafactor(start((40,)), ADAFACTOR)
    row = read(tmp_path, after, ADAFACTOR, state)
    assert row["measured"] is False
    assert row["grad_rms"] == pytest.approx(rms(np.sqrt(state["exp_avg_sq"])), rel=1e-9)


def test_adafactor_that_scales_by_weights_of_zero_tells_no_update(tmp_path):
    group = ADAFACTOR | {"beta1": 0.9}
    _, _, state = adafactor(start(), group)
    row = read(tmp_path, np.zeros(SHAPE), group, state)
    assert (row["measured"], row["update_rms"]) == (False, None)
