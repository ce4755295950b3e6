"""A matrix that the lr changes by more of itself a step than is usual.

The relative update is lr·u/rms: u by theory at the optimizer's settings, or as a saved state says.
From 3e-3 on a matrix is rewritten within some hundred steps that agree, from 1e-2 on it is an
error. The limits are rules of thumb for the lr at its peak; limits, --bands and overrides by name
or role move them.

Try: the lr that `scalecheck translate --target 1e-3` gives; warm-up, where weights are small at the
start only; a look at the scale, where one layer stands out.
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
        if update >= own["very_high"]:
            yield tensor.judged(message, update, own["very_high"])
        else:
            is_high = update >= own["high"]
            yield tensor.judged(message if is_high else "", update, own["high"], "warning")


RULE = Rule(
    "error",
    find,
    "matrices with a relative update",
    needs=("lr",),
    limits={
        "high": Limit(3e-3, "relative update that is a warning"),
        "very_high": Limit(1e-2, "relative update that is an error"),
    },
    ok=Example('model["w.weight"] = noise(64, 64)', "--lr 1e-4"),
    bad=Example(
        'model["w.weight"] = noise(64, 64)',
        "--lr 1e-3",
        finds="changes by 0.01147 of itself a step at lr 0.001",
    ),
)
