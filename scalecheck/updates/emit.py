"""The lrs of a translation as parameter groups: Python for torch.optim, JSON, or TOML for
scalecheck.toml."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from textwrap import wrap
from typing import Any

from scalecheck.checkpoint.keys import text_key
from scalecheck.errors import UsageError
from scalecheck.optimizers.contract import Gradient
from scalecheck.report.formatting import listed, plural, printable
from scalecheck.report.report import Report
from scalecheck.toml import OWN_MARK, assignment
from scalecheck.updates.emitted_lrs import POOLED, ZERO, Emitted, emitted, rounded
from scalecheck.updates.first_steps import FirstSteps, Fresh, first_steps
from scalecheck.updates.tensor_forecast import TensorForecast
from scalecheck.updates.training import Training, flag

Settings = dict[str, Any]

_WIDTH = 100  # of the lines of a program


@dataclass(frozen=True)
class Groups:
    """What is emitted. tensors: each with its lr. shared: how the tensors of no group are trained.
    first: the first steps of a fresh optimizer. notes: what is said of the whole."""

    tensors: Sequence[Emitted]
    shared: Training
    first: FirstSteps
    notes: Sequence[str]

    def of(
        self, settings: Callable[[Training], Settings]
    ) -> Iterator[tuple[list[str], Settings, list[str]]]:
        """The names of each group, the settings in which it differs from the shared ones, and what
        is to be said of its tensors: one group for all that are trained alike."""
        shared = settings(self.shared)
        groups: dict[str, tuple[Settings, list[Emitted]]] = {}
        for one in self.tensors:
            own = settings(one.member.training) | {"lr": one.lr}
            own = {name: x for name, x in own.items() if name == "lr" or x != shared[name]}
            groups.setdefault(text_key(own), (own, []))[1].append(one)
        for own, members in groups.values():
            yield [one.name for one in members], own, [*_remarks(members)]

    def remarked(self, remark: str) -> list[str]:
        """The names of the tensors with a remark."""
        return [one.name for one in self.tensors if one.remark == remark]


def emit(form: str, report: Report) -> str:
    """The groups of a translation's rows, which have members (forecasts) and target_factor, as text
    of a form, and notes on what is in none: one group for each lr to 3 digits.

    A row without target_factor keeps the lr it has. Raises UsageError where torch.optim lacks the
    optimizer, where there are several, and where a setting of a tensor is not known.
    """
    rows = report.rows_of("rows")
    members = [own for row in rows for member in row["members"] for own in member.trained]
    names = sorted({member.training.name for member in members})
    if not names:
        raise UsageError(f"--emit {form}: no tensor is trained")
    if len(names) > 1:
        which = f"the tensors have {len(names)} optimizers, {', '.join(names)}"
        raise UsageError(f"--emit {form}: {which}: --match chooses those of one")
    for member in members:
        for setting in member.training.uncertain:
            problem = f"the {setting} of {member.name} is not known"
            raise UsageError(f"--emit {form}: {problem}: {flag(setting)} or --param-names says it")
    tensors, shared = emitted(rows), members[0].training
    if not shared.has_lr:
        shared = replace(shared, lr=rounded(median(one.lr or 0.0 for one in tensors)))
    first = first_steps(_kinds(members, report.settings))
    notes = [*_notes(report, members), *_on_first_steps(first, report.settings["step"], form)]
    return _FORMS[form](Groups(tensors, shared, first, notes))


def _notes(report: Report, members: Sequence[TensorForecast]) -> Iterator[str]:
    """What no group holds, and which tensors keep their lr as they may not be trained."""
    for reason, count in Counter(entry["reason"] for entry in report.skipped).items():
        yield printable(f"{plural(count, 'tensor')} in no group ({reason})")
    for reason, count in Counter(each.reason for each in members if not each.is_certain).items():
        yield printable(f"{plural(count, 'tensor')} with an lr left as it is ({reason})")
    if unnamed := len(report.rows_of("states")):
        yield f"{plural(unnamed, 'optimizer state')} whose tensor is not certain: see translate"


def _kinds(members: Sequence[TensorForecast], settings: Mapping[str, Any]) -> Iterable[Fresh]:
    """A tensor of each way of training, for the first steps of a fresh optimizer."""
    found: dict[str, Fresh] = {}
    for member in members:
        if not member.has_size or not member.training.is_known:
            continue
        optimizer, rms = member.training.optimizer, member.rms or 0.0
        step = settings["step"] or member.step or None
        key = text_key([optimizer, step])
        if key not in found:
            gradient = Gradient(settings["grad_rms"] or member.grad_rms or None, settings["snr"])
            found[key] = Fresh(optimizer, rms, member.shape, gradient, step)
    return found.values()


_MULTIPLES = {
    "torch": "scheduler(optimizer) does so, by WARMUP",
    "json": "the multiples of the lr in `warmup` do so",
    "toml": "--emit torch and --emit json have the multiples of the lr that do so",
}


def _on_first_steps(first: FirstSteps, step: int | None, form: str) -> Iterator[str]:
    if not first.multiples:
        return
    when = "the steady state" if step is None else f"step {step:,}"
    steps = plural(len(first.multiples), "step")
    yield (
        f"the lrs are for {when}: the first step of a fresh optimizer is {first.excess:.3g} times "
        f"the target. Warm up over {steps} to hold it ({_MULTIPLES[form]}), or emit with --step 1 "
        "for lrs of the first step"
    )
    if first.left > 1:
        yield f"after {steps} updates are still {first.left:.3g} times the target"


def _remarks(tensors: Sequence[Emitted]) -> Iterator[str]:
    """What is said of the tensors of a group, each remark with those that it is about."""
    found: dict[str, list[str]] = {}
    for one in tensors:
        if one.remark:
            found.setdefault(one.remark, []).append(one.name)
    for remark, names in found.items():
        which = "" if len(names) == len(tensors) else f" ({printable(listed(names))})"
        yield f"{remark}{which}"


def torch_settings(training: Training) -> Settings:
    """The hyperparameters under torch.optim's names, lr first."""
    return {"lr": training.lr, **training.optimizer.torch_settings()}


