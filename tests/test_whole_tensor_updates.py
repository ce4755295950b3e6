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
    assert f"The updates of 1 of 1 tensors are expected, not measured: {why}." in row["notes"]


def test_adafactors_vector_has_its_gradients_beside_it(tmp_path):
    after, _, state = adafactor(start((40,)), ADAFACTOR)
    row = read(tmp_path, after, ADAFACTOR, state)
    assert row["measured"] is False
    assert row["grad_rms"] == pytest.approx(rms(np.sqrt(state["exp_avg_sq"])), rel=1e-9)


def test_adafactor_that_scales_by_weights_of_zero_tells_no_update(tmp_path):
    group = ADAFACTOR | {"beta1": 0.9}
    _, _, state = adafactor(start(), group)
    row = read(tmp_path, np.zeros(SHAPE), group, state)
    assert row["measured"] is False
    assert row["relative_update"] is None


FUSED = {
    "lr": 0.02,
    "bias_correction": True,
    "betas": (0.9, 0.99),
    "eps": 1e-6,
    "weight_decay": 0.01,
    "grad_averaging": True,
    "max_grad_norm": 1.0,
}
TIMM = FUSED | {"trust_clip": False, "always_adapt": False, "caution": False}
NOT_SAID = "its state does not say whether it scales this update to the weights, taken as so"


def lamb(w, group):
    """apex's and timm's LAMB; the weights, what the last step took from them, the state."""
    (b1, b2), lr, decay, m, v = group["betas"], group["lr"], group["weight_decay"], 0.0, 0.0
    is_decoupled = group.get("decoupled_decay", False)
    for t, g in enumerate(gradients(shape=w.shape), 1):
        m = b1 * m + ((1 - b1) if group["grad_averaging"] else 1.0) * g
        v = b2 * v + (1 - b2) * g**2
        c1, c2 = (1 - b1**t, 1 - b2**t) if group["bias_correction"] else (1.0, 1.0)
        update = m / c1 / (np.sqrt(v / c2) + group["eps"])
        if is_decoupled:
            w = w * (1 - lr * decay)
        else:
            update = update + decay * w
        if decay or group.get("always_adapt", True):
            length = np.linalg.norm(w)
            update = update * (length / np.linalg.norm(update) if length else 1.0)
        w, moved = w - lr * update, lr * update
    return w, moved, {"exp_avg": m, "exp_avg_sq": v}


@pytest.mark.parametrize("shape", [SHAPE, (1,)], ids=str)
@pytest.mark.parametrize(
    "group",
    [
        FUSED,
        FUSED | {"weight_decay": 3.0, "lr": 0.1},
        FUSED | {"bias_correction": False, "grad_averaging": False, "weight_decay": 0.5},
        TIMM,
        TIMM | {"weight_decay": 0.0},
        TIMM | {"weight_decay": 0.0, "always_adapt": True},
        TIMM | {"decoupled_decay": True, "weight_decay": 2.0},
    ],
    ids=str,
)
def test_lambs_last_update_is_the_one_applied(group, shape, tmp_path):
    after, moved, state = lamb(start(shape) + 1.0, group)
    row = read(tmp_path, after, group | {"step": 9}, state)
    assert row["optimizer"] == "lamb"
    assert row["measured"]
    assert row["relative_update"] == pytest.approx(rms(moved) / rms(after), rel=1e-9)


def test_lambs_first_step_of_a_zero_bias_is_not_stretched(tmp_path):
    m = np.linspace(-1.0, 1.0, 40)
    state = {"exp_avg": 0.1 * m, "exp_avg_sq": 0.01 * m**2}
    after = -0.02 * m / (np.abs(m) + 1e-6)
    row = read(tmp_path, after, FUSED | {"step": 1}, state)
    assert row["relative_update"] == pytest.approx(1.0)


def test_apexs_lamb_without_decay_is_expected_and_why(tmp_path):
    """Whether use_nvlamb was on is not saved: lr is taken as relative."""
    group = FUSED | {"weight_decay": 0.0}
    after, _, state = lamb(start(), group)
    row = read(tmp_path, after, group | {"step": 9}, state)
    assert (row["measured"], row["state_reason"]) == (False, NOT_SAID)
    assert row["relative_update"] == pytest.approx(0.02)
    assert row["grad_rms"]


def test_a_direction_as_short_as_its_update_tells_nothing(tmp_path):
    """Decay and update cancel, so that no weights before the step are certain."""
    w = start()
    state = {"exp_avg": -w, "exp_avg_sq": np.ones(SHAPE)}
    group = FUSED | {"bias_correction": False, "weight_decay": 1.0, "eps": 0.0}
    row = read(tmp_path, w, group | {"step": 9}, state)
    assert row["measured"] is False
    assert "as short" in row["state_reason"]


PYTORCH_LAMB = {
    "lr": 0.02,
    "betas": (0.9, 0.99),
    "eps": 1e-6,
    "weight_decay": 0.1,
    "step": 9,
    "weight_decouple": True,
    "fixed_decay": False,
    "rectify": False,
    "adam": False,
    "grad_averaging": True,
    "max_grad_norm": 1.0,
    "foreach": None,
}


def norms(state, w):
    """What pytorch_optimizer and torch_optimizer save of the last step, ‖w‖ capped at 10."""
    length = float(np.linalg.norm(state["exp_avg"] / (np.sqrt(state["exp_avg_sq"]) + 1e-6)))
    capped = min(float(np.linalg.norm(w)), 10.0)
    return {"weight_norm": capped, "adam_norm": length, "trust_ratio": capped / (length + 1e-6)}


