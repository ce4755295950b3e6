"""The judge: every selected rule over a checkpoint, and what was not judged."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.provenance import not_read, skipped, source
from scalecheck.checkpoint.selection import natural
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import UsageError
from scalecheck.measure.pipeline import Progress
from scalecheck.report import formatting
from scalecheck.report.finding import SEVERITIES, Finding, RuleOutcome, tables, tone, verdict
from scalecheck.report.finding_groups import grouped
from scalecheck.report.report import Report
from scalecheck.rules.judging.check_input import check_input
from scalecheck.rules.judging.judge import judged
from scalecheck.rules.judging.policy import RulePolicy, resolve
from scalecheck.settings import Settings


def check(checkpoint: Checkpoint | str | Path, settings: Settings, progress: Progress) -> Report:
    """The report of `check`. Raises CheckpointError; UsageError too where no rule could run, as
    what was not judged is not clean: but for rules on weights alone, which found none of their kind
    among tensors that were all measured."""
    policy = resolve(settings)
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint, recursive=settings.recursive, raw=settings.raw)
    found = check_input(checkpoint, settings, policy, progress)
    judgements = [judged(rule, found, policy, checkpoint.path) for rule in policy.rules.values()]
    reported = [finding for _, own in judgements for finding in own]
    rules = [outcome for outcome, _ in judgements]
    is_blind = found.subject.unmeasured or any(e.rule.needs for e in policy.rules.values())
    if is_blind and all(rule.status == "not run" for rule in rules):
        raise UsageError(f"{checkpoint.path}: {_nothing_judged(rules)}")
    findings = _ordered(finding for finding in reported if not finding.reason)
    ignored = _ordered(finding for finding in reported if finding.reason)
    counts = Counter(finding.severity for finding in findings)
    not_run = sum(rule.status == "not run" for rule in rules)
    states, fail_on = found.states, settings.fail_on
    baseline = settings.baseline
    summary = {
        "errors": counts["error"],
        "warnings": counts["warning"],
        "notes": counts["note"],
        "ignored": len(ignored),
        "tensors": len(found.subject.tensors) + len(found.subject.unmeasured),
        "rules_run": len(rules) - not_run,
        "rules_not_run": not_run,
        "fail_on": fail_on,
        "cannot_fail": _cannot_fail(settings, policy, rules),
        "failed": any(finding.fails(fail_on) for finding in findings),
        "groups": [group.figures for group in grouped(findings, rules)],
    }
    path = policy.config.path
    configured = () if path is None else (f"configuration: {path}",)
    notes = (
        *configured,
        *found.notes,
        *found.adapters.notes,
        *policy.unmatched(checkpoint.path, found.roles),
    )
    return Report(
        kind="check",
        tables=tables(findings, ignored, rules),
        source={
            **source(checkpoint),
            **found.adapters.source,
            "state": None if states.path is None else str(states.path),
            "baseline": None if baseline is None else str(baseline),
        },
        settings=_recorded(settings, policy),
        summary=summary,
        conclusion=[verdict(str(checkpoint.path), summary)],
        tone=tone(summary),
        skipped=[
            *(skipped(one, one.unmeasured) for one in found.subject.unmeasured),
            *(skipped(one, one.unmeasured) for one in found.subject.unmeasured_others),
            *found.adapters.skipped,
            *not_read(found.subject.unread, "check"),
        ],
        notes=[formatting.printable(note) for note in notes],
        failed=summary["failed"],
    )


def _nothing_judged(rules: Sequence[RuleOutcome]) -> str:
    """Why none of the rules ran."""
    codes: dict[str, list[str]] = {}
    for rule in rules:
        codes.setdefault(rule.reason, []).append(rule.rule)
    reasons = [f"{', '.join(those)} ({why})" for why, those in codes.items()]
    return f"nothing was checked, as no rule could run: {'; '.join(reasons)}"


def _cannot_fail(
    settings: Settings, policy: RulePolicy, rules: Sequence[RuleOutcome]
) -> str | None:
    """What keeps the check from failing whatever it finds; None where nothing does."""
    if settings.fail_on == "never":
        return f"fail_on is never ({settings.sources['fail_on']})"
    severities = {policy.severities.get(rule.rule) for rule in rules if rule.status != "not run"}
    given = [word for word in SEVERITIES if word in severities]
    below = SEVERITIES[SEVERITIES.index(settings.fail_on) + 1 :]
    if None not in severities and given and {*given} <= {*below}:
        return f"every severity is {' or '.join(given)} ({policy.config.path})"
    return None


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
        "limits": {code: own for code in policy.rules if (own := policy.in_force(code))},
    }