def _torch(groups: Groups) -> str:
    training = groups.shared
    if not training.optimizer.torch_class:
        raise UsageError(f"--emit torch: torch.optim has no {training.name}; there are json, toml")
    listing = "".join(
        f'{_comments(remarks, 4)}    {{\n        "names": [\n'
        f"{_lines(map(repr, names), 12)}        ],\n{_lines(_items(own), 8)}    }},\n"
        for names, own, remarks in groups.of(torch_settings)
    )
    name = training.optimizer.torch_class
    program = _TORCH.format(
        name=name,
        notes=_comments(groups.notes),
        settings=_lines(_items(torch_settings(training)), 4),
        groups=listing,
    )
    if not groups.first.multiples:
        return program
    return program + _WARMUP.format(multiples=_wrapped(groups.first.multiples))


_TORCH = '''\
"""Parameter groups for torch.optim.{name}: optimizer(model) makes it."""

import torch

{notes}SETTINGS = {{
{settings}}}
GROUPS = [
{groups}]


def param_groups(model):
    """The model's parameters in GROUPS; those that no group names come last, with SETTINGS.

    Raises ValueError with the names that the model lacks.
    """
    params = dict(model.named_parameters(remove_duplicate=False))
    names = [name for group in GROUPS for name in group["names"]]
    missing = [name for name in names if name not in params]
    if missing:
        first = next(iter(params), "none")
        raise ValueError(
            f"the model lacks {{len(missing)}} of the {{len(names)}} parameters that GROUPS names "
            f"(its own begin with {{first}}): {{', '.join(missing)}}"
        )
    groups = []
    used = set()
    for group in [*GROUPS, {{"names": [name for name, p in params.items() if p.requires_grad]}}]:
        own = {{id(params[name]): params[name] for name in group["names"]}}
        left = [p for key, p in own.items() if key not in used]
        used |= own.keys()
        if left:
            rest = {{key: value for key, value in group.items() if key != "names"}}
            groups.append({{"params": left, **rest}})
    return groups


def optimizer(model):
    return torch.optim.{name}(param_groups(model), **SETTINGS)'''

_WARMUP = '''


WARMUP = [
{multiples}]


def scheduler(optimizer):
    """The warm-up of a fresh optimizer: call its step() after each step of the optimizer."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: WARMUP[step] if step < len(WARMUP) else 1.0
    )'''


def _items(settings: Settings) -> Iterable[str]:
    return (f"{json.dumps(name)}: {value!r}" for name, value in settings.items())


def _comments(notes: Iterable[str], indent: int = 0) -> str:
    start = f"{' ' * indent}# "
    return "".join(f"{start}{line}\n" for note in notes for line in wrap(note, _WIDTH - len(start)))


def _lines(items: Iterable[str], indent: int) -> str:
    return "".join(f"{' ' * indent}{item},\n" for item in items)


def _wrapped(numbers: Iterable[float]) -> str:
    """Numbers as the lines of a list."""
    lines = [""]
    for number in map(repr, numbers):
        if len(lines[-1]) + len(number) + 6 > _WIDTH:
            lines.append("")
        lines[-1] += f" {number}," if lines[-1] else f"{number},"
    return "".join(f"    {line}\n" for line in lines)


def _json(groups: Groups) -> str:
    report = {
        "schema": "scalecheck.groups/1",
        "optimizer": groups.shared.name,
        "settings": _plain(groups.shared),
        "groups": [{"names": names, **own} for names, own, _ in groups.of(_plain)],
        "warmup": groups.first.multiples,
        "zero_initialised": groups.remarked(ZERO),
        "pooled": groups.remarked(POOLED),
        "notes": [*groups.notes, *_remarks(groups.tensors)],
    }
    return json.dumps(report, indent=1, allow_nan=False)


def _toml(groups: Groups) -> str:
    shared = _plain(groups.shared)
    lines = ["[optimizer]", *_toml_lines({"name": groups.shared.name, **shared})]
    for names, own, remarks in groups.of(_plain):
        lines += ["", *_comments(remarks).splitlines(), "[[group]]"]
        lines += _toml_lines({"names": names, **own})
    return f"# {OWN_MARK}\n" + _comments(groups.notes) + "\n".join(lines)


_FORMS: Mapping[str, Callable[[Groups], str]] = {"torch": _torch, "json": _json, "toml": _toml}


def _toml_lines(table: Settings) -> Iterable[str]:
    """TOML has no null: what is None is its default."""
    return (assignment(name, value) for name, value in table.items() if value is not None)


def _plain(training: Training) -> Settings:
    return {"lr": training.lr, **asdict(training.optimizer)}
