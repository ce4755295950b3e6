"""Findings on updates that lie outside of published ranges, which two rules share: one above, one
below."""

from collections.abc import Iterator
from typing import Any

from scalecheck.recipes.placement import Placement, a_step
from scalecheck.recipes.ranges import Place
from scalecheck.report.finding import Finding, Severity
from scalecheck.report.formatting import setting
from scalecheck.rules.contract import CheckpointFacts, TensorFacts, judged
from scalecheck.updates.tensor_forecast import TensorForecast


def beyond(tensor: TensorFacts, forecast: TensorForecast, place: Place) -> Iterator[Finding]:
    """Of a tensor that has a range: the number that lies farthest to this side of its own."""
    judged_by = [each for each in forecast.placements if place == "above" or each.range.low]
    if not judged_by:
        return
    found = [each for each in judged_by if each.place == place]
    if place == "below":  # how small a step of A may be depends on its width
        found = [each for each in found if each.range.quantity != "adapter_half"]
    worst = max(found, key=lambda each: each.range.times_outside(each.value), default=None)
    if worst is None:
        yield tensor.judged()
    else:
        severity: Severity = worst.severity or "note"
        words = told(worst, forecast.lr)
        figures = (worst.value, worst.limit, severity)
        yield tensor.judged(words, *figures, **together(worst, forecast.lr))


def beyond_of_adapters(subject: CheckpointFacts, place: Place) -> Iterator[Finding]:
    """The same of adapters without a base, by the lr of full fine-tuning that they are like."""
    for name, lr, found in subject.adapter_places:
        if found.place == place:
            figures = {"value": found.value, "limit": found.limit, "severity": found.severity}
            yield judged(name, told(found, lr), **figures, **together(found, lr))
        else:
            yield judged(name)


def together(place: Placement, lr: float | None) -> dict[str, Any]:
    """What several of the same range say together, and each of them then."""
    if place.range.quantity == "lr_equivalent":
        words = "the first step{lr} moves W like full fine-tuning at lr {number}"
        return {"several": f"{words}; {place.published}", "own": f"{place.value:.3g}", "lr": lr}
    when = {"equilibrium": "at equilibrium", "warm": "at the end of warm-up"}
    words = f"{{step}}{{lr}} {when.get(place.range.quantity, '')}".rstrip()
    return {"several": f"{words}; {place.published}", "own": a_step(place.value), "lr": lr}


def told(place: Placement, lr: float | None) -> str:
    """Changes by 6.63 % per step at lr 0.002; published pretrainings start residual outputs at 0.1
    to 12 % (37 recipes)."""
    at = "" if lr is None else f" at lr {setting(lr)}"
    if place.range.quantity == "lr_equivalent":
        words = f"the first step{at} moves W like full fine-tuning at lr {place.value:.3g}"
        return f"{words}; {place.published}"
    said = {
        "warm": f"changes by {a_step(place.value)} at the end of warm-up",
        "equilibrium": f"settles at {a_step(place.value)} under weight decay",
    }
    words = said.get(place.range.quantity, f"changes by {a_step(place.value)}")
    return f"{words}{at}; {place.published}"
