"""Writes the long pages of the manual from the code that they describe.

python docs/make.py
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from inspect import cleandoc
from pathlib import Path

from scalecheck import registry
from scalecheck.cli.main import COMMANDS, REFERENCE, reference
from scalecheck.docstring import docstring
from scalecheck.laws import layers, sweep, update_size, weight_scale
from scalecheck.laws.replay import claim, overview
from scalecheck.measure import adapted, adapted_change
from scalecheck.measure import columns as inspection
from scalecheck.measure.initial_scale import INIT
from scalecheck.optimizers.contract import Gradient, NoFormula
from scalecheck.recipes import near
from scalecheck.recipes.nearest import members, width
from scalecheck.recipes.placement import NUMBERS, percent, span
from scalecheck.recipes.ranges import ANY, EXTREMES, RANGES
from scalecheck.recipes.recipe import PHASES, failures, load
from scalecheck.report.finding import FINDINGS, IGNORED, RULES
from scalecheck.report.formatting import number
from scalecheck.report.report import Column
from scalecheck.rules.contract import registered
from scalecheck.rules.judging import manual as checking
from scalecheck.rules.judging import pages as rule_pages
from scalecheck.theory.schedule import Schedule
from scalecheck.updates import adapted as adapters
from scalecheck.updates import (
    assumed,
    cast_change,
    columns,
    displacement,
    optimizer_pages,
    precision,
    suggest_report,
)
from scalecheck.updates.expected_step import unless_settled
from scalecheck.updates.forecast import expected_update, schedule_forecast
from scalecheck.updates.history import columns as history
from scalecheck.updates.history import findings as history_findings
from scalecheck.updates.training import Training

FOLDER = Path(__file__).parent

# The fields of each command's JSON, list by list, which are its columns.
FIELDS: dict[str, list[tuple[str, Sequence[Column]]]] = {
    "inspect": [
        ("`rows`, a tensor each", inspection.TENSOR_COLUMNS),
        ("`rows` with `--by`, a group each", inspection.GROUP_COLUMNS),
        ("with `--init`", INIT),
        ("with `--quantiles`", [inspection.QUANTILES_COLUMN]),
        ("`adapted`, the matrices that an adapter adds to", adapted.COLUMNS),
        ("drawn in tables", [inspection.BAR]),
    ],
    "translate": [
        ("`rows`", columns.COLUMNS),
        ("with an optimizer state", columns.STATE),
        ("with `--steps`", columns.SCHEDULE),
        ("with `--cast`", precision.COLUMNS),
        ("with `--target`", columns.TARGET),
        ("with `--like`", columns.LIKE),
        ("with `--to`", columns.TO),
        ("with `--assume`", assumed.ASSUMED),
        ("with `--base`, of the matrices that an adapter adds to", adapters.ADAPTED),
        ("`adapted`, the same of an adapter without `--base`", adapters.STEPS),
        ("`states`, those whose tensor is not certain", columns.STATES),
        ("`scaled`, with `--scale-by`", columns.RESCALED),
        *((f"{name}, with `--suggest`", own) for name, own in suggest_report.FIELDS.items()),
    ],
    "diff": [
        ("`rows`", displacement.COLUMNS),
        ("with `--steps`", displacement.AHEAD),
        ("of two casts to a type of 16 bits or less", cast_change.COLUMNS),
        ("with `--lr` and `--steps`", displacement.EXPECTED),
        ("`adapted`, the matrices that adapters add to", adapted_change.COLUMNS),
    ],
    "history": [
        ("`rows`, a family and checkpoint each", history.POINTS),
        ("`families`, a family each", history.GROUPS),
        ("`checkpoints`, all weights of a checkpoint each", history.CHECKPOINTS),
        ("`findings`", FINDINGS),
        ("`findings_by_family`, those of one kind and family as one", history_findings.TOLD),
    ],
    "check": [
        ("`findings`", FINDINGS),
        ("`ignored`, what the configuration lets pass", IGNORED),
        ("`rules`", RULES),
        ("with `--show-settings`", checking.SETTINGS),
    ],
    "simulate": [
        ("`claims`", claim.COLUMNS),
        ("`replay`", update_size.COLUMNS),
        ("`cases`", weight_scale.COLUMNS),
        ("`layers`", layers.COLUMNS),
        ("`sweep`, with `--sweep`", sweep.COLUMNS),
        ("`optimizers`, with `--optimizer all`", overview.COLUMNS),
        ("drawn in the table of `--sweep`", [sweep.CHART]),
    ],
    "rules": [("`rules`", rule_pages.COLUMNS)],
    "optimizers": [("`optimizers`", optimizer_pages.COLUMNS)],
}


def pages() -> dict[str, str]:
    """Every page by its file's name."""
    return {
        "commands.md": "\n".join(_commands()) + "\n",
        "encodings.md": "\n".join(_encodings()) + "\n",
        "optimizers.md": "\n".join(_optimizers()) + "\n",
        "recipes.md": "\n".join(_recipes()) + "\n",
        "rules.md": "\n".join(_rules()) + "\n",
        "suggest.md": "\n".join(_suggest()) + "\n",
    }


