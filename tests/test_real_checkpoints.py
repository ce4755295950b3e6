"""Files that others trained: each tensor has the figures that the format's own library gives it."""

import hashlib
import json
import math
from functools import cache
from pathlib import Path

import pytest
from real_checkpoints import INSTALL, real_file

import scalecheck
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.measure.measuring import measure
from scalecheck.measure.tensor_stats import TensorStats

HERE = Path(__file__).parent
TRUTH = json.loads((HERE / "data" / "checkpoints-truth.json").read_text())
TRAINING_PART = "model.state_dict."  # where chgnet keeps what scalecheck lists under bare names
# Tensors of a TorchScript archive that no state dict lists: neither parameters nor buffers.
ATTRIBUTES = {"silero-vad-jit": {"_state", "_context", "constants.0"}}

every_file = pytest.mark.parametrize("key", TRUTH["files"])


def path_of(key):
    return real_file(TRUTH["files"][key]["package"], TRUTH["files"][key]["file"])


def truth(key):
    """The true figures by the name that scalecheck gives the tensor."""
    return {
        name.removeprefix(TRAINING_PART): dict(zip(TRUTH["fields"], figures, strict=True))
        for name, figures in TRUTH["files"][key]["tensors"].items()
    }


@cache
def scales(path):
    """The scale of each tensor of the model and of the optimizer, by name."""
    checkpoint = open_checkpoint(path)
    tensors = checkpoint.tensors + checkpoint.optimizer
    return {tensor.name: TensorStats.of(tensor, sketch) for tensor, sketch in measure(tensors)}


@every_file
def test_the_file_is_the_one_the_truth_was_computed_from(key):
    digest = hashlib.sha256(path_of(key).read_bytes()).hexdigest()
    assert digest == TRUTH["files"][key]["sha256"]


@every_file
def test_the_format_is_told_from_the_content(key):
    assert open_checkpoint(path_of(key)).format == TRUTH["files"][key]["format"]


@every_file
def test_every_tensor_is_listed_and_no_other(key):
    assert set(scales(path_of(key))) == set(truth(key)) | ATTRIBUTES.get(key, set())


@every_file
def test_optimizer_state_lies_apart_from_the_model(key):
    checkpoint = open_checkpoint(path_of(key))
    state = {name for name in truth(key) if name.startswith("optimizer.")}
    assert {tensor.name for tensor in checkpoint.optimizer} == state
    assert not state & {tensor.name for tensor in checkpoint.tensors}


@every_file
def test_types_shapes_and_counts_are_the_true_ones(key):
    measured = scales(path_of(key))
    for name, true in truth(key).items():
        scale = measured[name]
        assert scale.dtype == true["dtype"], name
        assert list(scale.shape) == true["shape"], name
        for count in ("numel", "zeros", "nan", "inf"):
            assert getattr(scale, count) == true[count], (name, count)


@every_file
@pytest.mark.parametrize("figure", ["rms", "min", "max", "absmax"])
def test_scale_and_extremes_are_the_true_ones(key, figure):
    measured = scales(path_of(key))
    for name, true in truth(key).items():
        assert getattr(measured[name], figure) == pytest.approx(true[figure], rel=1e-9, abs=0), name


@every_file
@pytest.mark.parametrize("figure", ["mean", "std"])
def test_mean_and_deviation_are_the_true_ones(key, figure):
    """To 1e-9 of themselves or, where the elements cancel, to 1e-12 of their rms."""
    measured = scales(path_of(key))
    for name, true in truth(key).items():
        tolerance = max(1e-9 * abs(true[figure]), 1e-12 * true["rms"])
        assert abs(getattr(measured[name], figure) - true[figure]) <= tolerance, name


def test_every_package_with_a_real_file_is_pinned():
    pins = (HERE / "real-checkpoints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0] for line in pins if "==" in line}
    assert pinned == {file["package"] for file in TRUTH["files"].values()}


def test_an_absent_package_skips_outside_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=INSTALL):
        real_file("no-such-package-as-this", "model.safetensors")


def test_an_absent_package_fails_in_ci(monkeypatch):
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=INSTALL):
        real_file("no-such-package-as-this", "model.safetensors")


def test_the_layer_of_chgnet_that_was_never_trained_stands_out():
    """Its optimizer has no state for it, and its weights are what nn.Linear starts from."""
    path = real_file("chgnet", "chgnet/pretrained/0.3.0/chgnet_0.3.0_e29f68s314m37.pth.tar")
    flagged = [row for row in scalecheck.inspect(path).rows if "outlier" in row["flags"]]
    assert {row["layer"] for row in flagged} == {"angle_layers.2"}
    matrices = [row for row in flagged if row["role"] == "matrix"]
    assert len(matrices) == 2
    for row in matrices:
        assert row["rms"] == pytest.approx(1 / math.sqrt(3 * 256), rel=4e-3)
        assert row["family_ratio"] == pytest.approx(1 / 82, rel=0.02)
