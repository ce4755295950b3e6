"""An embedding whose rare rows move far at one step.

Adam's second moment of a token that was not seen for long has faded, and the first gradient then
moves its row by several lr an element: by far more than the average over the table tells. Where
that is several times the row, rare tokens are rewritten at every appearance. Published fine-tunings
of language models go up to 1.6 times, so that up to twice that is a note. At the start of a
pretraining rows hold nothing yet, and nothing is judged.

Try: a smaller lr for the embedding; a smaller beta2, as √(1 − beta2) divides such a step; larger
weights, where a norm follows the embedding.
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
