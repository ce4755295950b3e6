"""`scalecheck init`: the file that it writes is a configuration, before and after editing."""

import json
import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from command import scalecheck
from safetensors.numpy import save_file

from scalecheck import api
from scalecheck.config import FILE
from scalecheck.rules.contract import registered

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"
CHECKPOINTS = [
    SAMPLES / name
    for name in ("tiny-gpt", "tiny-gpt.pt", "tiny-gpt-init", "tiny-gpt-lora", "broken.safetensors")
]


def edited(text):
    """The text with every setting that was taken out put in."""
    return re.sub(r"^#(?=\S)", "", text, flags=re.MULTILINE)


def findings(path, *options):
    report = json.loads(scalecheck("check", path, *options, "--format", "json").out)
    return {(one["rule"], one["where"]) for one in report["findings"]}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.name)
def test_a_check_works_with_the_file_and_finds_it_itself(path):
    done = scalecheck("init", path)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"wrote {FILE}")
    assert api.read_config(FILE).severity == {}
    checked = scalecheck("check", path, "--format", "json")
    assert checked.err == ""
    assert json.loads(checked.out)["settings"]["config"] == FILE


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.name)
def test_the_file_with_every_setting_put_in_is_a_configuration(path, tmp_path):
    text = scalecheck("init", path, "--output", "-").out
    Path(FILE).write_text(edited(text), "utf-8")
    config = api.read_config(FILE)
    assert scalecheck("check", "--show-settings").code == 0
    for code, entry in registered().items():
        assert config.limits.get(code, {}).keys() == entry.rule.limits.keys()
        for name, limit in entry.rule.limits.items():
            assert config.limits[code][name] == pytest.approx(limit.default, rel=1e-3)


def test_each_finding_of_today_has_an_exception_that_lets_it_pass():
    path = SAMPLES / "broken.safetensors"
    text = scalecheck("init", path, "--output", "-").out
    now = findings(path, "--no-config")
    assert now
    part = text.partition("# What is found today")[2].partition("\n\n")[0]
    assert len(re.findall(r"^#\[\[exception\]\]$", part, re.MULTILINE)) <= len(now)
    Path(FILE).write_text(edited(part.partition("\n")[2]), "utf-8")
    assert findings(path) == set()
    assert json.loads(scalecheck("check", path, "--format", "json").out)["summary"]["ignored"]


def test_the_optimizer_of_the_state_is_set_and_what_differs_is_left_to_it():
    text = scalecheck("init", SAMPLES / "tiny-gpt", "--output", "-").out
    found = tomllib.loads(text)["optimizer"]
    assert found == {
        "name": "adamw",
        "lr": 2e-4,
        "beta1": 0.9,
        "beta2": 0.99,
        "eps": 1e-8,
        "amsgrad": False,
    }
    assert "# The schedule began at lr 0.002." in text
    groups = tomllib.loads(edited(text))["group"]
    assert {"match": "blocks.*.mlp.up.weight", "weight_decay": 0.1} in groups


def test_without_a_state_the_optimizer_is_an_example():
    text = scalecheck("init", SAMPLES / "tiny-gpt-init", "--output", "-").out
    assert tomllib.loads(text)["optimizer"] == {}
    assert tomllib.loads(edited(text))["optimizer"] == {
        "name": "adamw",
        "lr": 3e-4,
        "weight_decay": 0.1,
    }


def test_an_optimizer_that_is_not_known_is_not_written_as_one(tmp_path):
    save_file({"w.weight": np.ones((4, 3), np.float32)}, tmp_path / "model.safetensors")
    torch.save(
        {
            "state": {0: {"step": 9, "odd": torch.ones(4, 3), "new": torch.ones(4, 3)}},
            "param_groups": [{"lr": 1e-3, "quirk": 3, "params": [0]}],
        },
        tmp_path / "optimizer.pt",
    )
    text = scalecheck("init", tmp_path, "--output", "-").out
    assert tomllib.loads(text)["optimizer"] == {"lr": 1e-3}
    assert "optimizer.pt, step 9, which does not tell its name." in text
    assert '\n#name = "adamw"\n' in text
    Path(FILE).write_text(text, "utf-8")
    assert scalecheck("check", tmp_path).code == 0


def test_every_role_of_the_checkpoint_has_an_override_to_fill_in():
    text = edited(scalecheck("init", SAMPLES / "tiny-gpt", "--output", "-").out)
    roles = [entry["role"] for entry in tomllib.loads(text)["override"]]
    assert roles == ["bias", "embedding", "matrix", "norm"]


@pytest.mark.parametrize("made", ["file", "folder", "link"])
def test_what_exists_is_never_replaced(made):
    path = Path(FILE)
    if made == "folder":
        path.mkdir()
    elif made == "link":
        path.symlink_to("nowhere")
    else:
        path.write_text("fail_on = 'never'\n")
    done = scalecheck("init", SAMPLES / "tiny-gpt")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        f"scalecheck: {FILE}: exists, and is not replaced; --output - prints the configuration\n"
    )
    assert made != "file" or path.read_text() == "fail_on = 'never'\n"


def test_it_is_written_where_it_is_asked_for_and_a_folder_has_to_be_there():
    assert scalecheck("init", SAMPLES / "tiny-gpt", "--output", "mine.toml", "--quiet").out == ""
    assert api.read_config("mine.toml").optimizer["name"] == "adamw"
    assert not Path(FILE).exists()
    done = scalecheck("init", SAMPLES / "tiny-gpt", "--output", "no/mine.toml")
    assert (done.code, done.err) == (2, "scalecheck: --output no: no such folder\n")


def test_a_checkpoint_that_cannot_be_read_leaves_no_file(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    assert scalecheck("init", tmp_path / "bad.safetensors").code == 3
    assert not Path(FILE).exists()


def test_names_of_any_kind_make_a_valid_file(tmp_path):
    names = [
        'a"b.0.w',
        "a\\b.1.w",
        "[x]*.2.w",
        "line\nfeed.3.w",
        "##[error]z.4.w",
        "\x7f.5.w",
        "é.6",
    ]
    weights = {name: np.full((4, 4), np.nan, np.float32) for name in names}
    save_file(weights, tmp_path / "m.safetensors")
    done = scalecheck("init", tmp_path / "m.safetensors", "--output", "-")
    assert "##[" not in done.out
    Path(FILE).write_text(edited(done.out), "utf-8")
    found = findings(tmp_path / "m.safetensors")
    assert not [rule for rule, _ in found if rule == "SC101"]


def test_a_copy_of_the_checkpoint_without_its_state_is_judged_alike(tmp_path):
    path = SAMPLES / "tiny-gpt"
    assert scalecheck("init", path).code == 0
    shutil.copy(path / "model.safetensors", tmp_path)
    checked = scalecheck("check", tmp_path / "model.safetensors", "--format", "json")
    assert json.loads(checked.out)["settings"]["lr"] == 2e-4