def test_pytorch_optimizers_lamb_says_how_far_it_stretched(tmp_path):
    w = 100 * start()
    _, _, state = lamb(w, FUSED)
    state |= norms(state, w)
    direction = state["exp_avg"] / (np.sqrt(state["exp_avg_sq"]) + 1e-6)
    moved = 0.02 / (1 - 0.9**9) * state["trust_ratio"] * direction
    after = (1 - 0.02 * 0.1) * w - moved
    row = read(tmp_path, after, PYTORCH_LAMB, state)
    assert (row["optimizer"], row["measured"]) == ("lamb", True)
    assert row["relative_update"] == pytest.approx(rms(moved) / rms(after), rel=1e-9)
    assert row["decay_pull"] == pytest.approx(0.02 * 0.1)


def test_torch_optimizers_lamb_does_not_say_whether_it_stretched(tmp_path):
    after, _, state = lamb(start(), FUSED)
    group = {"lr": 0.02, "betas": (0.9, 0.99), "eps": 1e-6, "weight_decay": 0.01}
    row = read(tmp_path, after, group, state | norms(state, after) | {"step": 9})
    assert (row["optimizer"], row["state_reason"]) == ("lamb", NOT_SAID)


@pytest.mark.parametrize(
    "group",
    [
        FUSED | {"max_coeff": 10.0},
        TIMM | {"trust_clip": True},
        TIMM | {"caution": True},
        PYTORCH_LAMB | {"rectify": True},
        PYTORCH_LAMB | {"adam": True},
        PYTORCH_LAMB | {"adanorm": True},
    ],
    ids=str,
)
def test_another_lamb_is_not_known(group, tmp_path):
    after, _, state = lamb(start(), FUSED)
    kept = state | (norms(state, after) if "adam" in group else {})
    row = read(tmp_path, after, {"step": 9} | group, kept)
    assert row["optimizer"] == "not known"
    assert row["relative_update"] is None


def muon(folder, shape, settings, low_rank=False):
    """The row of torch's Muon after some steps, what the last one took, and the weights then."""
    weights = torch.tensor(start(shape), dtype=torch.float32, requires_grad=True)
    running = torch.optim.Muon([weights], lr=0.02, **settings)
    column = np.random.default_rng(2).standard_normal((shape[0], 1))
    for g in gradients(4, shape):
        weights.grad = torch.tensor(column * g[:1] if low_rank else g, dtype=torch.float32)
        before = weights.detach().clone()
        running.step()
    decay = 0.02 * running.param_groups[0]["weight_decay"]
    moved = (before.double() * (1 - decay) - weights.detach().double()).numpy()
    run = {"model": {"layers.0.w": weights.detach()}, "optimizer": running.state_dict()}
    torch.save(run, folder / "run.pt")
    [row] = api.translate(folder / "run.pt").rows
    return row, moved, weights.detach().numpy()


@pytest.mark.parametrize("low_rank", [False, True])
@pytest.mark.parametrize("shape", [(64, 96), (96, 64), (8, 8)], ids=str)
@pytest.mark.parametrize(
    "settings", [{}, {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 3, "momentum": 0.5}], ids=str
)
def test_muons_momentum_is_orthogonalized_as_torch_does(settings, shape, low_rank, tmp_path):
    """Where nesterov looks ahead of it the gradient is needed, which is not kept."""
    row, moved, after = muon(tmp_path, shape, {"nesterov": False, **settings}, low_rank)
    assert (row["optimizer"], row["measured"]) == ("muon", True)
    assert row["relative_update"] == pytest.approx(rms(moved) / rms(after), rel=1e-3)
    row, _, _ = muon(tmp_path, shape, settings, low_rank)
    assert (row["optimizer"], row["measured"]) == ("muon", False)
    unsaid = row["state_reason"] or row["reason"]
    assert unsaid in (
        "nesterov's last update holds a gradient that its state does not",
        "8×8: the law of singular values is that of larger matrices",
    )


def test_muons_update_is_three_percent_off_its_law_at_most(tmp_path):
    """0.0566 for 256×256: its iteration leaves singular values at 0.9 of 1, on average, where exact
    ones would give 1/16."""
    row, moved, _ = muon(tmp_path, (256, 256), {"weight_decay": 0.0})
    assert rms(moved) / 0.02 == pytest.approx(0.0566, rel=0.03)
    assert row["update_rms_expected"] == pytest.approx(rms(moved) / 0.02, rel=0.03)
    assert 1.08 * row["update_rms_expected"] < 1 / 16


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ({"momentum": 0.95, "weight_decay": 0.0}, "Muon or SGD with momentum"),
        ({"momentum": 0.95, "weight_decay": 0.0, "use_muon": True}, "muon"),
        ({"momentum": 0.95, "weight_decay": 0.0, "use_muon": True, "rank": 1}, "not known"),
        ({"momentum": 0.95, "weight_decay": 0.0, "rank": 1}, "not known"),
    ],
    ids=str,
)
def test_a_momentum_is_muons_where_its_settings_say_so(group, name, tmp_path):
    row = read(tmp_path, start(), {"lr": 0.02, **group}, {"momentum_buffer": start()})
    assert (row["optimizer"], row["measured"]) == (name, False)
