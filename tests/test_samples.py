"""The sample checkpoints are what their maker makes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scalecheck import open_checkpoint

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The samples after 2 steps of training instead of 1500."""
    folder = tmp_path_factory.mktemp("samples")
    command = [sys.executable, str(SAMPLES / "make.py"), str(folder), "--steps", "2"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_the_maker_writes_every_sample(made):
    kept = {name for name in files(SAMPLES) if not name.startswith(("make.py", "README", "__"))}
    assert files(made) == kept


@pytest.mark.parametrize("name", ["tiny-gpt-init", "broken.safetensors"])
def test_what_is_not_trained_comes_out_the_same(made, name):
    """To the rounding of another processor's logarithm."""
    for kept, new in zip(
        open_checkpoint(SAMPLES / name).tensors, open_checkpoint(made / name).tensors, strict=True
    ):
        assert (kept.name, kept.dtype, kept.shape) == (new.name, new.dtype, new.shape)
        assert new.array() == pytest.approx(kept.array(), rel=1e-5, nan_ok=True)


def test_the_samples_are_small():
    assert sum((SAMPLES / name).stat().st_size for name in files(SAMPLES)) < 4_000_000


def test_training_lowered_the_loss():
    state = json.loads((SAMPLES / "tiny-gpt" / "trainer_state.json").read_text())
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    assert losses[0] > 4
    assert losses[-1] < 1.7
