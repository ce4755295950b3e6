"""One rule over what is checked: what it found, and what became of it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from scalecheck.report import formatting
from scalecheck.report.finding import Finding, RuleOutcome
from scalecheck.rules.contract import Registered
from scalecheck.rules.judging.check_input import CheckInput
from scalecheck.rules.judging.policy import RulePolicy


def judged(
    entry: Registered, found: CheckInput, policy: RulePolicy, path: Path
) -> tuple[RuleOutcome, list[Finding]]:
    """What became of a rule, and what it found, waived or not."""
    reason = next((why for need in entry.rule.needs if (why := found.missing[need])), "")
    every = [] if reason else [*entry.rule.find(found.subject, policy.limits_of(entry.code))]
    if not every and not reason:
        reason = f"no {entry.rule.judges}{_why(entry, found)}"
    waivers = policy.waivers(entry.code, path)
    severity = policy.severities.get(entry.code)

    def reported(finding: Finding) -> Finding:
        role = found.roles.get(finding.where, "")
        return replace(
            finding,
            rule=entry.code,
            rule_name=entry.name,
            severity=severity or finding.severity or entry.rule.severity,
            value=formatting.finite(finding.value),
            limit=formatting.finite(finding.limit),
            reason=next((w.reason for w in waivers if w.where.holds(finding.where, role)), ""),
        )

    findings = [reported(finding) for finding in every if finding.message]
    found_wrong = [finding for finding in findings if not finding.reason]
    is_failed = any(finding.severity != "note" for finding in found_wrong)
    outcome = RuleOutcome(
        rule=entry.code,
        name=entry.name,
        severity=severity or entry.rule.severity,
        summary=entry.summary,
        status="not run" if reason else "failed" if is_failed else "passed",
        reason=reason,
        findings=len(found_wrong),
        groups=[*dict.fromkeys(finding.group for finding in every)],
        meaning=entry.meaning,
        remedy=entry.remedy,
    )
    return outcome, findings


def _why(entry: Registered, found: CheckInput) -> str:
    """Why no update is known where a rule asks for one, the most frequent reason of the tensors
    that it is about."""
    if not {"lr", "peak_lr"} & {*entry.rule.needs}:
        return ""
    known = [t.forecast for t in found.subject.tensors if t.forecast is not None]
    forecasts = [
        each
        for each in known
        if each.is_matrix or "matrices" not in entry.rule.judges
        if each.role == "embedding" or "embeddings" not in entry.rule.judges
    ]
    reasons = Counter(each.reason for each in forecasts if each.reason)
    return "".join(f": {reason}" for reason, _ in reasons.most_common(1))
