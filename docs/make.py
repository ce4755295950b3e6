"""Writes the long pages of the manual from the code that they describe.

python docs/make.py
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from inspect import cleandoc
from pathlib import Path

from scalecheck import registry
from scalecheck.cli.main import COMMANDS
from scalecheck.docstring import docstring
from scalecheck.laws import layers, sweep, update_size, weight_scale
from scalecheck.laws.replay import claim, overview
from scalecheck.measure import adapted, adapted_change
from scalecheck.measure import columns as inspection
from scalecheck.measure.initial_scale import INIT
from scalecheck.optimizers.contract import Gradient, NoFormula
from scalecheck.report.finding import FINDINGS, IGNORED, RULES
from scalecheck.report.formatting import number, setting
from scalecheck.report.report import Column
from scalecheck.rules.contract import NEEDS, registered
from scalecheck.rules.judging import manual as checking
from scalecheck.theory.schedule import Schedule
from scalecheck.updates import adapted as adapters
from scalecheck.updates import assumed, columns, displacement
from scalecheck.updates.forecast import expected_update, schedule_forecast
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
        ("with `--target`", columns.TARGET),
        ("with `--like`", columns.LIKE),
        ("with `--to`", columns.TO),
        ("with `--assume`", assumed.ASSUMED),
        ("with `--base`, of the matrices that an adapter adds to", adapters.ADAPTED),
        ("`adapted`, the same of an adapter without `--base`", adapters.STEPS),
        ("`states`, those whose tensor is not certain", columns.STATES),
        ("`scaled`, with `--scale-by`", columns.RESCALED),
    ],
    "diff": [
        ("`rows`", displacement.COLUMNS),
        ("with `--steps`", displacement.AHEAD),
        ("with `--lr` and `--steps`", displacement.EXPECTED),
        ("`adapted`, the matrices that adapters add to", adapted_change.COLUMNS),
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
}


def pages() -> dict[str, str]:
    """Every page by its file's name."""
    return {
        "commands.md": "\n".join(_commands()) + "\n",
        "encodings.md": "\n".join(_encodings()) + "\n",
        "optimizers.md": "\n".join(_optimizers()) + "\n",
        "rules.md": "\n".join(_rules()) + "\n",
    }


def _commands() -> Iterator[str]:
    yield "# Commands: options and fields\n"
    yield (
        "Written by `docs/make.py` from the commands themselves. Columns of tables, which "
        "`--columns` and `--sort` name, are the fields of JSON and CSV."
    )
    for command in COMMANDS:
        yield f"\n## {command.name}\n"
        yield f"{command.help}\n"
        yield "| Option | What it does |"
        yield "|---|---|"
        for option in command.options.values():
            yield f"| `{option.usage}` | {_cell(option.description)} |"
        for title, fields in FIELDS[command.name]:
            yield f"\n{title[0].upper()}{title[1:]}:\n"
            yield "| Field | What it is |"
            yield "|---|---|"
            for column in fields:
                yield f"| `{column.name}` | {_cell(column.help)} |"


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
        "gradients without a mean. Weights k times larger train alike, in y = (w'/k)·x, at "
        "lr' = k^p·lr and what is scaled beside.\n"
    )
    yield "| Optimizer | u | p | scaled beside |"
    yield "|---|---|---|---|"
    for name in registry.names("optimizer"):
        optimizer = registry.load("optimizer", name).Optimizer()
        expected, reason = expected_update(optimizer, 1.0, (64, 64), Gradient(None))
        update = number(expected) or _cell(reason)
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


def _over_a_run() -> Iterator[str]:
    """What --steps says of each optimizer."""
    yield "\n## Over a run\n"
    yield (
        "What `--steps 1000 --lr 1e-3` says of a matrix of rms 1 whose gradients are noise of RMS "
        "1: how far noise carries it over its rms, and at weight decay 0.1 its equilibrium rms. "
        "Under AdamW 9 of 10 tensors of real runs moved 0.3 to 4 times as far as noise; real runs "
        "reach 0.26 to 2.2 times the equilibrium.\n"
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
        "Written by `docs/make.py` from the rules' own files; `scalecheck check --explain CODE` "
        "prints a rule's part. Limits are changed in the configuration's `[limits.CODE]`, for some "
        "tensors in `[[override]]`. In the examples `noise` is normal and of rms 0.02.\n"
    )
    yield "| Code | Name | Severity | Finds | Needs |"
    yield "|---|---|---|---|---|"
    for code, entry in registered().items():
        needs = ", ".join(NEEDS[need].removeprefix("needs ") for need in entry.rule.needs)
        name = f"[`{entry.name}`](#{code.lower()}-{entry.name})"
        yield f"| {code} | {name} | {entry.rule.severity} | {entry.summary} | {needs} |"
    for entry in registered().values():
        rule = entry.rule
        yield f"\n## {entry.code} {entry.name}\n"
        yield f"**{entry.summary}** Severity: {rule.severity}.\n"
        yield f"{entry.meaning}\n"
        yield f"*Try:* {entry.remedy}\n"
        if rule.limits:
            yield "| Limit | Default | What it is |"
            yield "|---|---|---|"
            for name, limit in rule.limits.items():
                yield f"| `{name}` | {setting(limit.default)} | {_cell(limit.help)} |"
            yield ""
        for title, example in (("Passes", rule.ok), ("Fails", rule.bad)):
            options = f" with `{example.options}`" if example.options else ""
            yield f"{title}{options}:\n\n```py\n{example.lines}\n```\n"
        yield f"> {rule.bad.finds}"


def _cell(words: str) -> str:
    return words.replace("|", "&#124;")


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")