def _commands() -> Iterator[str]:
    yield "# Commands: options and fields\n"
    yield (
        "Written by `docs/make.py` from the commands themselves. Columns of tables, which "
        "`--columns` and `--sort` name, are the fields of JSON and CSV."
    )
    for command in (*COMMANDS, *map(reference, REFERENCE)):
        yield f"\n## {command.name}\n"
        yield f"{command.help}\n"
        yield "| Option | What it does |"
        yield "|---|---|"
        for option in command.options.values():
            yield f"| `{option.usage}` | {_cell(option.description)} |"
        for title, fields in FIELDS.get(command.name, ()):
            yield f"\n{title[0].upper()}{title[1:]}:\n"
            yield "| Field | What it is |"
            yield "|---|---|"
            for column in fields:
                yield f"| `{column.name}` | {_cell(column.help)} |"


def _suggest() -> Iterator[str]:
    yield "# The lr to use\n"
    yield (
        "Written by `docs/make.py` from the recipes themselves. `scalecheck translate PATH "
        "--suggest` looks at a checkpoint's width, kind, phase and optimizer, and says which lr "
        "published recipes near it use. It needs no lr, and no checkpoint: `--shape "
        "wte.weight=50257x768 --suggest` tells a width.\n"
    )
    yield (
        "- **published recipes**: the least, the median and the largest lr of the recipes of the "
        f"same phase, optimizer and kind whose width is within {near.REACHES[0]:g} times, or "
        f"within {near.REACHES[1]:g} where these are fewer than {near.LEAST}. A recipe that does "
        "not say its width is near by its parameters. Where none is near, it says so."
    )
    fit = near.FIT
    yield (
        f"- **fit over width**: lr = {fit.coefficient:g}·width^{fit.exponent:g}, "
        f"{fit.spread:g} times either way, of {fit.recipes} language models of width "
        f"{fit.widths[0]} to {fit.widths[1]} that Adam trained from the start. For other kinds, "
        "phases and optimizers lr does not follow the width closely enough."
    )
    yield (
        "- **published relative update**: the lr that changes this checkpoint's matrices by the "
        "median published share a step, and the lrs of 90 % of recipes."
    )
    yield (
        "- **published first step on W**: of LoRA, the lr whose first step moves W as the median "
        "recipe's, by lr·alpha/√(3·inputs·rank)."
    )
    yield (
        "\n## How far off it is\n\n"
        "Each recipe's lr is predicted from the recipes of other sources, as if it were not "
        "published. The table says how many times the prediction is off, up or down: for half of "
        "the recipes, for 9 of 10, and at worst. Published means that it worked for somebody, not "
        "that it was tuned.\n"
    )
    yield "| Recipes | Prediction | predicted | none near | half within | 9 of 10 within | worst |"
    yield "|---|---|---|---|---|---|---|"
    for one in near.leave_one_out():
        errors = " | ".join(f"{x:.3g}×" for x in (one.middle, one.most, one.worst))
        yield f"| {one.what} | {one.method} | {one.recipes} | {one.untold} | {errors} |"


