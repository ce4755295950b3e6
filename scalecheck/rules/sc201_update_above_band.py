"""A matrix whose update is larger, relative to its weights, than in published recipes.

Updates that are too large overwrite what the weights hold: training can diverge or forget. The
relative update is lr·u/rms: the theory at the optimizer's settings or a saved state gives u. The
rule compares it with published recipes of the same phase, kind of optimizer and kind of matrix:
with Adam, hidden matrices move 0.1 to 5 % per step at the start of a pretraining, up to 1.6 % in a
fine-tuning, and up to 0.03 % in preference tuning and RL. The end of warm-up and the equilibrium of
weight decay have ranges of their own where the settings tell them. An update up to 2 times above
its range is a note, above that a warning. It is an error only where no published recipe comes near:
above 10 % for hidden matrices, 20 % for residual outputs, 2 % in a fine-tuning. The phase comes
from --phase, or from weights that look freshly initialized. Without a phase the rule reports only
what is outside every phase's range; for an optimizer with too few recipes, only what is outside
every recipe: more than 12 % per step. docs/recipes.md lists the ranges. Limits, --bands and
overrides by name or role replace them.

Try: Use the lr at which all steps are inside, which `scalecheck translate` prints. Pass --phase.
Add a warm-up where the weights are small at the start only. Check the scale where one layer is an
outlier.
"""

from collections.abc import Iterator

from scalecheck.recipes.placement import a_step
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import setting
from scalecheck.rules._published import beyond, beyond_of_adapters
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule, TensorFacts


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor, forecast, update in subject.updates:
        if limits.are_set(tensor):
            if forecast.band is not None or limits.are_own(tensor):
                yield _by_limits(tensor, forecast.lr, update, limits)
        else:
            yield from beyond(tensor, forecast, "above")
    yield from beyond_of_adapters(subject, "above")


def _by_limits(tensor: TensorFacts, lr: float | None, update: float, limits: Limits) -> Finding:
    own = limits.of(tensor)
    at = "" if lr is None else f" at lr {setting(lr)}"
    message = f"changes by {a_step(update)}{at}"
    if update >= own["very_high"]:
        return tensor.judged(message, update, own["very_high"])
    is_high = update >= own["high"]
    return tensor.judged(message if is_high else "", update, own["high"], "warning")


RULE = Rule(
    "error",
    find,
    "matrices with a relative update that a range is published for",
    needs=("lr",),
    limits={
        "high": Limit(3e-3, "relative update that is a warning", is_published=True),
        "very_high": Limit(1e-2, "relative update that is an error", is_published=True),
    },
    ok=Example('model["w.weight"] = noise(64, 64)', "--lr 1e-3 --phase pretrain"),
    bad=Example(
        'model["w.weight"] = noise(64, 64)',
        "--lr 1e-3 --phase rl",
        finds="changes by 1.15 % per step at lr 0.001; published RL runs change matrices by "
        "0.00005 to 0.03 % (14 recipes)",
    ),
)
