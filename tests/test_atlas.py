"""Every published recipe through `check`: what it says of what worked, and of what did not.

`python tests/test_atlas.py` prints the recipes by phase and by the gravest that is found.
"""

import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from atlas_checkpoints import NOT_HERE, write
from checked import report
from tabulate import tabulate

from scalecheck.recipes.recipe import Recipe, load

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