def _encodings() -> Iterator[str]:
    yield "# Quantised weights that are decoded\n"
    yield (
        "Written by `docs/make.py` from the encodings' own files. A weight whose codes and factors "
        "are all there, and fit each other, is shown, judged and compared as the numbers that they "
        "stand for, under the name that it has in its module. Where the tensors alone leave two "
        "readings, `config.json` beside the file decides; where it does not, the codes are not "
        "measured, and the reason says what does not fit. `--raw` shows what is stored.\n"
    )
    for name in registry.names("encoding"):
        module = registry.load("encoding", name)
        yield f"## {name}\n"
        yield f"{docstring(module)}\n"
        yield f"Tensors and numbers: {module.HOLDS}.\n"


def _optimizers() -> Iterator[str]:
    yield "# Optimizers\n"
    yield (
        "Written by `docs/make.py` from the optimizers' own files. A name is the word of "
        "`--optimizer`; hyperparameters and their defaults are torch.optim's where torch has the "
        "optimizer. *u* is the RMS of a late update at lr 1 of a 64×64 matrix of rms 1, for "
        "gradients without a mean; that of step 1,000 where the optimizer does not settle before "
        "it. Weights k times larger train alike, in y = (w'/k)·x, at "
        "lr' = k^p·lr and what is scaled beside.\n"
    )
    yield "| Optimizer | u | p | scaled beside |"
    yield "|---|---|---|---|"
    for name in registry.names("optimizer"):
        optimizer = registry.load("optimizer", name).Optimizer()
        weights, gradient = (1.0, (64, 64)), Gradient(None)
        step, _ = unless_settled(optimizer, 1e-3, *weights, gradient, None)
        expected, reason = expected_update(optimizer, *weights, gradient, step)
        update = number(expected) or _cell(reason)
        update += f" at step {step:,}" if step else ""
        try:
            law = optimizer.reparameterization()
            beside = ", ".join(f"{what}·k^{power}" for what, power in law.exponents.items())
            yield f"| [`{name}`](#{name}) | {update} | {law.lr_exponent} | {beside} |"
        except NoFormula as refusal:
            yield f"| [`{name}`](#{name}) | {update} | none: {_cell(str(refusal))} | |"
    yield from _over_a_run()
    for name in registry.names("optimizer"):
        module = registry.load("optimizer", name)
        yield f"\n## {name}\n"
        yield f"{docstring(module)}\n"
        if module.Optimizer.__doc__:
            yield f"```text\n{cleandoc(module.Optimizer.__doc__)}\n```\n"
        yield "| Hyperparameter | Default |"
        yield "|---|---|"
        for field, default in vars(module.Optimizer()).items():
            yield f"| `{field}` | {default} |"


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


