"""`inspect` and `check` agree on what is wrong with a checkpoint: the flags of the one are the
findings of SC101, SC102 and SC104 of the other."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from real_checkpoints import real_file

import scalecheck

RULES = {"nan": "SC101", "inf": "SC101", "all_zero": "SC102", "outlier": "SC104"}
ROOT = Path(__file__).parent
SAMPLES = [
    path
    for folder in (ROOT.parent / "sample_ckpts", ROOT / "data" / "samples")
    for path in sorted(folder.iterdir())
    if path.suffix not in (".json", ".md", ".py") and not path.name.startswith("_")
]
KINDS = {
    "blocks.{}.attn.q.weight": (8, 8),
    "blocks.{}.ln1.weight": (8,),
    "blocks.{}.ln1.bias": (8,),
    "blocks.{}.attn.attn_mask": (4, 4),
    "blocks.{}.q.lora_B.weight": (8, 2),
    "blocks.{}.q.lora_A.weight": (2, 8),
    "blocks.{}.bn.running_var": (8,),
}


def flagged(checkpoint):
    rows = scalecheck.inspect(checkpoint).rows
    return {(row["name"], RULES[flag]) for row in rows for flag in row["flags"] if flag in RULES}


def found(checkpoint):
    report = scalecheck.check(checkpoint, select=[*RULES.values()], state="none")
    return {(finding.where, finding.rule) for finding in report.findings}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_flags_are_findings_of_every_sample(path):
    assert flagged(path) == found(path)


def test_flags_are_findings_of_a_checkpoint_with_an_untrained_layer():
    files = json.loads((ROOT / "data" / "checkpoints-truth.json").read_text("utf-8"))["files"]
    (file,) = [file for key, file in files.items() if key.startswith("chgnet") and "0.3.0" in key]
    path = real_file(file["package"], file["file"])
    assert flagged(path) == found(path) != set()


@given(
    st.dictionaries(
        st.tuples(st.sampled_from([*KINDS]), st.integers(0, 5)),
        st.sampled_from([0.0, 1.0, 1.0, 1.0, 3.0, 8.0, 50.0, 1e-3, np.nan, np.inf]),
        min_size=1,
    )
)
def test_flags_are_findings_of_any_model(factors):
    base = np.linspace(0.5, 1.5, 64, dtype=np.float32)
    model = {
        kind.format(block): (base[: int(np.prod(KINDS[kind]))] * factor).reshape(KINDS[kind])
        for (kind, block), factor in factors.items()
    }
    assert flagged(model) == found(model)


def test_a_bias_of_zeros_and_the_inf_of_a_mask_are_no_faults():
    model = {
        "w.weight": torch.ones(8, 8) / 3,
        "w.bias": torch.zeros(8),
        "attn_mask": torch.full((4, 4), -torch.inf),
    }
    assert flagged(model) == found(model) == set()


def test_a_tied_tensor_is_told_once():
    weight = torch.full((8, 8), torch.nan)
    model = {"emb.weight": weight, "head.weight": weight}
    assert flagged(model) == found(model) == {("emb.weight", "SC101")}
