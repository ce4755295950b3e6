"""Reports of findings, made by hand."""

from collections import Counter
from dataclasses import replace

from scalecheck.report.finding import Finding, RuleOutcome, tables
from scalecheck.report.report import Report

RULE_ROWS = (  # rule, name, severity, summary, meaning, remedy
    (
        "SC101",
        "non-finite",
        "error",
        "NaN or infinite elements",
        "The tensor holds NaN or infinite elements. Every output that they reach is not finite.",
        "Go back to the last checkpoint without them, and lower the lr or clip the gradient.",
    ),
    (
        "SC102",
        "dead-rows",
        "warning",
        "rows that are all zero",
        "Rows of the matrix are exactly zero: units that give nothing and may get no gradient.",
        "Let rows of padding pass in the configuration; else look for a mask left in the weights.",
    ),
    (
        "SC201",
        "family-outlier",
        "warning",
        "a tensor far off the scale of its family",
        "The rms is far from the median of the tensors that differ in the block index only.",
        "Compare the block with its neighbours in an earlier checkpoint.",
    ),
    (
        "SC401",
        "no-decay",
        "error",
        "a checkpoint without weight decay",
        "No parameter group of the saved optimizer has weight decay, so that weights only grow.",
        "Set the weight decay of the matrices.",
    ),
    (
        "SC105",
        "init-ratio",
        "error",
        "weights far off their initialization",
        "The rms is far from what the initialization gives.",
        "See whether the tensor was initialized by that scheme.",
    ),
    (
        "SC301",
        "grown",
        "warning",
        "tensors that grew since the baseline",
        "The rms is a multiple of the baseline's.",
        "Lower the lr or raise the weight decay.",
    ),
    (
        "SC302",
        "gone",
        "error",
        "tensors that the baseline has and this has not",
        "A tensor of the baseline is not in the checkpoint.",
        "See whether the model was renamed or a shard is missing.",
    ),
)
NOT_RUN = {
    "SC105": "needs --init",
    "SC301": "needs --baseline",
    "SC302": "needs --baseline",
}
GROUPS = {
    "SC101": ["blocks.N.attn.q.weight", "tok_emb.weight"],
    "SC102": ["blocks.N.attn.q.weight"],
    "SC201": ["blocks.N.mlp.up.weight"],
}


def _of(rule, severity, where, group, message, value=None, limit=None):
    (name,) = [row[1] for row in RULE_ROWS if row[0] == rule]
    return Finding(where, group, message, value, limit, severity, rule, rule_name=name)


NAN = _of(
    "SC101", "error", "blocks.1.attn.q.weight", "blocks.N.attn.q.weight", "3 NaN of 4,096", 3.0, 0.0
)
INF = _of(
    "SC101",
    "error",
    "blocks.4.attn.q.weight",
    "blocks.N.attn.q.weight",
    "4 infinite of 4,096",
    4.0,
    0.0,
)
DEAD = _of(
    "SC102",
    "warning",
    "blocks.4.attn.q.weight",
    "blocks.N.attn.q.weight",
    "5 of 48 rows are zero",
    5 / 48,
    1 / 48,
)
OFF = _of(
    "SC201",
    "warning",
    "blocks.3.mlp.up.weight",
    "blocks.N.mlp.up.weight",
    "rms is 101.7× the family's median",
    101.7,
    10.0,
)
WHOLE = _of("SC401", "error", "", "", "no weight has decay")
IGNORED_DEAD = _of(
    "SC102",
    "warning",
    "tok_emb.weight",
    "tok_emb.weight",
    "5 of 48 rows are zero",
    5 / 48,
    1 / 48,
)


def report(
    *findings,
    ignored=(),
    fail_on="error",
    path="runs/tiny-gpt",
    not_run=NOT_RUN,
    skipped=(),
    notes=(),
    tensors=52,
):
    """What `check` says: the findings, (finding, reason) pairs that are ignored, and the rules."""
    count = {code: sum(f.rule == code for f in findings) for code, *_ in RULE_ROWS}
    rules = [
        RuleOutcome(
            rule=code,
            name=name,
            severity=severity,
            summary=summary,
            status="not run" if code in not_run else "failed" if count[code] else "passed",
            reason=not_run.get(code, ""),
            findings=count[code],
            groups=[] if code in not_run else GROUPS.get(code, []),
            meaning=meaning,
            remedy=remedy,
        )
        for code, name, severity, summary, meaning, remedy in RULE_ROWS
    ]
    counts = Counter(f.severity for f in findings)
    return Report(
        "check",
        tables=tables(findings, [replace(f, reason=reason) for f, reason in ignored], rules),
        source={"path": path, "format": "safetensors", "tensors": tensors},
        settings={"init": None},
        skipped=skipped,
        summary={
            "errors": counts["error"],
            "warnings": counts["warning"],
            "notes": counts["note"],
            "ignored": len(ignored),
            "tensors": tensors,
            "rules_run": len(rules) - len(not_run),
            "rules_not_run": len(not_run),
            "fail_on": fail_on,
            "cannot_fail": "fail_on is never (command line)" if fail_on == "never" else None,
            "failed": any(finding.fails(fail_on) for finding in findings),
        },
        notes=notes,
    )


def reviewed():
    """One report with something of everything."""
    return report(
        WHOLE,
        NAN,
        OFF,
        INF,
        DEAD,
        ignored=[(IGNORED_DEAD, "padding of the vocabulary")],
        skipped=[{"name": "position_ids", "dtype": "I64", "reason": "holds integers"}],
        notes=["the optimizer's state was not read"],
    )
