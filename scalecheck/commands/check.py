"""The judge: every selected rule over a checkpoint, and what was not judged."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.provenance import skipped, source
from scalecheck.checkpoint.selection import natural
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.measure.pipeline import Progress
from scalecheck.report import formatting, verdict
from scalecheck.report.finding import FINDINGS, IGNORED, RULES, Finding
from scalecheck.report.report import Report, Row, Table
from scalecheck.rules.contract import Judgement, Registered
from scalecheck.rules.judging.check_input import CheckInput, check_input
from scalecheck.rules.judging.policy import RulePolicy, resolve
from scalecheck.settings import Settings


def check(checkpoint: Checkpoint | str | Path, settings: Settings, progress: Progress) -> Report:
    """The report of `check`. Raises UsageError, CheckpointError."""
    policy = resolve(settings)
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint)
    found = check_input(checkpoint, settings, policy, progress)
    findings: list[Row] = []
    ignored: list[Row] = []
    rules: list[Row] = []
    for entry in policy.rules.values():
        own, waived, row = _results(entry, found, policy, checkpoint.path)
        findings += own
        ignored += waived
        rules.append(row)
    return _report(checkpoint, found, settings, policy, findings, ignored, rules)


def _results(
    entry: Registered, found: CheckInput, policy: RulePolicy, path: Path
) -> tuple[list[Row], list[Row], Row]:
    """A rule's findings, those that are waived, and its row among the rules."""
    reason = next((why for need in entry.rule.needs if (why := found.missing[need])), "")
    judgements = (
        [] if reason else list(entry.rule.find(found.subject, policy.limits_of(entry.code)))
    )
    if not judgements and not reason:
        reason = f"no {entry.rule.judges}{_why(entry, found)}"
    own: list[Row] = []
    waived: list[Row] = []
    waivers = policy.waivers(entry.code, path)
    for judgement in judgements:
        if not judgement.message:
            continue
        row = _finding(entry, judgement, policy).row()
        role = found.roles.get(judgement.where, "")
        waiver = next((w for w in waivers if w.where.holds(judgement.where, role)), None)
        if waiver is None:
            own.append(row)
        else:
            waived.append({**row, "reason": waiver.reason})
    status = "not run" if reason else "failed" if own else "passed"
    return (
        own,
        waived,
        {
            "rule": entry.code,
            "name": entry.name,
            "severity": policy.severities.get(entry.code, entry.rule.severity),
            "summary": entry.summary,
            "status": status,
            "reason": reason,
            "findings": len(own),
            "groups": list(dict.fromkeys(judgement.group for judgement in judgements)),
            "meaning": entry.meaning,
            "remedy": entry.remedy,
        },
    )


def _finding(entry: Registered, judgement: Judgement, policy: RulePolicy) -> Finding:
    severity = policy.severities.get(entry.code) or judgement.severity or entry.rule.severity
    return Finding(
        entry.code,
        severity,
        judgement.where,
        judgement.group,
        judgement.message,
        _finite(judgement.value),
        _finite(judgement.limit),
    )


def _finite(x: float | None) -> float | None:
    return x if x is not None and isfinite(x) else None


def _why(entry: Registered, found: CheckInput) -> str:
    """Why no update is known where a rule asks for one, the most frequent reason."""
    if not {"lr", "peak_lr"} & {*entry.rule.needs}:
        return ""
    steps = [t.step for t in found.subject.tensors if t.step is not None]
    reasons = Counter(step["reason"] for step in steps if step["reason"])
    return "".join(f": {reason}" for reason, _ in reasons.most_common(1))


def _report(
    checkpoint: Checkpoint,
    found: CheckInput,
    settings: Settings,
    policy: RulePolicy,
    findings: Sequence[Row],
    ignored: Sequence[Row],
    rules: Sequence[Row],
) -> Report:
    states = found.states
    tensors = len(found.subject.tensors) + len(found.subject.unmeasured)
    counts = Counter(row["severity"] for row in findings)
    fail_on = settings.fail_on
    failed = bool(counts["error"] if fail_on == "error" else findings) and fail_on != "never"
    not_run = sum(row["status"] == "not run" for row in rules)
    baseline = settings.baseline
    notes = (*found.notes, *policy.unmatched(checkpoint.path, found.roles))
    report = Report(
        kind="check",
        tables=[
            Table("findings", FINDINGS, FINDINGS, _ordered(findings)),
            Table("ignored", IGNORED, IGNORED, _ordered(ignored)),
            Table("rules", RULES, RULES, rules),
        ],
        source={
            **source(checkpoint),
            "state": None if states.path is None else str(states.path),
            "baseline": None if baseline is None else str(baseline),
        },
        settings=_recorded(settings, policy),
        summary={
            "errors": counts["error"],
            "warnings": counts["warning"],
            "ignored": len(ignored),
            "tensors": tensors,
            "rules_run": len(rules) - not_run,
            "rules_not_run": not_run,
            "fail_on": fail_on,
            "failed": failed,
        },
        skipped=[skipped(tensor, tensor.unmeasured) for tensor in found.subject.unmeasured],
        notes=[formatting.text(note) for note in notes],
    )
    return replace(report, headline=f"{verdict.path(report)}: {verdict.conclusion(report)}")


def _ordered(rows: Iterable[Row]) -> list[Row]:
    """By tensor with numbers in names by their value, the checkpoint's own first, then by rule."""
    return sorted(rows, key=lambda row: (natural(row["where"]), row["rule"], row["message"]))


def _recorded(settings: Settings, policy: RulePolicy) -> dict[str, Any]:
    """The settings as the machine formats record them."""
    return {
        **settings.recorded(),
        "group": [
            group if isinstance(group, str) else {"names": list(group.globs), **group.settings}
            for group in settings.group
        ],
        "config": None if policy.config.path is None else str(policy.config.path),
        "severity": dict(policy.severities),
        "limits": {code: policy.limits[code] for code in policy.rules if policy.limits[code]},
    }
