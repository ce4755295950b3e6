"""A matrix that the lr changes by less of itself a step than is usual.

Below 1e-4 a step a matrix needs ten thousand steps that agree to be another one, below 1e-5 it is
as good as frozen, and that is an error. The limits are rules of thumb for the lr at its peak: of a
saved state, whose lr may be the end of a schedule, nothing is said.

Try: the lr that `scalecheck translate --target 1e-3` gives; a group of its own for a layer whose
weights are large; whether the layer is meant to stay as it is.
"""

from collections.abc import Iterator

from scalecheck.report.finding import Finding
from scalecheck.report.formatting import number, setting
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor, forecast, update in subject.updates:
        if forecast.band is None and not limits.are_own(tensor):
            continue
        own = limits.of(tensor)
        lr = "" if forecast.lr is None else f" at lr {setting(forecast.lr)}"
        message = f"changes by {number(update)} of itself a step{lr}"
        if update < own["frozen"]:
            yield tensor.judged(message, update, own["frozen"], "error")
        else:
            yield tensor.judged(message if update < own["low"] else "", update, own["low"])


RULE = Rule(
    "warning",
    find,
    "matrices with a relative update",
    needs=("peak_lr",),
    limits={
        "low": Limit(1e-4, "relative update below which there is a warning"),
        "frozen": Limit(1e-5, "relative update below which it is an error"),
    },
    ok=Example('model["w.weight"] = noise(64, 64)', "--lr 1e-4"),
    bad=Example(
        'model["w.weight"] = noise(64, 64)',
        "--lr 5e-6",
        finds="changes by 5.733e-05 of itself a step at lr 5e-06",
    ),
)
