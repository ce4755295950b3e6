"""A pretraining without a warm-up whose first step is larger than published ones.

Adam's first step moves every weight by the whole lr, whatever the gradient: 4 times what later
steps move it when gradients are noise. It follows the signs of one batch's gradients, so most of a
step that large is noise. Of 79 published pretrainings with Adam all but one have a warm-up: their
first step, at lr/warm-up, changes hidden matrices by at most 0.05 %. DiT has none, and its first
step changes them by 0.54 %. Without a warm-up, more than 0.05 % is a note and more than twice that
a warning; with a warm-up the rule reports only more than 0.54 %. It judges only the start of a
pretraining, with --steps or with --warmup 0.

Try: Warm up over a few hundred steps (--warmup), or lower the lr.
"""

from collections.abc import Iterator
from statistics import median

from scalecheck.recipes.placement import percent
from scalecheck.recipes.ranges import NOTED
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import plural, rate
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule, judged
from scalecheck.updates.placed import family_of
from scalecheck.updates.tensor_forecast import TensorForecast


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    warmup, residuals = subject.run.warmup, subject.run.residuals
    hidden = [each for _, each, _ in subject.updates if each.name not in residuals]
    known = {each.name: update for each in hidden if (update := _first(each)) is not None}
    if not known or warmup is None:
        return
    limit = limits.at("", "")["with_warmup" if warmup else "without_warmup"]
    first = median(known.values()) / max(warmup, 1)
    lrs = {each.lr for each in hidden if each.name in known and each.lr is not None}
    at = f" at lr {rate(*lrs)}" if len(lrs) == 1 else ""
    over = f"a warm-up of {plural(warmup, 'step')}" if warmup else "no warm-up"
    message = (
        f"the first step{at} with {over} changes hidden matrices by {percent(first)} % (median of "
        f"{len(known)}); 78 published pretrainings with a warm-up have at most 0.05 %, the one "
        "without has 0.54 %"
    )
    is_note = first <= NOTED * limit
    yield judged(
        "",
        message if first > limit else "",
        value=first,
        limit=limit,
        severity="note" if is_note else "warning",
    )


def _first(forecast: TensorForecast) -> float | None:
    """The relative update of a first step at the full lr; None of what is not judged."""
    is_adam = forecast.has_band and family_of(forecast.training) == "adam"
    return forecast.nominal_relative_update if is_adam else None


RULE = Rule(
    "warning",
    find,
    "hidden matrices that Adam trains",
    needs=("lr", "phase", "warmup"),
    limits={
        "without_warmup": Limit(5e-4, "relative update of a first step without a warm-up"),
        "with_warmup": Limit(5.4e-3, "the same at the beginning of a warm-up"),
    },
    ok=Example(
        'model["w.weight"] = noise(64, 64)', "--lr 1e-3 --phase pretrain --steps 9999 --warmup 200"
    ),
    bad=Example(
        'model["w.weight"] = noise(64, 64)',
        "--lr 1e-3 --phase pretrain --warmup 0",
        finds="the first step at lr 1e-3 with no warm-up changes hidden matrices by 5 % (median of "
        "1); 78 published pretrainings with a warm-up have at most 0.05 %, the one without has "
        "0.54 %",
    ),
)
