"""The last update of states of averages over rows and columns and of averages in another basis:
CAME and SOAP against replays in float64 numpy, written here from each program's own text."""

import numpy as np
import pytest
import torch
from test_whole_tensor_updates import SHAPE, gradients, read, rms, start

CAME = {
    "lr": 1e-2,
    "eps": (1e-30, 1e-16),
    "clip_threshold": 1.0,
    "betas": (0.9, 0.99, 0.999),
    "weight_decay": 0.1,
}


def averaged(kept, names, beta, square):
    """The estimate of each element by averages over rows and columns, which move on."""
    for name, axis in zip(names, (-1, -2), strict=True):
        kept[name] = beta * kept.get(name, 0.0) + (1 - beta) * square.mean(axis)
    row, column = (kept[name] for name in names)
    return row[..., None] * column[..., None, :] / row.mean(-1)[..., None, None]


def came(w, group):
    """came_pytorch's CAME.step; the weights, what the last step took from them, the state."""
    (b1, b2, b3), (eps1, eps2), lr = group["betas"], group["eps"], group["lr"]
    kept, m = {}, 0.0
    for g in gradients(shape=w.shape):
        scale = rms(w)
        if w.ndim > 1:
            v = averaged(kept, ("exp_avg_sq_row", "exp_avg_sq_col"), b2, g**2 + eps1)
        else:
            v = kept["exp_avg_sq"] = b2 * kept.get("exp_avg_sq", 0.0) + (1 - b2) * (g**2 + eps1)
        u = g / np.sqrt(v)
        u = u / max(1.0, rms(u) / group["clip_threshold"])
        m = b1 * m + (1 - b1) * u
        update = m
        if w.ndim > 1:
            names = ("exp_avg_res_row", "exp_avg_res_col")
            update = m / np.sqrt(averaged(kept, names, b3, (u - m) ** 2 + eps2))
        w = w * (1 - lr * group["weight_decay"]) - lr * update
    return w, lr * update, kept | {"step": 9, "exp_avg": m, "RMS": scale}


@pytest.mark.parametrize("shape", [SHAPE, (40,), (3, 8, 5)], ids=str)
@pytest.mark.parametrize("settings", [{}, {"clip_threshold": 0.5, "weight_decay": 0.0}], ids=str)
def test_cames_last_update_is_the_one_applied(settings, shape, tmp_path):
    group = CAME | settings
    after, moved, state = came(start(shape), group)
    row = read(tmp_path, after, group, state)
    assert (row["optimizer"], row["measured"]) == ("came", True)
    assert row["relative_update"] == pytest.approx(rms(moved) / rms(after), rel=1e-9)
    assert row["decay_pull"] == pytest.approx(group["lr"] * group["weight_decay"])


PYTORCH_CAME = {
    "lr": 1e-2,
    "betas": (0.9, 0.99, 0.999),
    "eps1": 1e-30,
    "eps2": 1e-16,
    "step": 9,
    "weight_decay": 0.1,
    "weight_decouple": True,
    "fixed_decay": False,
    "ams_bound": False,
}


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (PYTORCH_CAME, "came"),
        (PYTORCH_CAME | {"ams_bound": True}, "not known"),
        (PYTORCH_CAME | {"cautious": False}, "not known"),
        (CAME | {"ams_bound": False}, "not known"),
    ],
    ids=str,
)
def test_another_came_is_not_known(group, name, tmp_path):
    after, _, state = came(start(), CAME)
    if "step" in group:
        state.pop("step")
    assert read(tmp_path, after, group, state)["optimizer"] == name


SOAP = {
    "lr": 1e-2,
    "betas": (0.9, 0.95),
    "eps": 1e-8,
    "weight_decay": 0.0,
    "shampoo_beta": None,
    "precondition_frequency": 5,
    "max_precondition_dim": 30,
    "merge_dims": False,
    "precondition_1d": False,
    "correct_bias": True,
    "normalize_gradient": False,
}
AUTHORS_SOAP = {
    **{name: SOAP[name] for name in SOAP if not name.startswith(("max", "normalize"))},
    "max_precond_dim": 30,
    "normalize_grads": False,
}


def turned(x, basis, back=False):
    for axis, q in enumerate(basis):
        if q is not None:
            x = np.moveaxis(np.tensordot(x, q, ([axis], [1 if back else 0])), -1, axis)
    return x


