"""A pretraining whose first step is larger than published ones, as it has no warm-up.

Adam's first step moves every weight by the whole lr, whatever the gradient: 4 times what later
steps of noise do. Of 79 published pretrainings with Adam all but one start with a warm-up, so that
the first step, at lr/warm-up, changes hidden matrices by 0.05 % at most; the one without changes
them by 0.54 %. The rule asks about the start of a pretraining of which --steps are given, or
--warmup 0.

Try: --warmup of some hundred steps; a smaller lr.
"""

from collections.abc import Iterator
from statistics import median

from scalecheck.recipes.placement import Placement, percent
from scalecheck.recipes.ranges import published
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import plural, setting
from scalecheck.rules.contract import CheckpointFacts, Example, Limits, Rule, judged
from scalecheck.updates.placed import family_of
from scalecheck.updates.tensor_forecast import TensorForecast


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    run, of = subject.run, published("first_step", "pretrain", "adam")
    assert of is not None
    updates = [
        _first(forecast) for _, forecast, _ in subject.updates if forecast.name not in run.residuals
    ]
    known = [update for update in updates if update is not None]
    if not known or run.warmup is None:
        return
    found = Placement(median(known) / max(run.warmup, 1), of)
    lrs = {forecast.lr for _, forecast, _ in subject.updates}
    at = f" at lr {setting(*lrs)}" if len(lrs) == 1 else ""
    over = f"a warm-up of {plural(run.warmup, 'step')}" if run.warmup else "no warm-up"
    message = (
        f"with {over}{at} the first step changes hidden matrices by {percent(found.value)} % "
        f"(median of {len(known)}); in {of.recipes - 1} published pretrainings it is 0.05 % at most, in "
        "one without warm-up 0.54 %: give the run a warm-up"
    )
    is_above = found.place == "above"
    yield judged(
        "",
        message if is_above else "",
        value=found.value,
        limit=of.high,
        severity=found.severity if is_above else "",
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
    ok=Example(
        'model["w.weight"] = noise(64, 64)', "--lr 1e-3 --phase pretrain --steps 9999 --warmup 200"
    ),
    bad=Example(
        'model["w.weight"] = noise(64, 64)',
        "--lr 1e-3 --phase pretrain --warmup 0",
        finds="with no warm-up at lr 0.001 the first step changes hidden matrices by 5 % "
        "(median of 1); in 78 published pretrainings it is 0.05 % at most, in one without warm-up "
        "0.54 %: give the run a warm-up",
    ),
)
