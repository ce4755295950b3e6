"""Of several files in a folder the one that libraries load is read, and a check fails on those that
they load with it or in its place."""

import json
import os
from pathlib import Path

import pytest
import torch
from checked import noise
from command import scalecheck
from safetensors.torch import save_file

import scalecheck as api
from scalecheck.checkpoint.formats import directory

pytestmark = pytest.mark.usefixtures("elsewhere")

SHARD = "shard-00001-model-00001-of-00001.safetensors"
ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def folder(*files, config=None):
    """A folder of models, each with one tensor that is named as its file without a suffix."""
    Path("m").mkdir()
    for file in files:
        if file.endswith(".json"):
            Path("m", file).write_text("{}")
            continue
        write = save_file if file.endswith(".safetensors") else torch.save
        write({f"{file.partition('.')[0]}.weight": noise(16, 8)}, Path("m", file))
    if config is not None:
        Path("m/config.json").write_text(config if isinstance(config, str) else json.dumps(config))


def read():
    return [row["name"].removesuffix(".weight") for row in api.inspect("m").rows]


@pytest.mark.parametrize(
    ("files", "file", "unread"),
    [
        (("model.safetensors", *ADAPTER, "config.json"), "model", [ADAPTER[1]]),
        (("model.safetensors", *ADAPTER), "adapter_model", []),
        (("model.safetensors", ADAPTER[1]), "model", []),
        (("pytorch_model.bin", ADAPTER[1]), "pytorch_model", []),
        (("pytorch_model.bin", *ADAPTER), "adapter_model", []),
        (("adapter_model.bin", *ADAPTER), "adapter_model", []),
        (("model.safetensors", SHARD), "model", [SHARD]),
        (
            ("weights.pt", "adapter_model.bin", "adapter_config.json", SHARD, "config.json"),
            "adapter_model",
            [SHARD],
        ),
        (
            ("diffusion_pytorch_model.safetensors", "pytorch_model.bin"),
            "pytorch_model",
            ["diffusion_pytorch_model.safetensors"],
        ),
        (("model-00001-of-00001.safetensors", "pytorch_model.bin"), "pytorch_model", []),
        (("pytorch_model.bin", "pytorch_model_1.bin"), "pytorch_model", []),
    ],
)
def test_what_a_library_loads_is_read_or_fails_a_check(files, file, unread):
    folder(*files)
    assert read() == [file]
    done = scalecheck("check", "m", "--format", "concise")
    assert done.code == (1 if unread else 0)
    for name in unread:
        assert f"m: {name}: error[SC107] not-analysed: not read: " in done.out
        assert f"; to read it, name m/{name}" in done.out


def test_the_file_that_a_configuration_names_fails_a_check():
    folder("model.safetensors", "other.safetensors", config={"transformers_weights": "x"})
    assert scalecheck("check", "m").code == 0
    Path("m/config.json").write_text('{"transformers_weights": 1, "transformers_weights": "x"}')
    os.rename("m/other.safetensors", "m/x")
    done = scalecheck("check", "m", "--format", "concise")
    assert done.code == 1
    words = (
        "config.json has transformers load it in place of model.safetensors; to read it, name m/x"
    )
    assert f"m: x: error[SC107] not-analysed: not read: {words}" in done.out
    assert scalecheck("check", "m", "--exclude", "x/").code == 0
    Path("m/config.json").write_text('{"transformers_weights": "model.safetensors"}')
    assert scalecheck("check", "m").code == 0


@pytest.mark.parametrize(
    "config", ["", "[]", "{", "[" * 100_000, '{"transformers_weights": ["x"]}', '{"a": "\ud800"}']
)
def test_a_configuration_that_transformers_cannot_read_says_nothing(config):
    folder("model.safetensors")
    Path("m/config.json").write_text(config, errors="surrogatepass")
    assert scalecheck("check", "m").code == 0


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a/../../x.safetensors", "\0"])
def test_a_file_outside_of_the_folder_is_not_looked_for(name):
    save_file({"w": noise(4, 4)}, "x.safetensors")
    folder("model.safetensors", config={"transformers_weights": name})
    Path("m/a").mkdir()
    assert scalecheck("check", "m").code == 0


@pytest.mark.parametrize("limit", ["_MAX_CONFIG_NBYTES", "_MAX_VALUES"])
def test_a_configuration_that_is_too_long_fails_a_check(limit, monkeypatch):
    folder("model.safetensors", config={"transformers_weights": "x", "a": [1, 2, 3]})
    monkeypatch.setattr(directory, limit, 4)
    done = scalecheck("check", "m", "--format", "concise")
    assert "m: config.json: error[SC107] not-analysed: not read: it is too long" in done.out


def test_a_configuration_that_is_no_file_is_not_waited_for():
    folder("model.safetensors")
    os.mkfifo("m/config.json")
    assert scalecheck("check", "m").code == 0


def test_files_of_the_folders_below_are_named_with_their_folder():
    folder("model.safetensors", SHARD)
    os.makedirs("p")
    os.rename("m", "p/m")
    done = scalecheck("check", "p", "--recursive", "--format", "concise")
    words = "error[SC107] not-analysed: not read: transformers loads it as a part"
    assert f"p: m/{SHARD}: {words}" in done.out
