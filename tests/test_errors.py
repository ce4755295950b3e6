"""What a user does wrong: each error is one line with the place and the problem, and the line of
help behind it is a command line that works."""

import gzip
import json
import os
import pickle
import shlex
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from command import scalecheck
from error_cases import CASES, M
from safetensors.numpy import save_file

from scalecheck.checkpoint.open import _unopened


def model(path):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ("layers.0.mlp.up.weight", "layers.0.mlp.down.weight", "layers.0.attn.q.weight")
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(0, 0.02, (64, 32)).astype("f4") for name in names}
    save_file(weights | {"layers.0.norm.weight": np.ones(32, "f4")}, path)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with models, runs, and what is none."""
    monkeypatch.chdir(tmp_path)
    for path in (M, "runs/checkpoint-90/a.safetensors", "runs/checkpoint-500/a.safetensors"):
        model(path)
    for path in ("steps/global_step3/a.safetensors", "steps/global_step12/a.safetensors"):
        model(path)
    for path in ("one/final/a.safetensors", "two/a.safetensors", "two/b.safetensors"):
        model(path)
    for path in ("beside/model", "v/model.fp16", "v/model.bf16"):
        model(f"{path}.safetensors")
    weights = torch.nn.Linear(4, 4)
    running = torch.optim.AdamW(weights.parameters(), lr=1e-3)
    weights(torch.ones(1, 4)).sum().backward()
    running.step()
    for path in ("state/optimizer.pt", "beside/optimizer.pt"):
        Path(path).parent.mkdir(exist_ok=True)
        torch.save(running.state_dict(), path)
    Path("empty").mkdir()
    Path("beside/config.json").write_text("{}")
    Path("beside/tokenizer.json").write_text("{}")
    Path("lfs.bin").write_text("version https://git-lfs.github.com/spec/v1\nsize 1234567\n")
    Path("page.safetensors").write_text("<!DOCTYPE html><html>")
    Path("json.safetensors").write_text('{"error": "Repository not found"}')
    whole = Path(M).read_bytes()
    Path("cut.safetensors").write_bytes(whole[:9000])
    Path("zero.bin").write_bytes(b"")
    Path("m2.safetensors.gz").write_bytes(gzip.compress(whole))
    Path("a.pdparams").write_bytes(pickle.dumps({"w": np.ones(3)}))
    Path("a.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    Path("a.engine").write_bytes(b"ftrt")
    Path("a.gif").write_bytes(b"GIF89a\0")
    Path("a.py").write_text("import torch\n")
    Path("k.ckpt.index").write_bytes(b"\0\1")
    Path("k.ckpt.data-00000-of-00001").write_bytes(b"\0\1")
    Path("saved").mkdir()
    Path("saved/saved_model.pb").write_bytes(b"\b\1")
    os.symlink("self", "self")
    for name, member in (("z.zip", "w/model.safetensors"), ("t.zip", "notes.txt")):
        with zipfile.ZipFile(name, "w") as file:
            file.writestr(member, whole)
    done = scalecheck("inspect", M, "--format", "json", "--output", "report.json")
    assert done.code == 0
    Path("other.json").write_text(json.dumps({"a": 1}))


NUMBERS = {
    "3e-4x": "3e-4",
    "3e-4,": "3e-4",
    "0,001": "0.001",
    "1e-3%": "1e-05",
    "3 e-4": "3e-4",
    "10^-4": "1e-4",
    "3*10**-4": "3e-4",
    "abc": "",
    "1.2.3e-4": "",
}


def refused(words, code, problem, help):
    """Runs a command line that is refused; the line of help."""
    done = scalecheck(*words)
    assert (done.code, done.out) == (code, "")
    assert done.problem.startswith("scalecheck: ")
    assert f": {problem}" in done.problem or f" {problem}" in done.problem, done.err
    said = "".join(done.err.splitlines()[1:]).removeprefix("  help: ")
    start, is_open, end = help.partition("…")
    assert said == help or (is_open and said.startswith(start) and end.strip("…") in said), done.err
    return said


@pytest.mark.parametrize(("line", "code", "problem", "help"), CASES, ids=[one[0] for one in CASES])
def test_an_error_says_where_and_what_and_the_command_that_works(line, code, problem, help):
    said = refused(shlex.split(line), code, problem, help)
    command = said.rpartition("scalecheck ")[2]
    needs_another = any(
        word in said for word in ("hf ", "curl", "git lfs", "python ", "example sc")
    )
    if not command or needs_another or "MODEL" in said or "scalecheck " not in said:
        return
    for before in said.rpartition(": ")[2].split(" && ")[:-1]:
        if before.startswith("scalecheck"):
            assert scalecheck(*shlex.split(before)[1:]).code == 0
        else:
            unpacked(before)
    assert scalecheck(*shlex.split(command)).code == 0


def unpacked(command):
    """Runs a command of the shell, unzip by Python where there is none."""
    if command.startswith("unzip "):
        _, file, _, folder = shlex.split(command)
        zipfile.ZipFile(file).extractall(folder)
    else:
        subprocess.run(shlex.split(command), check=True)


@pytest.mark.parametrize("word", NUMBERS)
def test_a_number_with_a_slip_is_told_as_the_number_that_was_meant(word):
    meant = NUMBERS[word]
    help = f"scalecheck translate {M} --lr {meant}" if meant else ""
    problem = f"--lr {word}: expected a number such as 3e-4"
    refused(["translate", M, "--lr", word], 2, problem, help)
    if meant:
        assert scalecheck("translate", M, "--lr", meant).code == 0


def test_a_file_that_may_not_be_read_says_how_to_allow_it():
    error = _unopened(Path("closed.bin"), PermissionError(13, "Permission denied"))
    assert (error.problem, error.help) == ("permission denied", "chmod u+r closed.bin")


@pytest.mark.parametrize("name", ["n" * 3000, "a\nb", "\x1b[31mred", "a" * 200 + "/" + "b" * 200])
def test_names_in_errors_are_printable_and_short(name):
    done = scalecheck("inspect", name)
    assert done.code == 3
    assert done.problem.isprintable()
    assert len(done.problem) < 600
