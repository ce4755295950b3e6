"""An embedding whose rare rows move far in one step.

Adam's second moment decays while a token is not seen, so the next gradient moves its row by several
times the lr per element: far more than the average over the table shows. Where that step is several
times the row itself, every appearance overwrites the token. Published fine-tunings of language
models reach 1.6 times the row; up to twice that is a note. At the start of a pretraining the rows
hold nothing yet, so the rule judges nothing.

Try: Use a smaller lr for the embedding. Use a smaller beta2, because √(1 − beta2) divides such a
step. Use larger weights where a norm follows the embedding.
"""

from collections.abc import Iterator

from scalecheck.report.finding import Finding, Severity
from scalecheck.report.formatting import figure
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    if subject.run.phase == "pretrain":
        return
    for tensor, forecast, _ in subject.updates:
        moved, limit = forecast.rare_row_update, limits.of(tensor)["displacement"]
        if moved is None:
            continue
        words = f"one gradient moves a rare row by {figure(moved)} times its rms"
        message = f"{words} (limit {figure(limit)})"
        is_near = moved <= 2 * limit and not limits.are_set(tensor)
        severity: Severity = "note" if is_near else "warning"
        yield tensor.judged(message if moved > limit else "", moved, limit, severity)


RULE = Rule(
    "warning",
    find,
    "embeddings with an expected update, past the start of a pretraining",
    needs=("lr",),
    limits={"displacement": Limit(1.6, "displacement of a row over its rms that is let pass")},
    ok=Example('model["emb.weight"] = ones(64, 64)', "--lr 1e-3"),
    bad=Example(
        'model["emb.weight"] = noise(64, 64)',
        "--lr 3e-3 --phase finetune",
        finds="one gradient moves a rare row by 4.76 times its rms (limit 1.6)",
    ),
)
