"""The last update of states of averages over rows and columns and of averages in another basis:
CAME and SOAP against replays in float64 numpy, written here from each program's own text."""

import numpy as np
import pytest
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
