"""Codes of quantised weights are SC107 under the names of many quantisers, with their factors or
without, at any depth of a name, and no output has a figure of them."""

import json
import re

import pytest
import torch
from checked import found, noise, report, saved
from command import scalecheck

from scalecheck.report.report import renderers_for

pytestmark = pytest.mark.usefixtures("elsewhere")

I8, U8, I32, F8 = torch.int8, torch.uint8, torch.int32, torch.float8_e4m3fn
# The words of codes and of a factor beside them, None where there is none, and types of the codes.
NAMES = {
    "mxfp4 of gpt-oss": ("mlp.experts.gate_up_proj_blocks", "mlp.experts.gate_up_proj_scales", U8),
    "mxfp4 as published": ("mlp.mlp1_weight.blocks", "mlp.mlp1_weight.scales", U8),
    "mxfp4 without scales": ("mlp.mlp2_weight.blocks", None, U8),
    "torchao": ("q.weight.qdata", "q.weight.scale", I8),
    "torchao without scales": ("q._weight_qdata", None, F8),
    "torchao's older": ("q.weight.tensor_impl.int_data", "q.weight.tensor_impl.scale", I8),
    "torchao's subclass": ("q.weight.parametrizations.weight.original0", None, I8),
    "quanto": ("q.weight._data", "q.weight._scale", I8),
    "quanto without scales": ("q.weight._data", None, F8),
    "quanto's packed": ("q.weight._data._data", None, U8),
    "gptq": ("q.qweight", "q.scales", I32),
    "gptq without scales": ("q.qweight", None, I32),
    "marlin": ("q.B", "q.s", I32),
    "compressed-tensors": ("q.weight_packed", "q.weight_scale", I32),
    "bitsandbytes": ("q.weight", "q.SCB", I8),
    "bitsandbytes without factors": ("q.weight", None, U8),
    "hqq": ("q.W_q", "q.scale", U8),
    "aqt": ("dense.kernel.qvalue", "dense.kernel.scale", I8),
    "a table of values": ("q.indices", "q.lut", U8),
    "experts": ("mlp.experts.gate_up_proj", None, I8),
    "a name of its own": ("q.weight_int8", "q.weight_scale", I8),
    "a name that is not known": ("fc1.storage", None, I8),
    "bytes of a name that is not known": ("fc1.storage", None, U8),
    "words of a name that is not known": ("fc1.storage", None, I32),
}
DEPTHS = ("", "model.layers.0.", "module._orig_mod.net.3.")


def numbers_of_codes(dtype):
    """Codes of 64 rows, and what a figure of them would be at its first three digits."""
    codes = torch.arange(64 * 64, dtype=torch.float64).reshape(64, 64) % 113
    figures = (
        codes.square().mean().sqrt(),
        codes.mean(),
        codes.std(correction=0),
        codes.abs().max(),
    )
    return codes.to(dtype), [f"{float(x):.4g}" for x in figures]


@pytest.fixture(params=NAMES)
def quantised(request):
    word, factor, dtype = NAMES[request.param]
    codes, figures = numbers_of_codes(dtype)

    def file(depth):
        tensors = {depth + word: codes, "final.weight": noise(8, 8)}
        if factor:
            tensors[depth + factor] = torch.full((7, 3), 2e-3)  # fits none of them
        return saved(tensors), depth + word

    return file, figures


@pytest.mark.parametrize("depth", DEPTHS)
def test_codes_fail_the_check_at_any_depth(quantised, depth):
    path, name = quantised[0](depth)
    assert found(path) == [("SC107", name)]
    (row,) = report(path, code=1)["findings"]
    assert row["severity"] == "error"


@pytest.mark.parametrize("command", ["inspect", "translate", "diff", "check"])
def test_no_format_of_any_command_has_a_figure_of_codes(quantised, command):
    file, figures = quantised
    path, name = file("")
    options = {"translate": ("--lr", "1e-4"), "diff": (path,), "check": ("--lr", "1e-4")}
    for form in renderers_for(command):
        done = scalecheck(command, path, *options.get(command, ()), "--format", form)
        assert done.code in (0, 1), done.err
        numbers = set(re.findall(r"[\d.]+(?:e[+-]\d+)?", done.out))
        assert not numbers & set(figures), form
    if command in ("inspect", "diff"):
        rows = json.loads(
            scalecheck(command, path, *options.get(command, ()), "--format", "json").out
        )
        figured = [k for r in rows["rows"] if r["name"] == name for k in r if k.startswith("rms")]
        assert all(r[k] is None for r in rows["rows"] if r["name"] == name for k in figured)


OTHERS = {
    "a causal mask": {"attn.bias": torch.tril(torch.ones(1, 1, 64, 64, dtype=U8))},
    "a mask": {"attn_mask": torch.ones(64, 64, dtype=U8)},
    "positions": {"emb.position_ids": torch.arange(512, dtype=I32)[None]},
    "tokens": {"token_ids": torch.ones(64, 64, dtype=I32)},
    "places": {"attn.relative_position_index": torch.ones(64, 64, dtype=torch.int64)},
    "a random state": {"rng_state": torch.ones(5056, dtype=U8)},
    "a graph": {"edge_index": torch.ones(2, 640, dtype=I32)},
    "few bytes in a large model": {
        "fc.flags_of_something": torch.ones(64, 64, dtype=U8),
        "w.weight": noise(80, 80),
    },
}


@pytest.mark.parametrize("what", OTHERS)
def test_integers_that_say_what_else_they_are_pass(what):
    assert found(saved({"fc.weight": noise(32, 32)} | OTHERS[what])) == []


def test_fp8_weights_that_need_no_factor_are_measured():
    path = saved({"attn.w_q": noise(64, 64).to(F8), "fc.weight": noise(64, 64).to(F8)})
    assert found(path, "--select", "SC107") == []
