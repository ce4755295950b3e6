"""The lrs of a translation as parameter groups: Python for torch.optim, JSON, or TOML for
scalecheck.toml."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from scalecheck.errors import UsageError
from scalecheck.report.formatting import plural, printable
from scalecheck.report.report import Report, Row
from scalecheck.toml import OWN_MARK
from scalecheck.updates.tensor_forecast import TensorForecast
from scalecheck.updates.training import Training, flag

Settings = dict[str, Any]


def emit(form: str, report: Report) -> str:
    """The groups of a translation's rows, which have members (forecasts) and target_factor, as text
    of a form, and notes on what is in none; members of one row that are trained differently make a
    group each.

    A row without target_factor keeps the lr it has. Raises UsageError where torch.optim lacks the
    optimizer, where there are several, and where a setting of a tensor is not known.
    """
    rows = report.rows_of("rows")
    members = [own for row in rows for member in row["members"] for own in member.trained]
    names = sorted({member.training.name for member in members})
    if len(names) != 1:
        raise UsageError(f"--emit {form}: of one optimizer, not of {', '.join(names) or 'none'}")
    for member in members:
        for setting in member.training.uncertain:
            problem = f"the {setting} of {member.name} is not known"
            raise UsageError(f"--emit {form}: {problem}: {flag(setting)} or --param-names says it")
    forms = {"torch": _torch, "json": _json, "toml": _toml}
    return forms[form](rows, members[0].training, [*_notes(report, members)])


def _notes(report: Report, members: Sequence[TensorForecast]) -> Iterator[str]:
    """What no group holds, and which tensors keep their lr as they may not be trained."""
    for reason, count in Counter(entry["reason"] for entry in report.skipped).items():
        yield printable(f"{plural(count, 'tensor')} in no group ({reason})")
    for reason, count in Counter(each.reason for each in members if not each.is_certain).items():
        yield printable(f"{plural(count, 'tensor')} with an lr left as it is ({reason})")
    if unnamed := len(report.rows_of("states")):
        yield f"{plural(unnamed, 'optimizer state')} whose tensor is not certain: see translate"


def torch_settings(training: Training) -> Settings:
    """The hyperparameters under torch.optim's names, lr first."""
    return {"lr": training.lr, **training.optimizer.torch_settings()}


def _groups(
    rows: Sequence[Row], shared: Settings, settings: Callable[[Training], Settings]
) -> Iterable[tuple[list[str], Settings]]:
    """The names of each group, and the settings in which it differs from the shared ones."""
    for row in rows:
        alike: dict[str, tuple[list[str], Training]] = {}
        for member in (own for one in row["members"] for own in one.trained):
            training = member.training
            alike.setdefault(repr(training), ([], training))[0].append(member.name)
        for names, training in alike.values():
            own = settings(training)
            own["lr"] *= 1.0 if row["target_factor"] is None else row["target_factor"]
            if not math.isfinite(own["lr"]):
                raise UsageError(f"--emit: the lr of {names[0]} is not finite")
            differing = {name for name, value in own.items() if value != shared[name]}
            yield names, {name: own[name] for name in own if name in differing | {"lr"}}


def _torch(rows: Sequence[Row], training: Training, notes: Sequence[str]) -> str:
    if not training.optimizer.torch_class:
        raise UsageError(f"--emit torch: torch.optim has no {training.name}; there are json, toml")
    shared = torch_settings(training)
    groups = "".join(
        f'    {{\n        "names": [\n{_lines(map(repr, names), 12)}        ],\n'
        f"{_lines(_items(own), 8)}    }},\n"
        for names, own in _groups(rows, shared, torch_settings)
    )
    settings = _lines(_items(shared), 4)
    name = training.optimizer.torch_class
    return _TORCH.format(name=name, notes=_comments(notes), settings=settings, groups=groups)


_TORCH = '''\
"""Parameter groups for torch.optim.{name}: optimizer(model) makes it."""

import torch

{notes}SETTINGS = {{
{settings}}}
GROUPS = [
{groups}]


def param_groups(model):
    """The model's parameters in GROUPS; those that no group names come last, with SETTINGS."""
    left = {{name: p for name, p in model.named_parameters() if p.requires_grad}}
    groups = []
    for group in GROUPS:
        params = [left.pop(name) for name in group["names"] if name in left]
        if params:
            rest = {{key: value for key, value in group.items() if key != "names"}}
            groups.append({{"params": params, **rest}})
    if left:
        groups.append({{"params": list(left.values())}})
    return groups


def optimizer(model):
    return torch.optim.{name}(param_groups(model), **SETTINGS)'''


def _items(settings: Settings) -> Iterable[str]:
    return (f"{json.dumps(name)}: {value!r}" for name, value in settings.items())


def _comments(notes: Sequence[str]) -> str:
    return "".join(f"# {note}\n" for note in notes)


def _lines(items: Iterable[str], indent: int) -> str:
    return "".join(f"{' ' * indent}{item},\n" for item in items)


def _json(rows: Sequence[Row], training: Training, notes: Sequence[str]) -> str:
    shared = _plain(training)
    report = {
        "schema": "scalecheck.groups/1",
        "optimizer": training.name,
        "settings": shared,
        "groups": [{"names": names, **own} for names, own in _groups(rows, shared, _plain)],
        "notes": notes,
    }
    return json.dumps(report, indent=1, allow_nan=False)


def _toml(rows: Sequence[Row], training: Training, notes: Sequence[str]) -> str:
    shared = _plain(training)
    tables = [("[optimizer]", {"name": training.name, **shared})]
    for names, own in _groups(rows, shared, _plain):
        tables.append(("\n[[group]]", {"names": names, **own}))
    lines = (line for title, table in tables for line in (title, *_toml_lines(table)))
    return _comments([OWN_MARK, *notes]) + "\n".join(lines)


def _toml_lines(table: Settings) -> Iterable[str]:
    """TOML has no null: what is None is its default. Values are as in JSON, but for the characters
    that TOML takes no pair of escapes for."""
    for name, value in table.items():
        if value is not None:
            written = json.dumps(value, ensure_ascii=False)
            yield f"{name} = " + "".join(
                c if c.isprintable() else f"\\U{ord(c):08x}" for c in written
            )


def _plain(training: Training) -> Settings:
    return {"lr": training.lr, **asdict(training.optimizer)}
