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
from scalecheck.config import Config, read
from scalecheck.errors import UsageError
from scalecheck.measure.tensor_stats import Progress
from scalecheck.report import formatting
from scalecheck.report.finding import (
    Finding,
    RuleOutcome,
    conclusion,
    tables,
)
from scalecheck.report.report import Report
from scalecheck.rules.contract import Registered
from scalecheck.rules.judging.check_input import CheckInput, check_input
from scalecheck.rules.judging.policy import Settings, resolve


def check(
    checkpoint: Checkpoint | str | Path,
    *,
    config: Config | str | Path | None = None,
    jobs: int | None = None,
    progress: Progress = lambda done, total: None,
    **given: Any,
) -> Report:
    """Judges a checkpoint by the rules; `summary["failed"]` says whether CI should stop.

    config: a configuration, or the file it is in; none is looked for. given: settings that go
    before it, by the names of the options: select, ignore, fail_on, lr, optimizer, hyperparameters,
    group, state, init, serve_dtype, baseline and the others of
    analysis.checking.settings.DEFAULTS. jobs and progress are as in `inspect`. Raises UsageError,
    CheckpointError.
    """
    if not isinstance(config, Config):
        config = Config() if config is None else read(config)
    settings = resolve(given, config)
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint)
    try:
        found = check_input(checkpoint, settings, jobs, progress)
    except UsageError as error:
        raise settings.told(error) from None
    judged = [_judged(rule, found, settings, checkpoint.path) for rule in settings.rules.values()]
    reported = [finding for _, own in judged for finding in own]
    return _report(checkpoint, found, settings, reported, [outcome for outcome, _ in judged])


def _judged(
    entry: Registered, found: CheckInput, settings: Settings, path: Path
) -> tuple[RuleOutcome, list[Finding]]:
    """What became of a rule, and what it found, waived or not."""
    reason = next((why for need in entry.rule.needs if (why := found.missing[need])), "")
    judged = [] if reason else [*entry.rule.find(found.subject, settings.limits_of(entry.code))]
    if not judged and not reason:
        reason = f"no {entry.rule.judges}{_why(entry, found)}"
    waivers = settings.waivers(entry.code, path)
    severity = settings.severities.get(entry.code)

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
    reported: Sequence[Finding],
    rules: Sequence[RuleOutcome],
) -> Report:
    findings = _ordered(finding for finding in reported if not finding.reason)
    ignored = _ordered(finding for finding in reported if finding.reason)
    counts = Counter(finding.severity for finding in findings)
    not_run = sum(rule.status == "not run" for rule in rules)
    states, fail_on = found.states, settings["fail_on"]
    baseline = settings["baseline"]
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
    notes = (*found.notes, *settings.unmatched(checkpoint.path, found.roles))
    return Report(
        kind="check",
        tables=tables(findings, ignored, rules),
        source={
            **source(checkpoint),
            "state": None if states.path is None else str(states.path),
            "baseline": None if baseline is None else str(baseline),
        },
        settings=_recorded(settings),
        summary=summary,
        headline=f"{formatting.printable(str(checkpoint.path))}: {conclusion(summary)}",
        skipped=[skipped(tensor, tensor.unmeasured) for tensor in found.subject.unmeasured],
        notes=[formatting.printable(note) for note in notes],
    )


def _ordered(findings: Iterable[Finding]) -> list[Finding]:
    """By tensor with numbers in names by their value, the checkpoint's own first, then by rule."""
    return sorted(findings, key=lambda f: (natural(f.where), f.rule, f.message))


def _recorded(settings: Settings) -> dict[str, Any]:
    """The settings as the machine formats record them."""
    values = dict(settings.values)
    values["group"] = [
        group if isinstance(group, str) else {"names": list(group.globs), **group.settings}
        for group in values["group"]
    ]
    for key in ("state", "baseline"):
        values[key] = None if values[key] is None else str(values[key])
    config = settings.config.path
    return {
        **{key: list(v) if isinstance(v, tuple) else v for key, v in values.items()},
        "config": None if config is None else str(config),
        "severity": dict(settings.severities),
        "limits": {code: settings.limits[code] for code in settings.rules if settings.limits[code]},
    }
