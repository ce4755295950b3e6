"""A configuration for a checkpoint: the optimizer that its state names, the findings of today with
an exception to fill in for each, and every limit at its default, as comments."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from scalecheck import registry, toml
from scalecheck.checkpoint.naming import family_glob
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.report.finding import SEVERITIES, Finding
from scalecheck.report.formatting import plural, printable, shortened
from scalecheck.rules.contract import registered
from scalecheck.rules.judging import pages
from scalecheck.updates.saved_groups import is_lr
from scalecheck.updates.saved_state import UNCERTAIN, States, states_of
from scalecheck.updates.training import untrained

_MOST = 100  # entries of one kind; a file of thousands is read by nobody
_LINE = 100  # characters of a comment
_USUAL = {"name": "adamw", "lr": 3e-4, "weight_decay": 0.1}  # as an example


@dataclass(frozen=True)
class Optimizer:
    """What a state says. settings: name, lr and hyperparameters that hold for all tensors. own: by
    the glob of a family, the settings in which it differs from most tensors. usual: the values of
    these that most have. source: where it was found; empty where no state was."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    usual: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    initial_lr: float | None = None


def optimizer_of(checkpoint: Checkpoint) -> Optimizer:
    """The optimizer in the state beside a checkpoint. Raises CheckpointError for a damaged one."""
    states = states_of(checkpoint, None)
    if states.path is None:
        return Optimizer()
    source = f"{states.path}, step {states.step}" if states.step else str(states.path)
    saved = _saved(checkpoint, states)
    names = {settings.get("optimizer") for settings in saved.values()}
    known, common = ["lr"], dict[str, Any]()
    if len(names) == 1 and (name := names.pop()) in registry.names("optimizer"):
        known += [one.name for one in fields(registry.load("optimizer", name).Optimizer)]
        common["name"] = name
    usual: dict[str, Any] = {}
    for key in known:
        values = [settings[key] for settings in saved.values() if key in settings]
        if (
            not values
            or len(values) < len(saved)
            or not all(_is_written(key, value) for value in values)
        ):
            continue
        value, count = Counter(values).most_common(1)[0]
        (common if count == len(saved) else usual)[key] = value
    own: dict[str, dict[str, Any]] = defaultdict(dict)
    for tensor, settings in saved.items():
        for key, value in usual.items():
            if settings[key] != value:
                own[family_glob(tensor)][key] = settings[key]
    started = {settings.get("initial_lr") for settings in saved.values()}
    first = started.pop() if len(started) == 1 else None
    is_other = is_lr(first) and first != common.get("lr")
    return Optimizer(common, own, usual, source, first if is_other else None)


def _saved(checkpoint: Checkpoint, states: States) -> dict[str, Mapping[str, Any]]:
    """The settings of each trained tensor by its name."""
    return {
        tensor.name: states.settings(tensor.name, tensor.shape)
        for tensor in checkpoint.tensors
        if untrained(tensor, states) is None
    }


def _is_written(key: str, value: Any) -> bool:
    """Whether a configuration can have the value."""
    return value is not UNCERTAIN and (
        is_lr(value) if key == "lr" else isinstance(value, bool | int | float)
    )


