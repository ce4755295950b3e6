"""The pages of the manual that are written from the published recipes."""

from collections.abc import Iterator

from scalecheck.recipes import near
from scalecheck.recipes.nearest import members, width
from scalecheck.recipes.placement import NUMBERS, percent, span
from scalecheck.recipes.ranges import ANY, EXTREMES, RANGES
from scalecheck.recipes.recipe import PHASES, failures, load

QUANTITIES = {
    "start": "a step at the peak lr, on the weights as they are",
    "residual_start": "the same of scaled residual outputs",
    "warm": "a step at the end of warm-up, by the model",
    "mid": "a step in the middle of the run, by the model",
    "equilibrium": "a step at the rms that weight decay holds",
    "end": "the last steps, by the model",
    "first": "the first step, with updates of 1",
    "first_step": "the first step of the run, with its warm-up",
    "gain": "rms·√width of the initialization",
    "width_lr": "lr·√width",
    "lr_equivalent": "lr of full fine-tuning that moves W as much",
    "adapter_half": "a step of A",
}


def suggest() -> Iterator[str]:
    yield "# Suggested learning rates\n"
    yield (
        "Written by `docs/make.py` from the recipes themselves. `scalecheck translate PATH "
        "--suggest` reads the width, kind, phase and optimizer of a checkpoint and says which lr "
        "published recipes near it use. It needs no lr. It needs no checkpoint either: `--shape "
        "wte.weight=50257x768 --suggest` gives a width.\n"
    )
    yield (
        "- **Published recipes**: the smallest, median and largest lr of the recipes with the same "
        f"phase, optimizer and kind and a width within {near.REACHES[0]:g} times. With fewer than "
        f"{near.LEAST} such recipes the reach is {near.REACHES[1]:g} times. A recipe without a "
        "width is placed by its number of parameters. Where no recipe is near, the report says so."
    )
    fit = near.FIT
    yield (
        f"- **Fit over width**: lr = {fit.coefficient:g}·width^{fit.exponent:g}, within "
        f"{fit.spread:g} times either way. It is fitted to {fit.recipes} language models of width "
        f"{fit.widths[0]} to {fit.widths[1]} that Adam trained from the start. In other kinds, "
        "phases and optimizers the lr does not follow the width closely enough for a fit."
    )
    yield (
        "- **Published relative update**: the lr that changes the matrices of this checkpoint by "
        "the median published relative update, and the lrs of 90 % of the recipes."
    )
    yield (
        "- **Published first step on W** (LoRA): the lr whose first step moves W as the median "
        "recipe does, lr·alpha/√(3·inputs·rank)."
    )
    yield (
        "\n## Error of the suggestions\n\n"
        "The lr of each recipe is predicted from the recipes of other sources, as if it were not "
        "published. The table says by what factor the prediction is off, up or down, for half of "
        "the recipes, for 9 of 10, and at worst. A published lr worked for somebody; it was not "
        "necessarily tuned.\n"
    )
    yield "| Recipes | Prediction | predicted | none near | half within | 9 of 10 within | worst |"
    yield "|---|---|---|---|---|---|---|"
    for one in near.leave_one_out():
        errors = " | ".join(f"{x:.3g}×" for x in (one.middle, one.most, one.worst))
        yield f"| {one.what} | {one.method} | {one.recipes} | {one.untold} | {errors} |"


def recipes() -> Iterator[str]:
    yield "# Published recipes and their ranges\n"
    yield (
        "Written by `docs/make.py` from `scalecheck/recipes`. SC201, SC202, SC209, SC111 and "
        "`scalecheck translate` judge by these ranges. The ranges hold for hidden matrices and are "
        "in % per step. The update is that of gradients that are noise: lr·u/rms, with u = 0.23 "
        "for Adam at betas (0.9, 0.999).\n"
    )
    yield "| Phase | Optimizers | What | Range | 5, 50, 95 % | Recipes | Sources | Outside |"
    yield "|---|---|---|---|---|---|---|---|"
    for of in dict.fromkeys((*RANGES, *EXTREMES, ANY)):
        found = members(of)
        phases = "any" if of.phases == PHASES else ", ".join(of.phases)
        adapter = "LoRA " if of.is_adapter else ""
        outside = ", ".join(recipe.name for value, recipe in found if of.place(value) != "inside")
        is_share = of.quantity not in NUMBERS
        quantiles = (percent(x) if is_share else f"{x:.3g}" for x in (of.p5, of.p50, of.p95))
        yield (
            f"| {adapter}{phases} | {of.family or 'all'} | {QUANTITIES[of.quantity]} | {span(of)} "
            f"| {', '.join(quantiles)} | {of.recipes} | {of.sources} | {cell(outside)} |"
        )
    yield (
        "\n`adam` stands for Adam, AdamW and Adafactor with momentum. `relative` stands for "
        "optimizers whose lr is relative to the weights: LAMB, LARS, Adafactor with relative "
        "steps, hyperball. A value up to 2 times outside its range is a note, one further outside "
        "a warning. The range `any` judges runs whose phase is not known. Where an optimizer has "
        "too few recipes, the range of all optimizers in any phase judges it.\n"
    )
    yield "## What the ranges do not say\n"
    yield (
        "- The ranges were set on the recipes that they are scored on. Groups of fewer than 20 "
        "recipes are anecdotes: SGD (6), relative (8), Muon (9, of three sources), preference "
        "tuning (12), RL (14). OPT, Pythia, BLOOM and MPT share GPT-3's table of lrs, so the "
        "number of sources counts more than the number of recipes.\n"
        "- A published lr worked for somebody; it was not necessarily tuned.\n"
        "- No source publishes the rms of trained weights. The rows of fine-tuning, preference "
        "tuning, RL and LoRA assume 0.02 for language models, 0.05 for encoders and speech, 0.03 "
        "for vision and diffusion. With weights twice as large the figures halve.\n"
        '- Figures "by the model" assume gradients without a mean, and weights that grow by noise '
        "and shrink by decay alone. The model is right within 3 times, and rather too high.\n"
        "- A run inside its range can fail. The range of a step catches one of the failures below, "
        "rounding in bfloat16 three, the gain of the initialization one. The others broke because "
        "of fp16, the batch, the data, or a step that the growth of the weights hides.\n"
    )
    yield "## Failures\n"
    yield "| Run | What happened | Cause | Source |"
    yield "|---|---|---|---|"
    for one in failures():
        words = (one.name, one.what, one.cause, one.source)
        yield f"| {' | '.join(map(cell, words))} |"
    yield "\n## Recipes\n"
    yield (
        "Parentheses name the fields that are not in the source. Recipes from memory are in no "
        "range."
    )
    for phase in PHASES:
        yield f"\n### {phase}\n"
        yield "| Recipe | Optimizer | lr | Width | Steps | Source |"
        yield "|---|---|---|---|---|---|"
        for recipe in load():
            if recipe.phase != phase:
                continue
            not_seen = recipe.not_seen if recipe.verified else ()
            unseen = f" (not seen: {', '.join(not_seen)})" if not_seen else ""
            memory = "" if recipe.verified else "from memory: "
            adapter = f", r {recipe.lora_r}, alpha {recipe.lora_alpha:g}" if recipe.lora_r else ""
            yield (
                f"| {cell(recipe.name)} | {recipe.optimizer}{adapter} | {recipe.lr:.4g} "
                f"| {width(recipe) or ''} | {recipe.steps or ''} "
                f"| {memory}{cell(recipe.source)}{unseen} |"
            )


def cell(words: str) -> str:
    """The words of a cell of a table in Markdown."""
    return words.replace("|", "&#124;")
