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
from safetensors.numpy import save_file

from scalecheck.checkpoint.open import _unopened

M = "m.safetensors"
HUB = "hf download meta-llama/Llama-3-8B --local-dir Llama-3-8B && scalecheck inspect Llama-3-8B"


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


# Arguments; exit code; the start of the error; the help, or its end behind …; whether it works.
CASES = [
    ("inspect meta-llama/Llama-3-8B", 3, "no such file or folder here, and the Hub is", f"…{HUB}"),
    ("inspect hf://meta-llama/Llama-3-8B", 3, "no such file or folder here", f"…{HUB}"),
    ("inspect https://huggingface.co/meta-llama/Llama-3-8B", 3, "no such file", f"…{HUB}"),
    (
        "inspect https://a.b/w.bin",
        3,
        "is an address; only local",
        "…w.bin && scalecheck inspect w.bin",
    ),
    (
        "inspect m.safetensor",
        3,
        "no such file or directory",
        f"did you mean: scalecheck inspect {M}",
    ),
    (
        "inspect runs",
        3,
        "holds no checkpoint itself, 2 of its",
        "…: scalecheck inspect runs/checkpoint-500",
    ),
    ("check steps", 3, "holds no checkpoint itself", "…: scalecheck check steps/global_step12"),
    ("translate runs/ --lr=1", 3, "holds no", "…: scalecheck translate runs/checkpoint-500 --lr=1"),
    ("inspect one", 3, "holds no checkpoint itself", "scalecheck inspect one/final"),
    ("inspect two", 3, "layers.0.attn.q.weight is in", "…: scalecheck inspect two/a.safetensors"),
    (
        "inspect v",
        2,
        "holds 2 variants of a model",
        "…: scalecheck inspect v/model.bf16.safetensors",
    ),
    ("inspect state", 3, "holds an optimizer state and no model", "…--state state"),
    ("inspect state/optimizer.pt", 3, "holds an optimizer state of", "…--state state/optimizer.pt"),
    ("inspect beside/optimizer.pt", 3, "holds an optimizer", "…folder: scalecheck inspect beside"),
    ("inspect beside/config.json", 3, "is a configuration", "…folder: scalecheck inspect beside"),
    ("inspect beside/tokenizer.json", 3, "is a tokenizer", "…folder: scalecheck inspect beside"),
    ("inspect empty", 3, "is an empty folder (0 files)", ""),
    (
        "inspect lfs.bin",
        3,
        "is a Git LFS pointer, not the file (56 of 1234567",
        "…git lfs pull && …",
    ),
    (
        "inspect page.safetensors",
        3,
        "is a web page, not a checkpoint",
        "download the file itself; …",
    ),
    ("inspect json.safetensors", 3, "is text, not a checkpoint: it starts", "a failed download …"),
    (
        "inspect cut.safetensors",
        3,
        "is truncated: 25,048 bytes expected, 9,000 present",
        "download or copy it again",
    ),
    ("inspect zero.bin", 3, "is empty (0 bytes)", "download or copy it again"),
    ("inspect -", 3, "standard input is not read", "save it to a file first"),
    ("inspect self", 3, "too many levels of symbolic links", ""),
    (
        "inspect m2.safetensors.gz",
        3,
        "is compressed with gzip",
        "…-k m2.safetensors.gz && scalecheck inspect m2.safetensors",
    ),
    ("inspect a.pdparams", 3, "is a PaddlePaddle file", "…&& scalecheck inspect a.npz"),
    ("inspect a.tflite", 3, "is a TensorFlow Lite model", "…a.onnx && scalecheck inspect a.onnx"),
    ("inspect a.engine", 3, "is a TensorRT engine", "give the model that it was compiled from"),
    ("inspect a.gif", 3, "is a picture, not a checkpoint", ""),
    ("inspect a.py", 3, "is a script, not a checkpoint", ""),
    ("inspect k.ckpt", 3, "is a TensorFlow checkpoint", "…&& scalecheck inspect k.ckpt.npz"),
    ("inspect saved", 3, "is a TensorFlow SavedModel", "…&& scalecheck inspect saved.onnx"),
    (
        "inspect z.zip",
        3,
        "is a zip of 1 member",
        "…unzip z.zip -d z && scalecheck inspect z/w/model.safetensors",
    ),
    ("inspect t.zip", 3, "is a zip of 1 member that torch.save did not write", ""),
    (
        f"inspect {M} --match mlp",
        2,
        "matches none of 4 tensors; '*mlp*' matches 2",
        f"scalecheck inspect {M} --match '*mlp*'",
    ),
    (
        f"inspect {M} --match '.*mlp.*'",
        2,
        "matches none of 4",
        f"scalecheck inspect {M} --match '*mlp*'",
    ),
    (f"inspect {M} --match=MLP", 2, "matches none of 4", f"scalecheck inspect {M} '--match=*mlp*'"),
    (
        f"inspect {M} --match '^layers\\.\\d+\\.mlp'",
        2,
        "matches none",
        f"scalecheck inspect {M} --match 'layers.*.mlp.*'",
    ),
    (
        f"inspect {M} --exclude norm",
        2,
        "matches none",
        f"scalecheck inspect {M} --exclude '*norm*'",
    ),
    (
        f"inspect {M} --match '*conv*'",
        2,
        "matches none of 4 tensors",
        "a glob matches whole names, such as layers…",
    ),
    (
        f"inspect {M} --by layers",
        2,
        "not known; did you mean layer?",
        f"scalecheck inspect {M} --by layer",
    ),
    (
        f"inspect {M} --sort rmss",
        2,
        "no such column; did you",
        f"scalecheck inspect {M} --sort rms",
    ),
    (
        f"inspect {M} --columns name,,rms",
        2,
        "has an empty name",
        f"scalecheck inspect {M} --columns name,rms",
    ),
    (
        f"translate {M}",
        2,
        "no optimizer state with an lr was found",
        f"…: scalecheck translate {M} --lr 3e-4",
    ),
    (
        f"translate {M} 3e-4",
        2,
        "is not a checkpoint; an lr stands",
        f"scalecheck translate {M} --lr=3e-4",
    ),
    (
        f"translate 3e-4 {M}",
        2,
        "is not a checkpoint; an lr stands",
        f"scalecheck translate --lr=3e-4 {M}",
    ),
    (
        f"translate {M} --target 5",
        2,
        "is 500 % per step; must be below",
        f"scalecheck translate {M} --target 5%",
    ),
    (f"translate {M} --target 500%", 2, "is 500 % per step", ""),
    (
        f"translate {M} --target 0,1%",
        2,
        "must be a percentage such as",
        f"scalecheck translate {M} --target 0.1%",
    ),
    (
        f"translate {M} --lr 1 --steps 1k",
        2,
        "expected a whole number",
        f"scalecheck translate {M} --lr 1 --steps 1000",
    ),
    (
        f"translate {M} --lr 1 --steps 2,000",
        2,
        "expected a whole",
        f"scalecheck translate {M} --lr 1 --steps 2000",
    ),
    (
        f"translate {M} --lr 1 --steps 1e3",
        2,
        "expected a whole",
        f"scalecheck translate {M} --lr 1 --steps 1000",
    ),
    (
        f"translate {M} --lr 1 --warmup 5",
        2,
        "need --steps",
        f"…: scalecheck translate {M} --lr 1 --warmup 5 --steps 1000",
    ),
    (
        f"translate {M} --like two/a.safetensors",
        2,
        "needs --lr",
        f"…: scalecheck translate {M} --like two/a.safetensors --lr 3e-4",
    ),
    (
        f"translate {M} --lr 1 --state two/a.safetensors",
        3,
        "has no optimizer state",
        f"…: scalecheck translate {M} --lr 1",
    ),
    (
        f"translate {M} --lr 1 --output no/x.csv",
        2,
        "no such file",
        "…mkdir -p no && scalecheck translate …",
    ),
    (
        "translate --lr 1 --shape a=4x4",
        2,
        "needs --assume",
        "…: scalecheck translate --lr 1 --shape a=4x4 --assume torch",
    ),
    (
        f"diff {M} two/a.safetensors --lr 1",
        2,
        "needs --steps",
        f"…: scalecheck diff {M} two/a.safetensors --lr 1 --steps 1000",
    ),
    (
        f"diff {M}",
        2,
        "the second checkpoint is missing",
        f"for example scalecheck diff {M} after.safetensors",
    ),
    (
        f"check {M} --baseline other.json",
        3,
        "is no report of scalecheck",
        "write it with scalecheck inspect …",
    ),
    (
        f"check {M} --baseline {M}",
        3,
        "is no report of scalecheck",
        f"scalecheck inspect {M} --format json --output {M}.json && "
        f"scalecheck check {M} --baseline {M}.json",
    ),
    (M, 2, "is not a command; the command stands first", f"scalecheck inspect {M}"),
    (f"{M} translate --lr 1", 2, "is not a command; the", f"scalecheck translate {M} --lr 1"),
    (
        f"inspect {M} two/a.safetensors",
        2,
        "inspect reads one checkpoint",
        f"…: scalecheck diff {M} two/a.safetensors",
    ),
]
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
