"""A matrix whose update is smaller, relative to its weights, than in published recipes.

The matrix learns slowly, so steps are wasted; nothing breaks. The rule uses the ranges of SC201. An
update up to 2 times below its range is a note, below that a warning. It is an error only where
nothing moves: a run of --steps moves the matrix by less than 1e-4 of its size even if all its
gradients agree. SC203 reports weights that round back to their old value. The rule does not judge a
saved state, because its lr may be the end of a schedule.

Try: Use the lr at which all steps are inside, which `scalecheck translate` prints. Pass --phase.
Give a layer with large weights a parameter group of its own. Check whether the layer is meant to
stay unchanged.
"""

from collections.abc import Iterator

from scalecheck.recipes.placement import a_step, percent
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import setting
from scalecheck.rules._published import beyond, beyond_of_adapters
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule, TensorFacts
from scalecheck.updates.tensor_forecast import TensorForecast

STILL = 1e-4  # of itself over a whole run: a matrix that moves less stays what it is


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor, forecast, update in subject.updates:
        if limits.are_set(tensor):
            if forecast.band is not None or limits.are_own(tensor):
                yield _by_limits(tensor, forecast.lr, update, limits)
        elif forecast.has_band and forecast.drift is not None and forecast.drift < STILL:
            yield tensor.judged(_still(forecast), forecast.drift, STILL, "error")
        else:
            yield from beyond(tensor, forecast, "below")
    yield from beyond_of_adapters(subject, "below")


def _still(forecast: TensorForecast) -> str:
    lr = "" if forecast.lr is None else f" at lr {setting(forecast.lr)}"
    return f"the whole run changes it by at most {percent(forecast.drift or 0.0)} %{lr}"


def _by_limits(tensor: TensorFacts, lr: float | None, update: float, limits: Limits) -> Finding:
    own = limits.of(tensor)
    at = "" if lr is None else f" at lr {setting(lr)}"
    message = f"changes by {a_step(update)}{at}"
    if update < own["frozen"]:
        return tensor.judged(message, update, own["frozen"], "error")
    return tensor.judged(message if update < own["low"] else "", update, own["low"])


RULE = Rule(
    "warning",
    find,
    "matrices with a relative update that a range is published for",
    needs=("peak_lr",),
    limits={
        "low": Limit(1e-4, "relative update below which there is a warning", is_published=True),
        "frozen": Limit(1e-5, "relative update below which it is an error", is_published=True),
    },
    ok=Example('model["w.weight"] = noise(64, 64)', "--lr 1e-4 --phase pretrain"),
    bad=Example(
        'model["w.weight"] = noise(64, 64)',
        "--lr 5e-6 --phase pretrain",
        finds="changes by 0.00573 % per step at lr 5e-06; published pretrainings start hidden "
        "matrices at 0.1 to 5 % (82 recipes)",
    ),
)