def _recipes() -> Iterator[str]:
    yield "# Published recipes and their ranges\n"
    yield (
        "Written by `docs/make.py` from `scalecheck/recipes`. SC201, SC202, SC209, SC111 and "
        "`scalecheck translate` judge by these ranges. They hold for hidden matrices, in % per "
        "step, with updates of gradients that are noise: lr·u/rms, u = 0.23 for Adam at betas "
        "(0.9, 0.999).\n"
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
            f"| {', '.join(quantiles)} | {of.recipes} | {of.sources} | {_cell(outside)} |"
        )
    yield (
        "\n`adam` stands for Adam, AdamW and Adafactor with momentum, `relative` for optimizers "
        "whose lr is relative to the weights: LAMB, LARS, Adafactor with relative steps, "
        "hyperball. A value up to 2 times outside is a note, one beyond a warning. `any` is judged "
        "by where the phase is not known; any phase of all optimizers where too few recipes are of "
        "the optimizer.\n"
    )
    yield "## What the ranges do not say\n"
    yield (
        "- They were set on the recipes that they are scored on. Groups of less than 20 recipes "
        "are anecdotes: SGD (6), relative (8), Muon (9, of three sources), preference tuning (12), "
        "RL (14). OPT, Pythia, BLOOM and MPT share GPT-3's table of lrs: sources count more than "
        "recipes.\n"
        "- Published means that it worked for somebody, not that it was tuned.\n"
        "- No source publishes the rms of trained weights. The rows of fine-tuning, preference "
        "tuning, RL and LoRA assume 0.02 for language models, 0.05 for encoders and speech, 0.03 "
        "for vision and diffusion: with weights twice as large they are half as high.\n"
        "- What is said by the model takes gradients without a mean, and weights that grow by "
        "noise and shrink by decay alone. It is right to 3 times, and an estimate from above.\n"
        "- A run inside can fail. Of the failures below the range of a step sees one, its rounding "
        "in bfloat16 three, the gain of the initialization one. What broke the others was fp16, "
        "the batch, the data, or a step that the growth of the weights hides.\n"
    )
    yield "## Failures\n"
    yield "| Run | What happened | Cause | Source |"
    yield "|---|---|---|---|"
    for one in failures():
        words = (one.name, one.what, one.cause, one.source)
        yield f"| {' | '.join(map(_cell, words))} |"
    yield "\n## Recipes\n"
    yield (
        "In parentheses the fields that are not in the source. A recipe from memory is in no range."
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
                f"| {_cell(recipe.name)} | {recipe.optimizer}{adapter} | {recipe.lr:.4g} "
                f"| {width(recipe) or ''} | {recipe.steps or ''} "
                f"| {memory}{_cell(recipe.source)}{unseen} |"
            )


def _over_a_run() -> Iterator[str]:
    """What --steps says of each optimizer."""
    yield "\n## Over a run\n"
    yield (
        "What `--steps 1000 --lr 1e-3` says of a matrix of rms 1 whose gradients are noise of RMS "
        "1: how far noise carries it over its rms, and at weight decay 0.1 its equilibrium rms. "
        "Under AdamW 9 of 10 tensors of real runs moved 0.3 to 4 times as far as noise; real runs "
        "reach 0.26 to 3.8 times the equilibrium.\n"
    )
    yield "| Optimizer | noise | equilibrium rms |"
    yield "|---|---|---|"
    plan = Schedule("constant", 1000)
    for name in registry.names("optimizer"):
        optimizer = registry.load("optimizer", name).Optimizer()
        if hasattr(optimizer, "weight_decay"):
            optimizer = replace(optimizer, weight_decay=0.1)
        found = schedule_forecast(
            Training(name, optimizer, 1e-3), 1.0, (64, 64), plan, Gradient(1.0)
        )
        walk = number(found.random_walk) or found.displacement_reason or ""
        held = number(found.equilibrium_rms) or found.equilibrium_reason or "no weight decay"
        yield f"| [`{name}`](#{name}) | {_cell(walk)} | {_cell(held)} |"


def _rules() -> Iterator[str]:
    yield "# The rules of `scalecheck check`\n"
    yield (
        "Written by `docs/make.py` from the rules' own files; `scalecheck rules CODE` "
        "prints a rule's part. Limits are changed in the configuration's `[limits.CODE]`, for some "
        "tensors in `[[override]]`. In the examples `noise` is normal and of rms 0.02.\n"
    )
    yield "| Code | Name | Severity | Finds | Needs |"
    yield "|---|---|---|---|---|"
    for code, entry in registered().items():
        needs = ", ".join(rule_pages.needs(entry))
        name = f"[`{entry.name}`](#{code.lower()}-{entry.name})"
        yield f"| {code} | {name} | {entry.rule.severity} | {entry.summary} | {needs} |"
    for entry in registered().values():
        yield from rule_pages.markdown(entry)


def _cell(words: str) -> str:
    return words.replace("|", "&#124;")


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")
