"""The published recipes: what is stored, what follows from it, and the table of ranges."""

import math
from dataclasses import fields

import numpy as np
import pytest

from scalecheck.recipes.nearest import members, nearest, width
from scalecheck.recipes.quantities import FAMILIES, quantities, schedule
from scalecheck.recipes.ranges import ANY, RANGES, published
from scalecheck.recipes.recipe import DOMAINS, PHASES, Recipe, failures, load

COLUMNS = (
    "first",
    "start",
    "residual_start",
    "warm",
    "equilibrium_total",
    "equilibrium",
    "end",
    "drift",
    "walk",
    "decay_time",
)
IN_PERCENT = frozenset(COLUMNS[:7])
# As computed before by other code, with Adam's update to the second order of 1−beta2.
FIGURES = {
    "nanoGPT GPT-2 124M": (3, 0.677, 3.32, 0.547, 1.1, 0.247, 0.066, 9.9e03, 14.8, 20),
    "nanoGPT shakespeare-char": (5, 1.14, 3.96, 1.1, 1.41, 0.323, 0.055, 137, 2.24, 0.27),
    "modded-nanogpt Muon (2024-12-04)": (
        *(8.66, 8.66, None, 8.21, None, None, 0.012, 107, 18.2, 0),
    ),
    "Moonlight AdamW baseline 399M": (15.8, 3.58, None, 1.58, 1.38, 0.311, 0.046, 984, 10.7, 0.59),
    "OPT-125M": (10, 2.26, 11.1, 1.05, 1.1, 0.247, 0.058, 3.15e04, 46, 19),
    "Pythia 14M": (1.79, 0.404, 0.766, 0.401, 1.41, 0.319, 0.068, 1.41e03, 4.29, 7.9),
    "GPT-NeoX-20B": (1.2, 0.271, 3.78, 0.262, 0.139, 0.0315, 0.0091, 991, 2.96, 0.08),
    "BLOOM-176B": (1.25, 0.282, 3.34, 0.242, 0.346, 0.0782, 0.012, 788, 2.68, 0.38),
    "LLaMA-1 7B": (1.5, 0.339, None, 0.323, 0.775, 0.175, 0.031, 2.06e03, 4.76, 4.1),
    "OLMo 2 7B": (1.5, 0.339, 0.339, 0.317, 0.775, 0.175, 0.044, 7.66e03, 9.18, 15),
    "MPT-70B (llm-foundry)": (0.512, 0.116, 1.46, 0.115, None, None, 0.0054, 940, 1.88, 0),
    "SmolLM1-135M": (7.21, 1.63, None, 0.629, 0.775, 0.175, 0.017, 1.3e05, 94.9, 54),
    "BERT base": (0.5, 0.115, None, 0.11, 0.141, 0.0324, 0.00051, 2.5e03, 2.89, 0.5),
    "BERT large, LAMB phase 1": (0.6, 0.6, None, 0.6, None, None, 0.07, 26.2, 0.339, 0.26),
    "wav2vec 2.0 large (LV-60k config)": (
        *(25, 5.69, None, 0.289, 1, 0.227, 0.0065, 1.25e05, 144, 25),
    ),
    "ViT-B/32 GSAM": (13.1, 3.01, None, 1.05, 4.47, 1.03, 0.033, 6.22e03, 23.4, 47),
    "DINOv2 ViT-L/16 (ImageNet default)": (
        *(28.3, 6.49, None, 0.553, 2.13, 0.488, 0.00021, 1.77e04, 60.9, 14),
    ),
    "Lion ViT-B/16 ImageNet": (0.438, 0.438, None, 0.677, 4.47, 0.66, 0.0007, 206, 5.54, 47),
    "Barlow Twins ResNet-50 (LARS)": (
        *(0.16, 0.367, None, 0.367, None, None, 0.00037, 501, 7.75, 0.5),
    ),
    "nnU-Net v2 (SGD)": (None, None, None, None, 0.775, 0.0549, None, None, None, None),
    "DiT-XL/2": (0.537, 0.123, None, 0.12, None, None, 0.0086, 3.76e04, 14.2, 0),
    "OLMo 2 7B stage 2 (anneal)": (
        *(0.307, 0.0694, None, 0.0694, None, None, 0.0007, 18.3, 0.194, 0.037),
    ),
    "Tulu 3 8B SFT": (0.025, 0.00573, *[None] * 8),
    "RoBERTa MNLI": (0.02, 0.00455, None, 0.00457, None, None, 5.1e-05, 12.4, 0.0406, 0.062),
    "torchtune Llama-3.1 8B full DPO": (
        *(0.1, 0.0229, None, 0.0229, None, None, 5.7e-06, 0.5, 0.0193, 0.0005),
    ),
    "Tulu 3 8B PPO (RLVR)": (0.0015, 0.000344, *[None] * 8),
    "Guanaco-7B QLoRA": (0.018, 0.00414, None, None, None, None, None, 0.338, 0.00781, None),
    "torchtune Qwen2 0.5B LoRA": (2.18, 0.5, *[None] * 8),
    "OpenHermes DPO LoRA": (
        *(9.02e-05, 2.07e-05, None, None, None, None, None, 0.00177, 3.46e-05, None),
    ),
}


def named(name: str) -> Recipe:
    return next(recipe for recipe in load() if recipe.name == name)


