"""Files and folders that are not read: each is named as what it is, with what to do."""

import json
import pickle

import numpy as np
import pytest
from command import scalecheck

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.errors import CheckpointError

FILES = {
    "m.tflite": (b"\x1c\0\0\0TFL3", "is a TensorFlow Lite model", "ONNX"),
    "m.pdparams": (pickle.dumps({"w": np.ones(3)}), "is a PaddlePaddle file", "npz"),
    "m.pkl": (pickle.dumps({"w": 1}), "is a pickle that torch.save did not write", "numpy.savez"),
    "m.bin": (pickle.dumps({"w": 1}), "is a pickle that torch.save did not write", "numpy.savez"),
    "m.joblib": (pickle.dumps({"w": 1}), "is a file of joblib", "numpy.savez"),
    "m.engine": (b"ftrt", "is a TensorRT engine", "compiled from"),
    "g.bin": (b"algg\0\0", "is a GGML file, older than GGUF", "convert_llama_ggml_to_gguf.py"),
    "p.bin": (b"\n <HTML><body>", "is a web page", "`resolve`"),
    "q.safetensors": (b"<!doctype html>", "is a web page", "`resolve`"),
    "e.pt": (
        b"Entry not found",
        "is text, not a checkpoint: it starts with 'Entry not",
        "download",
    ),
    "a.lz4": (b"\x04\x22\x4d\x18abc", "is compressed with lz4", "unpack"),
    "m.mat": (b"MATLAB 5.0 MAT-file", "is a MATLAB file", "np.savez"),
    "m.npz": (b"", "is empty (0 bytes)", "again"),
    "i.safetensors.index.json": (json.dumps({"weight_map": {}}).encode(), "names no tensor", ""),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_named_as_what_it_is(tmp_path, name):
    content, problem, help = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        open_checkpoint(tmp_path / name)
    assert error.value.problem.startswith(problem)
    assert help in error.value.help
    assert bool(help) == bool(error.value.help)


def test_a_checkpoint_of_tensorflow_is_named_by_its_folder_and_its_prefix(tmp_path):
    for name in ("checkpoint", "ckpt-7.index", "ckpt-7.data-00000-of-00001"):
        (tmp_path / name).write_bytes(b"\0\1")
    for path in (tmp_path, tmp_path / "ckpt-7", tmp_path / "ckpt-7.index"):
        with pytest.raises(CheckpointError, match="TensorFlow checkpoint") as error:
            open_checkpoint(path)
        assert "tf.train.load_checkpoint" in error.value.fix.before


def test_a_package_of_core_ml_is_not_looked_into(tmp_path):
    weights = tmp_path / "m.mlpackage" / "Data" / "com.apple.CoreML" / "weights"
    weights.mkdir(parents=True)
    (weights / "weight.bin").write_bytes(b"\0\1")
    (tmp_path / "c.mlmodelc").mkdir()
    (tmp_path / "c.mlmodelc" / "coremldata.bin").write_bytes(b"\0\1")
    for name in ("m.mlpackage", "c.mlmodelc"):
        with pytest.raises(CheckpointError, match="is a Core ML model"):
            open_checkpoint(tmp_path / name)


def test_what_is_no_local_path_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "hf download org/model --local-dir model" in scalecheck("inspect", "org/model").err
    assert "only local files are read" in scalecheck("inspect", "https://a.b/m.safetensors").err
    (tmp_path / "org").mkdir()
    assert "hf download" not in scalecheck("inspect", "org/model").err
    with pytest.raises(CheckpointError, match=r"name too long|no such file"):
        open_checkpoint("n" * 253)
