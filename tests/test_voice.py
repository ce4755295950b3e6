"""Sentences that were read twice: the tool, its help and its manual say none of them any more."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXTS = [
    *ROOT.glob("scalecheck/**/*.py"),
    *ROOT.glob("scalecheck/**/*.toml"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("docs/**/*.svg"),
    *ROOT.glob("*.md"),
    *ROOT.glob("sample_ckpts/*.md"),
    *ROOT.glob("benchmarks/*.md"),
]
RIDDLES = (
    "moves adam as g does",
    "the contrast differs as it should",
    "updates are as its gradients",
    "lead one to expect",
    "times apart",
    "half an ULP of their type exceeds",
    "of all elements stall",
    "are out of the typical band",
    "brings every tensor in",
    "the last update measured has RMS",
    "where noise gives",
    "as no optimizer state says it for certain",
    "none for none",
    "what lies with the checkpoint if absent",
    "what an lr is to them",
    "lr for every element, a later one",
    "is no selection among states",
    "is a house of floors",
    "of itself a step",
    "of themselves a step",
    "what update to expect of it is not solved",
    "which is not certain, so none has an update",
    "taken for adamw, --optimizer says otherwise",
    "as which state is theirs is not certain",
    "fit those of the model in no order",
    "carries B·A is not solved",
    "before the first step: B·A is zero",
)


@pytest.mark.parametrize("riddle", RIDDLES)
def test_no_text_says_it(riddle):
    pattern = re.compile(r"\s+".join(map(re.escape, riddle.split())))
    split = re.compile(r'"\s*\n\s*f?"')  # of a sentence over several lines of code
    said = [
        str(path.relative_to(ROOT))
        for path in TEXTS
        if pattern.search(split.sub("", path.read_text("utf-8")))
    ]
    assert not said