def test_every_recipe_says_where_it_was_read_and_what_of_it_was_not():
    names = [recipe.name for recipe in load()]
    assert (len(names), len(set(names))) == (233, 233)
    assert sum(recipe.verified for recipe in load()) == 225
    known = {field.name for field in fields(Recipe)}
    for recipe in load():
        assert recipe.source
        assert recipe.phase in PHASES
        assert recipe.domain in DOMAINS
        assert recipe.verified == (recipe.seen in {"primary", "transcription"})
        assert known >= {*recipe.not_seen}
        assert recipe.verified <= ("lr" not in recipe.not_seen)
        assert 0 < recipe.lr < 10


def test_an_adapter_says_all_three_of_its_sizes_and_others_none():
    sizes = [(r.lora_r, r.lora_alpha, r.lora_n) for r in load()]
    assert sum(all(each) for each in sizes) == 31
    assert all(all(each) or not any(each) for each in sizes)


def test_failures_say_what_happened_and_where_that_was_read():
    assert len(failures()) == 19
    assert all(failure.what and failure.source for failure in failures())


@pytest.mark.parametrize("name", FIGURES)
def test_quantities_agree_with_those_computed_before(name):
    found = quantities(named(name))
    for column, figure in zip(COLUMNS, FIGURES[name], strict=True):
        value = getattr(found, column)
        if figure is None:
            assert value is None, column
        else:
            assert value is not None, column
            value *= 100 if column in IN_PERCENT else 1
            digits = len(f"{figure:g}".split("e")[0].replace(".", "").strip("0"))
            tolerance = 0.05 if digits < 3 else 0.008
            assert value == pytest.approx(figure, rel=tolerance, abs=1e-9), column


def test_an_adapters_step_is_that_of_full_fine_tuning_at_the_equivalent_lr():
    recipe = named("Zephyr-7B SFT QLoRA")
    found = quantities(recipe)
    assert found.lr_equivalent == pytest.approx(7.2e-6, rel=0.01)
    assert found.first == found.lr_equivalent / recipe.start_rms
    assert found.adapter_half == pytest.approx(recipe.lr * 0.2293 * math.sqrt(3 * 4096), rel=1e-3)


@pytest.mark.parametrize("recipe", [r for r in load() if r.steps], ids=lambda recipe: recipe.name)
def test_a_schedule_has_its_peak_at_the_lr_and_ends_near_its_last(recipe):
    lrs = schedule(recipe)
    assert max(lrs) <= recipe.lr * (1 + 1e-12)
    assert max(lrs) >= recipe.lr * 0.99
    assert min(lrs) >= 0


@pytest.mark.parametrize(
    "of", [*RANGES, ANY], ids=lambda r: f"{r.quantity}-{r.phases[0]}-{r.family}"
)
def test_a_range_is_what_its_recipes_say(of):
    found = members(of)
    values = [value for value, _ in found]
    assert (of.recipes, of.sources) == (len(found), len({r.origin for _, r in found}))
    for share, said in ((5, of.p5), (50, of.p50), (95, of.p95)):
        assert float(f"{np.percentile(values, share):.3g}") == said
    outside = [recipe.name for value, recipe in found if of.place(value) != "inside"]
    assert len(outside) <= (0.05 if not of.domain else 0.12) * len(found), outside
    if of.error is not None:
        assert max(values) < of.error
        assert of.error > of.high


def test_places_are_told_by_the_ends_of_a_range():
    start = published("start", "pretrain", "adam")
    assert start is not None
    assert [start.place(x) for x in (1e-4, 1e-3, 0.05, 0.06)] == [
        *("below", "inside", "inside", "above"),
    ]
    assert start.times_outside(0.1) == 2
    assert start.times_outside(5e-4) == 2
    assert start.times_outside(0.01) == 1
    assert start.times_outside(0) == math.inf


def test_few_recipes_give_no_range():
    assert published("start", "pretrain", "sign") is None
    assert published("start", "rl", "muon") is None


def test_adapters_have_ranges_of_their_own():
    full, adapter = (published("start", "finetune", "adam", is_adapter=x) for x in (False, True))
    assert full is not None
    assert adapter is not None
    assert full != adapter


def test_the_nearest_recipes_are_those_of_the_nearest_width():
    found = nearest("pretrain", "adam", 768, "lm")
    assert {recipe.d_model for recipe in found} == {768}
    assert "nanoGPT GPT-2 124M" in [recipe.name for recipe in found]
    wide = nearest("pretrain", "adam", 100_000, "lm", count=3)
    assert [recipe.d_model for recipe in wide] == sorted(
        (r.d_model for r in load() if r.verified and r.domain == "lm" and r.d_model), reverse=True
    )[:3]
    assert {r.domain for r in nearest("pretrain", "adam", 768, "vision", count=2)} == {"vision"}


def test_the_nearest_adapters_are_told_by_the_inputs_of_their_matrices():
    found = nearest("finetune", "adam", 896, is_adapter=True, count=1)
    assert [width(recipe) for recipe in found] == [896]
    assert all(recipe.is_adapter for recipe in found)


def test_no_recipe_from_memory_is_near_or_in_a_range():
    every = nearest("pretrain", "adam", count=1000)
    assert all(recipe.verified for recipe in every)
    assert {FAMILIES[recipe.optimizer] for recipe in every} == {"adam"}
    assert all(recipe.verified for of in RANGES for _, recipe in members(of))