def configuration(
    path: str,
    checkpoint: Checkpoint,
    optimizer: Optimizer,
    findings: Sequence[Finding] | str,
) -> str:
    """The text of scalecheck.toml for a checkpoint, with its findings, or why there are none. Lines
    that begin with # and no blank are settings that were taken out."""
    parts = [
        _head(path),
        _top(),
        _optimizer(optimizer),
        _exceptions(findings),
        _roles(checkpoint),
        _limits(),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _head(path: str) -> Iterator[str]:
    yield f"# What `scalecheck check` asks of checkpoints here; made from {_comment(path)}"
    yield "# by `scalecheck init`. Settings behind a # have no effect: remove the # to set one."
    yield "# `scalecheck check PATH --show-settings` prints what is in force,"
    yield "# `scalecheck rules CODE` explains a rule."


def _top() -> Iterator[str]:
    yield "# Severity from which on a check fails: error, warning, note or never."
    yield from _off({"fail_on": "error"})
    yield "# Rules that run, and rules that do not: codes, their beginnings or names."
    yield from _off({"select": ["SC"], "ignore": []})
    yield "# Phase of the run: pretrain, resume, finetune, preference or rl."
    yield from _off({"phase": "pretrain"})


def _optimizer(found: Optimizer) -> Iterator[str]:
    settings = dict(found.settings)
    if not settings:
        where = f"not known from {_comment(found.source)}" if found.source else "no state was found"
        yield f"# The optimizer: {where}, so these are examples. They replace those of a state."
        yield "[optimizer]"
        yield from _off(_USUAL)
        return
    doubt = "" if "name" in settings else ", which does not tell its name"
    yield f"# The optimizer, from {_comment(found.source)}{doubt}."
    yield "# These replace those of any state: remove lr to judge each checkpoint at its own."
    if found.initial_lr is not None:
        yield f"# The schedule began at lr {found.initial_lr:g}."
    yield "[optimizer]"
    yield from _assigned(settings)
    missing = [key for key in ("name", "lr") if key not in {**settings, **found.usual}]
    yield from _off({key: _USUAL[key] for key in missing})
    yield from _off(found.usual)
    if found.own:
        yield "# Tensors that the state trains with other settings. A check reads these from the"
        yield "# state; set them here for checkpoints without one."
    for glob, own in [*found.own.items()][:_MOST]:
        yield "#[[group]]"
        yield from _off({"match": glob, **own})


def _exceptions(findings: Sequence[Finding] | str) -> Iterator[str]:
    if isinstance(findings, str):
        yield f"# Not checked today: {_comment(findings)}"
        findings = ()
    grouped: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        grouped[finding.rule, family_glob(finding.where) if finding.where else ""].append(finding)
    entries = sorted(grouped.items(), key=lambda e: (SEVERITIES.index(_severity(e[1])), e[0]))
    if not entries:
        yield "# There are no findings. An exception lets findings of some tensors pass, and says"
        yield "# why; match takes a glob over names, role a role, path a glob over files."
        entries = [(("SC104", "*.embed.weight"), [])]
    else:
        found = plural(len(findings), "finding")
        yield f"# What is found today: {found}. To let some pass, write a reason and remove"
        yield "# the #; match takes a glob over names."
    for (code, glob), those in entries[:_MOST]:
        if those:
            count = plural(len(those), "finding")
            yield f"# {_severity(those)}, {count}: {_comment(those[0].told)}"
        yield "#[[exception]]"
        place = {"match": glob} if glob else {"path": "*"}
        yield from _off({"rules": [code], **place, "reason": "write why"})
    if len(entries) > _MOST:
        yield f"# And {len(entries) - _MOST} more; `scalecheck check` lists them."


def _severity(findings: Sequence[Finding]) -> Any:
    """The most severe; a note where there is no finding."""
    found = {finding.severity for finding in findings}
    return next((severity for severity in SEVERITIES if severity in found), "note")


def _roles(checkpoint: Checkpoint) -> Iterator[str]:
    counts = Counter(t.role for t in checkpoint.tensors if t.kind.is_parameter)
    yield "# Limits of some tensors only, by role or by a glob over names."
    for role, count in sorted(counts.items()):
        yield f"# {plural(count, 'tensor')} of role {role}"
        yield "#[[override]]"
        yield from _off({"role": role})
        yield "#SC104 = { factor = 4 }"


def _limits() -> Iterator[str]:
    yield "# The limits of all rules, at their defaults."
    for entry in registered().values():
        if entry.rule.limits:
            yield f"# {entry.name}: {_comment(entry.summary)}"
            yield from (f"#{line.removeprefix('# ')}" for line in pages.limits_toml(entry))


def _assigned(settings: Mapping[str, Any]) -> Iterable[str]:
    return (toml.assignment(name, value) for name, value in settings.items())


def _off(settings: Mapping[str, Any]) -> Iterable[str]:
    """The same as comments."""
    return (f"#{line}" for line in _assigned(settings))


def _comment(words: str) -> str:
    return shortened(printable(words), _LINE)
