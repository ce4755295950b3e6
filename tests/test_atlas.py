"""Every published recipe through `check`: what it says of what worked, and of what did not.

`python tests/test_atlas.py` prints the recipes by phase and by the gravest that is found.
"""

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from atlas_checkpoints import NOT_HERE, Drawn, transformer, write
from checked import report
from safetensors.torch import save_file
from tabulate import tabulate

from scalecheck.recipes.recipe import Failure, Recipe, failures, load

RECIPES = [r for r in load() if r.verified and r.optimizer not in NOT_HERE]
SEVERITIES = ("silent", "note", "warning", "error")
SILENT_SHARE = 0.95  # of verified recipes, without a warning


@cache
def findings(recipe: Recipe) -> tuple[tuple[str, str, str], ...]:
    """The severity, rule and message of each finding of a recipe's checkpoint and run."""
    with tempfile.TemporaryDirectory() as folder:
        judged = report(*write(recipe, Path(folder)))
    return tuple((f["severity"], f["rule"], f["message"]) for f in judged["findings"])


def gravest(recipe: Recipe) -> str:
    found = {severity for severity, *_ in findings(recipe)}
    return next((word for word in reversed(SEVERITIES) if word in found), "silent")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_no_published_recipe_is_an_error(recipe):
    assert [found for found in findings(recipe) if found[0] == "error"] == []


def test_nearly_all_published_recipes_come_out_without_a_warning():
    warned = [r.name for r in RECIPES if gravest(r) in ("warning", "error")]
    assert len(warned) <= (1 - SILENT_SHARE) * len(RECIPES), warned


def failed(name: str) -> Failure:
    (found,) = [failure for failure in failures() if failure.name.startswith(name)]
    return found


def rules(folder: Path, weights: Mapping[str, torch.Tensor], *options: str) -> set[str]:
    save_file(dict(weights), folder / "model.safetensors")
    judged = report(folder / "model.safetensors", *options)
    return {f["rule"] for f in judged["findings"] if f["severity"] != "note"}


def test_the_initialization_of_the_104b_run_is_seen(tmp_path):
    """At a lower relative update than most; 0.006, with which it trained, is silent."""
    run = failed("BigScience 104B, init std 0.02")
    options = ["--lr", str(run.lr), "--beta2", str(run.beta2), "--warmup", "100", "--steps", "1000"]
    for rms, seen in ((run.rms, {"SC111"}), (0.006, set())):
        weights = transformer(run.d_model, rms, rms, Drawn(0, False))
        torches = {name: torch.from_numpy(one) for name, one in weights.items()}
        assert rules(tmp_path, torches, *options) == seen


def test_the_lr_of_the_chatglm_adapter_is_seen(tmp_path):
    run = failed("ChatGLM-6B LoRA")
    own = replace(
        next(r for r in RECIPES if r.is_adapter and r.phase == "finetune"),
        lr=run.lr,
        lora_r=run.lora_r,
        lora_alpha=run.lora_alpha,
        lora_n=run.lora_n,
        d_model=None,
        trained_rms=run.rms,
    )
    judged = report(*write(own, tmp_path))
    assert {f["rule"] for f in judged["findings"] if f["severity"] != "note"} == {"SC201"}


@pytest.mark.parametrize("name", ["Pure bf16 at 6e-6", "Norm weights in pure bf16", "bf16 storage"])
def test_what_pure_bfloat16_rounds_away_is_seen(name, tmp_path):
    run = failed(name)
    generator = torch.Generator().manual_seed(0)
    if run.rms == 1:
        weights = {"norm.weight": torch.ones(768)}
    else:
        weights = {"up.weight": run.rms * torch.randn(256, 256, generator=generator)}
    halves = {key: one.bfloat16() for key, one in weights.items()}
    options = ["--lr", str(run.lr or 1e-5), "--param-dtype", "bf16", "--phase", "finetune"]
    assert rules(tmp_path, halves, *options) == {"SC203"}


def table() -> str:
    counts = {phase: Counter[str]() for phase in dict.fromkeys(_phase(r) for r in RECIPES)}
    for recipe in RECIPES:
        counts[_phase(recipe)][gravest(recipe)] += 1
    rows = [(phase, *(count[word] for word in SEVERITIES)) for phase, count in counts.items()]
    every = ("all", *(sum(count[word] for count in counts.values()) for word in SEVERITIES))
    return tabulate([*rows, every], ("phase", *SEVERITIES), "simple")


def _phase(recipe: Recipe) -> str:
    return f"{recipe.phase}, adapter" if recipe.is_adapter else recipe.phase


if __name__ == "__main__":
    print(table())
    for recipe in RECIPES:
        if gravest(recipe) in ("warning", "error"):
            print(f"{recipe.name}:", *{found[:2] for found in findings(recipe)})
