"""Whether the updates of a translation lie among published ones, in one sentence: how many are
outside, which of them most, and the lrs at which all are inside."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from scalecheck.recipes.placement import NUMBERS, Placement, a_step, span
from scalecheck.recipes.ranges import ANY, Place, Range, published
from scalecheck.recipes.recipe import PHASE_WORDS, PHASES, Phase
from scalecheck.report.formatting import printable, rate
from scalecheck.report.part import Part
from scalecheck.updates.placed import adapter_placement, family_of
from scalecheck.updates.published_lrs import PROPORTIONAL, lr_bounds, span_of_lrs
from scalecheck.updates.situation import Situation
from scalecheck.updates.tensor_forecast import TensorForecast

if TYPE_CHECKING:
    from scalecheck.updates.adapter_steps import AdapterStep

Forecasts = Sequence[TensorForecast]

_OF_ALL_PHASES = ("start", "residual_start")
_GRAVITY = ("", "note", "warning", "error")
_KINDS = {
    "lr_equivalent": "adapters",
    "adapter_half": "A matrices",
    "start": "hidden matrices",
    "mid": "matrices",
    "residual_start": "residual outputs",
    "warm": "end of warm-up",
    "equilibrium": "equilibrium",
}
_TONES = {"": "ok", "note": "warning", "warning": "warning", "error": "error"}


def verdict(forecasts: Forecasts, steps: "Sequence[AdapterStep]", situation: Situation) -> Part:
    """The sentence and its tone, and the figures that it holds; steps: of adapters without a
    base."""
    every = _worst(forecasts, steps, situation)
    ranged = {name: one for name, one in every.items() if one.range != ANY or one.severity}
    if not every:
        return Part()
    outside = {name: one for name, one in every.items() if one.place != "inside"}
    bounds = lr_bounds(forecasts) if situation.phase is not None else None
    if not ranged:
        told = _without_range(forecasts, len(every))
    elif not outside and situation.phase is None and not situation.is_adapter:
        told = _phase_unknown(forecasts)
    else:
        told = _judged(every, outside, situation) + _bounds(forecasts, outside, bounds)
    worst = _largest(outside)
    summary = {
        "judged": len(every),
        "outside": len(outside),
        "outside_most": worst,
        "outside_most_value": None if worst is None else outside[worst].value,
        "outside_most_limit": None if worst is None else outside[worst].limit,
        **_phase_figures(forecasts if situation.phase is None else ()),
    }
    is_judged = bool(outside) or situation.phase is not None or situation.is_adapter
    tone = _TONES[outside[worst].severity if worst else ""] if is_judged and ranged else ""
    return Part(summary={"verdict": summary}, conclusion=[told], tone=tone)


def _worst(
    forecasts: Forecasts, steps: "Sequence[AdapterStep]", situation: Situation
) -> dict[str, Placement]:
    """Of each tensor or adapter the place that lies farthest outside, else its first. How small a
    step of A may be depends on its width, so that a small one is not judged."""
    places = {
        each.name: tuple(
            one
            for one in each.placements
            if not (one.place == "below" and one.range.quantity == "adapter_half")
        )
        for each in forecasts
    }
    found = {name: own for name, own in places.items() if own}
    for step in steps:
        if (place := adapter_placement(step, situation)) is not None:
            found[step.matrix.pair.name] = (place,)
    return {name: max(own, key=_distance) for name, own in found.items()}


def _distance(place: Placement) -> tuple[int, float]:
    return _GRAVITY.index(place.severity), place.range.times_outside(place.value)


def _largest(outside: Mapping[str, Placement]) -> str | None:
    """The one that lies farthest outside."""
    return max(outside, key=lambda name: _distance(outside[name]), default=None)


def _judged(
    every: Mapping[str, Placement], outside: Mapping[str, Placement], situation: Situation
) -> str:
    """3 of 16 matrices are above the published range of RL, 0.00005 to 0.03 % per step: w most, at
    1.2 % per step."""
    one, several = _nouns(every.values())
    ranges = dict.fromkeys(each.range for each in (outside or every).values())
    of = _ranges([*ranges], situation)
    worst = _largest(outside)
    if worst is None:
        return f"{_all(len(every), one, several)} inside {of}."
    count, found = len(outside), outside[worst]
    sides = Counter(each.place for each in outside.values())
    side = next(iter(sides)) if len(sides) == 1 else "outside"
    are = f"{count} of {len(every)} {several} {'is' if count == 1 else 'are'}"
    if count == len(every):
        are = _all(count, one, several)
    most = f"{printable(worst)} {'most, ' if count > 1 else ''}at {_value(found)}"
    told = f"{are} {side} {of}: {most}."
    if found.severity == "error":
        told += f" No published recipe comes near this (limit {_limit(found)})."
    return told


def _bounds(
    forecasts: Forecasts, outside: Mapping[str, Placement], bounds: tuple[float, float] | None
) -> str:
    """The lrs at which all matrices are inside, as some are not."""
    if bounds is None or not outside:
        return ""
    if bounds[0] >= bounds[1]:
        return " No single lr brings every matrix inside."
    quantities = {one.range.quantity for each in forecasts for one in each.placements}
    at = "" if quantities <= {*PROPORTIONAL} else " at the start"
    return f" All matrices are inside{at} for lr {span_of_lrs(bounds)}."


def _nouns(places: Iterable[Placement]) -> tuple[str, str]:
    quantities = {each.range.quantity for each in places}
    if quantities == {"adapter_half"}:
        return "A matrix of an adapter", "A matrices of adapters"
    if quantities == {"lr_equivalent"}:
        return "adapter", "adapters"
    if quantities == {"adapter_half", "lr_equivalent"}:
        return "part of an adapter", "parts of adapters"
    return "matrix", "matrices"


def _ranges(ranges: Sequence[Range], situation: Situation) -> str:
    """The published range of RL, 0.00005 to 0.03 % per step; of several kinds of matrices each."""
    if ANY in ranges:
        return f"{a_step(ANY.high)}, the most that recipes of any optimizer have"
    phase = PHASE_WORDS[situation.phase] if situation.phase else ""
    word = phase or "recipes of any phase"
    if all(of.is_adapter for of in ranges):
        word = f"LoRA {phase}" if phase else "LoRA runs"
    if len(ranges) == 1:
        return f"the published range of {word}, {_span(ranges[0])}"
    kinds = sorted(ranges, key=lambda of: [*_KINDS].index(of.quantity))
    each = ", ".join(
        f"{_KINDS[of.quantity]} {_lrs(of) if of.quantity in NUMBERS else span(of)}" for of in kinds
    )
    return f"the published ranges of {word} ({each} per step)"


def _span(of: Range) -> str:
    return _lrs(of) if of.quantity in NUMBERS else f"{span(of)} per step"


def _lrs(of: Range) -> str:
    return f"lr {rate(of.low)} to {rate(of.high)}"


def _all(count: int, one: str, several: str) -> str:
    """All 16 matrices are."""
    if count == 1:
        return f"The only {one} is"
    return f"Both {several} are" if count == 2 else f"All {count} {several} are"


def _value(place: Placement) -> str:
    number = place.range.quantity in NUMBERS
    return f"lr {rate(place.value)}" if number else a_step(place.value)


def _limit(place: Placement) -> str:
    return f"lr {rate(place.limit)}" if place.range.quantity in NUMBERS else a_step(place.limit)


def _without_range(forecasts: Forecasts, count: int) -> str:
    """Of optimizers that too few recipes use."""
    names = sorted({each.training.name for each in forecasts if each.placements})
    every = f"all {count} matrices are" if count > 1 else "the only matrix is"
    return (
        f"No range is published for {listed_with_and(names)}; {every} below "
        f"{a_step(ANY.high)}, the most that recipes of any optimizer have."
    )


@dataclass(frozen=True)
class AmongPhases:
    """The median update of so many matrices, and the ranges of phases that it lies inside, above
    and below."""

    median: float
    matrices: int
    places: Mapping[Place, Sequence[tuple[Phase, Range]]]


def among_phases(forecasts: Forecasts) -> AmongPhases | None:
    """None where no phase has a range for the optimizer, or there are several of different
    families."""
    judged = [
        each
        for each in forecasts
        for first in each.placements[:1]
        if first.range.quantity in _OF_ALL_PHASES and not first.range.is_adapter
        if first.range != ANY
    ]
    families = {family_of(each.training) for each in judged}
    if not judged or len(families) != 1:
        return None
    family = families.pop()
    value = median(each.placements[0].value for each in judged)
    found: dict[Place, list[tuple[Phase, Range]]] = {"inside": [], "above": [], "below": []}
    for phase in PHASES:
        own = published(*(("mid", "pretrain") if phase == "resume" else ("start", phase)), family)
        if own is not None:
            found[own.place(value)].append((phase, own))
    known = {place: those for place, those in found.items() if those}
    return AmongPhases(value, len(judged), known) if known else None


def _phase_figures(forecasts: Forecasts) -> dict[str, Any]:
    """The median update and the phases whose range it lies inside, above and below."""
    found = among_phases(forecasts)
    places = {} if found is None else found.places
    return {
        "median": None if found is None else found.median,
        "phases": {place: [phase for phase, _ in those] for place, those in places.items()},
    }


def _phase_unknown(forecasts: Forecasts) -> str:
    """The phases whose published updates are like these, without their ranges."""
    found = among_phases(forecasts)
    ask = "Pass --phase to judge by one."
    if found is None:
        return f"The phase of the run is not known. {ask}"
    words = [
        f"{place} published {listed_with_and(PHASE_WORDS[phase] for phase, _ in those)}"
        for place, those in found.places.items()
    ]
    which = "median matrix" if found.matrices > 1 else "only matrix"
    return f"Phase not known: the {which}, {a_step(found.median)}, is {', '.join(words)}. {ask}"


def listed_with_and(words: Iterable[str]) -> str:
    """A, B and C."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
