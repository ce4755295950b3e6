"""Writes the manual anew: the pages and parts that come from the code, the output of every command
in its console blocks, and its screenshots.

python docs/make.py
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from inspect import cleandoc
from pathlib import Path

import console_blocks
import screenshots
from recipe_pages import cell, recipes, suggest

from scalecheck import registry
from scalecheck.cli.command import Command
from scalecheck.cli.main import COMMANDS, REFERENCE, reference
from scalecheck.docstring import docstring
from scalecheck.laws import layers, sweep, update_size, weight_scale
from scalecheck.laws.replay import claim, overview
from scalecheck.measure import adapted, adapted_change
from scalecheck.measure import columns as inspection
from scalecheck.measure.initial_scale import INIT
from scalecheck.optimizers.contract import Gradient, NoFormula
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
ALL = (*COMMANDS, *map(reference, REFERENCE))

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
        ("drawn in tables", [displacement.BAR]),
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
    "rules": [("`rules`", rule_pages.COLUMNS)],
    "optimizers": [("`optimizers`", optimizer_pages.COLUMNS)],
    "simulate": [
        ("`claims`", claim.COLUMNS),
        ("`replay`", update_size.COLUMNS),
        ("`cases`", weight_scale.COLUMNS),
        ("`layers`", layers.COLUMNS),
        ("`sweep`, with `--sweep`", sweep.COLUMNS),
        ("`optimizers`, with `--optimizer all`", overview.COLUMNS),
        ("drawn in the table of `--sweep`", [sweep.CHART]),
    ],
}


WRITTEN = "<!-- What follows is written by docs/make.py. -->\n"


def pages() -> dict[str, str]:
    """Every page that the code has a part in, by its file's name."""
    return {
        **{f"commands/{command.name}.md": _command_page(command) for command in ALL},
        "encodings.md": "\n".join(_encodings()) + "\n",
        "optimizers.md": "\n".join(_optimizers()) + "\n",
        "recipes.md": "\n".join(recipes()) + "\n",
        "rules.md": "\n".join(_rules()) + "\n",
        "suggest.md": "\n".join(suggest()) + "\n",
    }


def _command_page(command: Command) -> str:
    """The page of a command: what is written by hand, which is kept, then options and fields."""
    path = FOLDER / "commands" / f"{command.name}.md"
    page = path.read_text("utf-8") if path.exists() else f"# {command.name}\n\n"
    return page.partition(WRITTEN)[0] + WRITTEN + "\n".join(_command(command)) + "\n"


def _command(command: Command) -> Iterator[str]:
    yield "\n## Options\n"
    yield f"{command.help}\n"
    yield "| Option | What it does |"
    yield "|---|---|"
    for option in command.options.values():
        yield f"| `{option.usage}` | {cell(option.description)} |"
    if fields := FIELDS.get(command.name):
        yield "\n## Fields\n"
        yield (
            "`--columns` and `--sort` take the names of fields, which JSON and CSV use too. The "
            "second column is the head of the field in tables."
        )
        for title, columns in fields:
            yield f"\n{title[0].upper()}{title[1:]}:\n"
            yield "| Field | In tables | What it is |"
            yield "|---|---|---|"
            for column in columns:
                yield f"| `{column.name}` | {cell(column.title)} | {cell(column.help)} |"


def _encodings() -> Iterator[str]:
    yield "# Quantised weights\n"
    yield (
        "Written by `docs/make.py` from the encodings' own files. scalecheck decodes a weight when "
        "its codes and factors are all there and fit each other. All commands then show, judge and "
        "compare the numbers that the codes stand for, under the weight's name in its module. "
        "Where the tensors alone allow two readings, `config.json` beside the file decides. Where "
        "it does not, the codes are not measured, and the reason says what does not fit. `--raw` "
        "shows what is stored.\n"
    )
    for name in registry.names("encoding"):
        module = registry.load("encoding", name)
        yield f"## {name}\n"
        yield f"{docstring(module)}\n"
        yield f"Tensors and numbers: {module.HOLDS}.\n"


def _optimizers() -> Iterator[str]:
    yield "# Optimizers\n"
    yield (
        "Written by `docs/make.py` from the optimizers' own files. `--optimizer` takes these "
        "names. Hyperparameters and their defaults are torch.optim's where torch has the "
        "optimizer.\n"
    )
    yield (
        "- *u* is the RMS of an update in the steady state, at lr 1, of a 64×64 matrix of rms 1 "
        "whose gradients have no mean. For an optimizer that does not settle by step 1,000 it is "
        "the update of that step.\n"
        "- *p* is the exponent of the reparameterization y = (w'/k)·x. Weights k times larger "
        "train alike at lr' = k^p·lr, with the other settings scaled as the last column says.\n"
    )
    yield "| Optimizer | u | p | scaled beside |"
    yield "|---|---|---|---|"
    for name in registry.names("optimizer"):
        optimizer = registry.load("optimizer", name).Optimizer()
        weights, gradient = (1.0, (64, 64)), Gradient(None)
        step, _ = unless_settled(optimizer, 1e-3, *weights, gradient, None)
        expected, reason = expected_update(optimizer, *weights, gradient, step)
        update = number(expected) or cell(reason)
        update += f" at step {step:,}" if step else ""
        try:
            law = optimizer.reparameterization()
            beside = ", ".join(f"{what}·k^{power}" for what, power in law.exponents.items())
            yield f"| [`{name}`](#{name}) | {update} | {law.lr_exponent} | {beside} |"
        except NoFormula as refusal:
            yield f"| [`{name}`](#{name}) | {update} | none: {cell(str(refusal))} | |"
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


def _over_a_run() -> Iterator[str]:
    """What --steps says of each optimizer."""
    yield "\n## Over a run\n"
    yield (
        "What `--steps 1000 --lr 1e-3` forecasts for a matrix of rms 1 whose gradients are noise "
        "of RMS 1. *Noise* is how far the run moves it, over its rms. *Equilibrium rms* is the "
        "scale that updates and a weight decay of 0.1 settle at. In real AdamW runs 9 of 10 "
        "tensors moved 0.3 to 4 times as far as noise, and real runs reach 0.26 to 3.8 times the "
        "equilibrium.\n"
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
        yield f"| [`{name}`](#{name}) | {cell(walk)} | {cell(held)} |"


def _rules() -> Iterator[str]:
    yield "# Rules\n"
    yield (
        "Written by `docs/make.py` from the rules' own files. `scalecheck rules CODE` "
        "prints the part of one rule. `[limits.CODE]` in the configuration changes the limits of a "
        "rule, `[[override]]` those for some tensors. In the examples `noise` draws normal weights "
        "of rms 0.02.\n"
    )
    yield "| Code | Name | Severity | Finds | Needs |"
    yield "|---|---|---|---|---|"
    for code, entry in registered().items():
        needs = ", ".join(rule_pages.needs(entry))
        name = f"[`{entry.name}`](#{code.lower()}-{entry.name})"
        yield f"| {code} | {name} | {entry.rule.severity} | {entry.summary} | {needs} |"
    for entry in registered().values():
        yield from rule_pages.markdown(entry)


def main() -> None:
    """Writes every page, then its console blocks, then the screenshots."""
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")
    for page in console_blocks.PAGES:
        text = page.read_text("utf-8")
        if (anew := console_blocks.rewritten(text)) != text:
            page.write_text(anew, "utf-8")
    for path, command in screenshots.images():
        path.write_text(screenshots.screenshot(command), "utf-8")


if __name__ == "__main__":
    main()
