"""What MLX programs save: a model and its optimizer's state as safetensors, and arrays as npz."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import scalecheck
from scalecheck.checkpoint.open import open_checkpoint

RNG = np.random.default_rng(0)
MODEL = {
    "layers.0.up.weight": RNG.standard_normal((6, 4), "f4"),
    "layers.0.up.bias": RNG.standard_normal(6, "f4"),
}


def moments(*words):
    scales = {"m": 0.01, "v": 1e-3, "u": 1.0}
    return {f"{n}.{w}": scales[w] * a**2 for n, a in MODEL.items() for w in words}


def saved(folder, state, **told):
    folder.mkdir()
    save_file(MODEL, folder / "model.safetensors")
    counts = {"step": np.array(25, "u8"), "learning_rate": np.array(2e-3, "f4")} | told
    save_file(state | counts, folder / "optimizer.safetensors")
    return folder


def test_the_moments_of_adam_have_the_names_of_their_parameters(tmp_path):
    path = saved(tmp_path / "run", moments("m", "v"))
    told = {"optimizer": "adamw", "beta1": 0.9, "beta2": 0.98, "eps": 1e-8}
    rows = {row["name"]: row for row in scalecheck.translate(path, **told).rows}
    state = moments("m", "v")
    for name in MODEL:
        m, v = (state[f"{name}.{word}"].astype(float) for word in "mv")
        update = m / (1 - 0.9**25) / (np.sqrt(v / (1 - 0.98**25)) + 1e-8)
        assert rows[name]["update_rms"] == pytest.approx(np.sqrt(np.mean(update**2)), rel=1e-9)
        assert (rows[name]["lr"], rows[name]["step"]) == (pytest.approx(2e-3), 25)


def test_what_the_state_does_not_say_is_said_to_be_unknown(tmp_path):
    report = scalecheck.translate(saved(tmp_path / "run", moments("m", "v")))
    assert all(row["update_rms"] is None for row in report.rows)
    assert any("MLX saves neither which of them it is" in note for note in report.notes)


def test_a_state_file_of_its_own_lists_its_moments(tmp_path):
    path = saved(tmp_path / "run", moments("m", "v")) / "optimizer.safetensors"
    kinds = {tensor.name: tensor.kind.kind for tensor in open_checkpoint(path).tensors}
    assert kinds["layers.0.up.weight.m"] == "moment"
    assert kinds["learning_rate"] == "other"


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (moments("v", "u"), {}),
        (moments("m", "v") | {"other": np.ones(3, "f4")}, {}),
        (moments("m", "v"), {"step": np.array([25], "u8")}),
        ({}, {}),
    ],
)
def test_a_state_of_unknown_names_is_not_read(tmp_path, state, told):
    report = scalecheck.translate(saved(tmp_path / "run", state, **told), lr=1e-3)
    tensors = len(state) + 2
    said = f"optimizer state not read: optimizer.safetensors: {tensors} tensors by unknown names"
    assert said in report.notes
    assert all(row["update_rms"] is None for row in report.rows)
