"""`scalecheck check` as tests ask it: small checkpoints, and what is found in them."""

import json
from pathlib import Path

import torch
from command import scalecheck
from safetensors.torch import save_file

FLOATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


def noise(*shape, seed=7):
    return 0.02 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def saved(tensors, name="model.safetensors"):
    save_file(tensors, name)
    return name


def report(*arguments, code=None):
    done = scalecheck("check", *arguments, "--format", "json")
    assert done.err == ""
    if code is not None:
        assert done.code == code
    return json.loads(done.out)


def found(*arguments):
    """Each finding's rule and tensor."""
    return [(row["rule"], row["where"]) for row in report(*arguments)["findings"]]


def rule(findings, code):
    (row,) = [row for row in findings["rules"] if row["rule"] == code]
    return row


def refused(*arguments):
    """The line that says what is wrong with the usage or the configuration."""
    done = scalecheck("check", *arguments)
    assert (done.code, done.out) == (2, ""), done
    return f"{done.problem}\n"


def written(text, name="scalecheck.toml"):
    Path(name).write_text(text, "utf-8")
