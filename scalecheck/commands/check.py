"""The judge: every selected rule over a checkpoint, and what was not judged."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.provenance import skipped, source
from scalecheck.checkpoint.selection import natural
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.measure.pipeline import Progress
from scalecheck.report import formatting
from scalecheck.report.finding import Finding, RuleOutcome, conclusion, tables
from scalecheck.report.report import Report
from scalecheck.rules.contract import Registered
from scalecheck.rules.judging.check_input import CheckInput, check_input
from scalecheck.rules.judging.policy import RulePolicy, resolve
from scalecheck.settings import Settings


def check(checkpoint: Checkpoint | str | Path, settings: Settings, progress: Progress) -> Report:
    """The report of `check`. Raises UsageError, CheckpointError."""
    policy = resolve(settings)
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint)
    found = check_input(checkpoint, settings, policy, progress)
    judged = [_judged(rule, found, policy, checkpoint.path) for rule in policy.rules.values()]
    reported = [finding for _, own in judged for finding in own]
    return _report(
        checkpoint, found, settings, policy, reported, [outcome for outcome, _ in judged]
    )


def _judged(
    entry: Registered, found: CheckInput, policy: RulePolicy, path: Path
) -> tuple[RuleOutcome, list[Finding]]:
    """What became of a rule, and what it found, waived or not."""
    reason = next((why for need in entry.rule.needs if (why := found.missing[need])), "")
    judged = [] if reason else [*entry.rule.find(found.subject, policy.limits_of(entry.code))]
    if not judged and not reason:
        reason = f"no {entry.rule.judges}{_why(entry, found)}"
    waivers = policy.waivers(entry.code, path)
    severity = policy.severities.get(entry.code)

    def reported(finding: Finding) -> Finding:
        role = found.roles.get(finding.where, "")
        return replace(
            finding,
            rule=entry.code,
            severity=severity or finding.severity or entry.rule.severity,
            value=formatting.finite(finding.value),
            limit=formatting.finite(finding.limit),
            reason=next((w.reason for w in waivers if w.where.holds(finding.where, role)), ""),
        )

    findings = [reported(finding) for finding in judged if finding.message]
    count = sum(not finding.reason for finding in findings)
    outcome = RuleOutcome(
        rule=entry.code,
        name=entry.name,
        severity=severity or entry.rule.severity,
        summary=entry.summary,
        status="not run" if reason else "failed" if count else "passed",
        reason=reason,
        findings=count,
        groups=[*dict.fromkeys(finding.group for finding in judged)],
        meaning=entry.meaning,
        remedy=entry.remedy,
    )
    return outcome, findings


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
    reported: Sequence[Finding],
    rules: Sequence[RuleOutcome],
) -> Report:
    findings = _ordered(finding for finding in reported if not finding.reason)
    ignored = _ordered(finding for finding in reported if finding.reason)
    counts = Counter(finding.severity for finding in findings)
    not_run = sum(rule.status == "not run" for rule in rules)
    states, fail_on = found.states, settings.fail_on
    baseline = settings.baseline
    summary = {
        "errors": counts["error"],
        "warnings": counts["warning"],
        "ignored": len(ignored),
        "tensors": len(found.subject.tensors) + len(found.subject.unmeasured),
        "rules_run": len(rules) - not_run,
        "rules_not_run": not_run,
        "fail_on": fail_on,
        "failed": any(finding.fails(fail_on) for finding in findings),
    }
    notes = (*found.notes, *policy.unmatched(checkpoint.path, found.roles))
    return Report(
        kind="check",
        tables=tables(findings, ignored, rules),
        source={
            **source(checkpoint),
            "state": None if states.path is None else str(states.path),
            "baseline": None if baseline is None else str(baseline),
        },
        settings=_recorded(settings, policy),
        summary=summary,
        headline=f"{formatting.printable(str(checkpoint.path))}: {conclusion(summary)}",
        skipped=[skipped(tensor, tensor.unmeasured) for tensor in found.subject.unmeasured],
        notes=[formatting.printable(note) for note in notes],
    )


def _ordered(findings: Iterable[Finding]) -> list[Finding]:
    """By tensor with numbers in names by their value, the checkpoint's own first, then by rule."""
    return sorted(findings, key=lambda f: (natural(f.where), f.rule, f.message))


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