def soap(w, group, steps=9):
    """pytorch_optimizer's SOAP.step with a basis that turns anew; the weights, what the last step
    took from them, the state. Dimensions above max_precondition_dim are not rotated."""
    (b1, b2), m, v = group["betas"], np.zeros(w.shape), np.zeros(w.shape)
    rng = np.random.default_rng(5)
    limit = max(group.get("max_precondition_dim", 0), group.get("max_precond_dim", 0))

    def basis():
        sizes = w.shape if w.ndim > 1 else ()
        return [np.linalg.qr(rng.standard_normal((n, n)))[0] if n <= limit else None for n in sizes]

    q = basis()
    for t, g in enumerate(gradients(steps, w.shape)[1:], 1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * turned(g, q) ** 2
        update = turned(turned(m, q) / (np.sqrt(v) + group["eps"]), q, back=True)
        if group.get("normalize_gradient") or group.get("normalize_grads"):
            update = update / rms(update)
        moved = group["lr"] * np.sqrt(1 - b2**t) / (1 - b1**t) * update
        w = w - moved
        q = basis() if t % group["precondition_frequency"] == 0 else q
    kept = {"Q": [[] if each is None else torch.tensor(each) for each in q], "GG": []}
    kept |= {"exp_avg": m, "exp_avg_sq": v, "precondition_frequency": 5, "shampoo_beta": 0.95}
    return w, moved, kept


@pytest.mark.parametrize("shape", [(24, 20), (24, 40), (40,), (6, 8, 5)], ids=str)
def test_soaps_last_update_is_the_one_applied(shape, tmp_path):
    after, moved, state = soap(start(shape), SOAP)
    row = read(tmp_path, after, SOAP | {"step": 9}, state)
    assert (row["optimizer"], row["measured"]) == ("SOAP", True)
    assert row["relative_update"] == pytest.approx(rms(moved) / rms(after), rel=1e-9)


def test_soaps_normalized_update_is_known_in_any_basis(tmp_path):
    for group, count in ((SOAP | {"step": 11}, 0), (AUTHORS_SOAP, 10)):
        group = group | {"normalize_gradient" if "step" in group else "normalize_grads": True}
        after, moved, state = soap(start(), group, 11)
        row = read(tmp_path, after, group, state | ({"step": count} if count else {}))
        assert row["measured"]
        assert row["relative_update"] == pytest.approx(rms(moved) / rms(after), rel=1e-9)


@pytest.mark.parametrize(
    ("group", "steps", "why"),
    [
        (SOAP, 11, "SOAP turned its basis after the last update, and does not keep the one before"),
        (SOAP, 1, "SOAP's first step sets up its basis and updates nothing"),
        (SOAP | {"merge_dims": True}, 9, "SOAP's basis is of merged dimensions"),
        (AUTHORS_SOAP, 9, "SOAP's versions keep exp_avg in different bases"),
    ],
)
def test_where_soaps_basis_is_not_certain_the_gradients_are_read(group, steps, why, tmp_path):
    after, _, state = soap(start(), group, max(steps, 2))
    counted = {"step": steps - 1} if group is AUTHORS_SOAP else {}
    row = read(tmp_path, after, group | ({} if counted else {"step": steps}), state | counted)
    assert (row["optimizer"], row["measured"]) == ("SOAP", False)
    assert row["reason"].startswith(why)
    assert row["relative_update"] is None
    assert (row["grad_rms"] is not None) == (steps > 1)


def test_the_authors_soap_of_a_vector_has_no_basis(tmp_path):
    after, moved, state = soap(start((40,)), AUTHORS_SOAP)
    row = read(tmp_path, after, AUTHORS_SOAP, state | {"step": 8})
    assert row["measured"]
    assert row["relative_update"] == pytest.approx(rms(moved) / rms(after), rel=1e-9)


@pytest.mark.parametrize(
    "further",
    [
        {"warmup_steps": 1},
        {"precondition_frequency": 0},
        {"betas": (0.9, 1.0)},
        {"eps": "tiny"},
    ],
    ids=str,
)
def test_another_soap_is_not_known(further, tmp_path):
    after, _, state = soap(start(), SOAP)
    row = read(tmp_path, after, SOAP | {"step": 9} | further, state)
    assert row["optimizer"] == "not known"


MINI = {"lr": 1e-2, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}


def adam_mini(w, rows):
    """adam_mini's step with a v for each row, for the tensor, or for each element of a vector."""
    m, v, (b1, b2) = 0.0, 0.0, (MINI["beta1"], MINI["beta2"])
    for t, g in enumerate(gradients(shape=w.shape), 1):
        square = g**2 if w.ndim < 2 else (g**2).mean(1, keepdims=True) if rows else (g**2).mean()
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * square
        update = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + MINI["eps"])
        w = (1 - MINI["lr"] * MINI["weight_decay"]) * w - MINI["lr"] * update
    return w, MINI["lr"] * update, {"m": m, "v" if w.ndim < 2 else "vmean": v, "step": t}


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("shape", [SHAPE, (40,)], ids=str)
def test_adam_minis_v_is_spread_over_its_blocks(shape, rows, tmp_path):
    """Each of its groups has the name of its parameter."""
    after, moved, state = adam_mini(start(shape), rows)
    state = {n: torch.tensor(x, dtype=torch.float64) for n, x in state.items()} | {"step": 9}
    row = read(tmp_path, after, MINI | {"name": "layers.0.w"}, state)
    assert (row["optimizer"], row["measured"]) == ("Adam-mini", True)
    assert row["relative_update"] == pytest.approx(rms(moved) / rms(after), rel=1e-9)
    assert row["decay_pull"] == pytest.approx(1e-3)


def test_adam_minis_v_of_other_blocks_tells_nothing(tmp_path):
    after, _, state = adam_mini(start(), True)
    state["vmean"] = np.ones((7, 1))
    row = read(tmp_path, after, MINI | {"name": "layers.0.w"}, state)
    assert (row["measured"], row["reason"]) == (
        False,
        "its v is of blocks that its m does not have",
    )


def test_stable_adamw_of_pytorch_optimizer_tells_its_gradients(tmp_path):
    group = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1, "step": 9}
    group |= {"weight_decouple": True, "kahan_sum": True}
    v = np.mean(np.square(gradients()), axis=0)
    row = read(tmp_path, start(), group, {"exp_avg": v, "exp_avg_sq": v, "kahan_comp": None})
    assert (row["optimizer"], row["measured"]) == ("StableAdamW", False)
    assert row["reason"].startswith("StableAdamW: its last update")
    assert row["grad_rms"] == pytest.approx(np.sqrt(v.mean()))
