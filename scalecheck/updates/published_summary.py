"""What a translation or a check says of its updates beside published ones, in sentences and in the
figures that these are made of."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from scalecheck.recipes.placement import Placement, a_step, span
from scalecheck.recipes.ranges import ANY, EXTREMES, RANGES, Place, Range, published
from scalecheck.recipes.recipe import PHASE_WORDS, PHASES
from scalecheck.updates.placed import adapter_placement, family_of, starts_large
from scalecheck.updates.situation import Situation
from scalecheck.updates.tensor_forecast import TensorForecast

if TYPE_CHECKING:
    from scalecheck.updates.adapter_steps import AdapterStep

Forecasts = Sequence[TensorForecast]

_ALL_PHASES = ("start", "residual_start")
_PROPORTIONAL = ("start", "residual_start", "mid")  # to the lr
_WHAT = {
    "start": "matrices",
    "residual_start": "residual outputs",
    "warm": "matrices at the end of warm-up",
    "mid": "matrices",
    "equilibrium": "matrices at equilibrium",
    "adapter_half": "adapters' A",
}


def places(
    forecasts: Forecasts, steps: "Sequence[AdapterStep]", run: Situation
) -> dict[Range, list[Placement]]:
    """Every place, by its range, in the order of the ranges; steps: of adapters without a base."""
    own = [adapter_placement(step, run) for step in steps]
    every = [each for forecast in forecasts for each in forecast.placements]
    found: dict[Range, list[Placement]] = {}
    for each in (*every, *filter(None, own)):
        found.setdefault(each.range, []).append(each)
    return {of: found[of] for of in dict.fromkeys((*RANGES, *EXTREMES, ANY)) if of in found}


def figures(
    forecasts: Forecasts, steps: "Sequence[AdapterStep]", situation: Situation
) -> dict[str, Any]:
    """The phase and its evidence, a record for each range, the lrs at which every step lies inside,
    and lr·√width of a language model."""
    groups = places(forecasts, steps, situation)
    bounds = lr_bounds(forecasts)
    lr, width = width_lr(forecasts, situation), situation.width
    return {
        "phase": situation.phase,
        "phase_evidence": situation.evidence or None,
        "is_adapter": situation.is_adapter,
        "published": [_record(of, group) for of, group in groups.items()],
        "published_lr_min": None if bounds is None else bounds[0],
        "published_lr_max": None if bounds is None else bounds[1],
        "width": width if lr is not None else None,
        "width_lr": lr,
    }


def _record(of: Range, group: Sequence[Placement]) -> dict[str, Any]:
    found = Counter[str](each.place for each in group)
    return {
        "quantity": of.quantity,
        "phases": [*of.phases],
        "median": median(each.value for each in group),
        "low": of.low,
        "high": of.high,
        "recipes": of.recipes,
        "sources": of.sources,
        **{place: found[place] for place in ("inside", "above", "below")},
    }


def lr_bounds(forecasts: Forecasts) -> tuple[float, float] | None:
    """The least and the largest lr at which every step lies inside its range; None where tensors
    have several lrs, or nothing is judged."""
    lrs = {each.lr for each in forecasts if each.lr is not None and each.placements}
    judged = [
        (one, starts_large(each))
        for each in forecasts
        for one in each.placements[:1]
        if one.range.quantity in _PROPORTIONAL and one.value
    ]
    if len(lrs) != 1 or not judged:
        return None
    (lr,) = lrs
    floors = [one.range.low / one.value for one, is_large in judged if not is_large]
    return lr * max(floors, default=0.0), lr * min(o.range.high / o.value for o, _ in judged)


def width_lr(forecasts: Forecasts, situation: Situation) -> float | None:
    """lr·√width at the start of a language model's pretraining by Adam."""
    lrs = {each.lr for each in forecasts if each.has_band and each.lr is not None}
    families = {family_of(each.training) for each in forecasts if each.has_band}
    is_known = situation.phase == "pretrain" and situation.is_peak and situation.width is not None
    if not is_known or len(lrs) != 1 or families != {"adam"} or situation.width is None:
        return None
    return lrs.pop() * math.sqrt(situation.width)


def sentences(
    forecasts: Forecasts, steps: "Sequence[AdapterStep]", situation: Situation
) -> Iterator[str]:
    """Where the updates lie among published ones, the lrs that are inside, and the width's."""
    groups = places(forecasts, steps, situation)
    for of, group in groups.items():
        if situation.phase is not None or of.is_adapter:
            yield _beside(of, group)
    if situation.phase is None and (sentence := against_each(forecasts)) is not None:
        yield sentence
    yield from unranged(forecasts, situation)
    is_known = situation.phase is not None
    if is_known and (bounds := lr_bounds(forecasts)) is not None and bounds[0] < bounds[1]:
        of_steps = [of for of in groups if of.quantity in _PROPORTIONAL]
        is_inside = all(one.place == "inside" for of in of_steps for one in groups[of])
        stay = "stay" if is_inside else "are"
        has_later = len(of_steps) < len(groups)  # the end of warm-up, or the equilibrium
        at = " at the start" if has_later else ""
        span_of = f"{bounds[0]:.3g} to" if bounds[0] else "up to"
        yield f"All steps {stay} inside{at} for lr {span_of} {bounds[1]:.3g}."
    elif is_known and bounds is not None:
        yield "No single lr brings every step inside."
    if (lr := width_lr(forecasts, situation)) is not None:
        of_width = published("width_lr", "pretrain", "adam")
        assert of_width is not None
        yield (
            f"lr·√width = {lr:.3g} at width {situation.width}, {of_width.place(lr)} what is "
            f"published for language models, {span(of_width)} ({of_width.recipes} recipes)."
        )


def _beside(of: Range, group: Sequence[Placement]) -> str:
    """Residual outputs change by 6.63 % per step (median of 8); published pretrainings start
    residual outputs at 0.1 to 12 % (37 recipes): all are inside."""
    middle = median(each.value for each in group)
    what = _WHAT.get(of.quantity, "matrices")
    if of.quantity == "start" and of.phases == ("pretrain",):
        what = "hidden matrices"
    outside = [each for each in group if each.place != "inside"]
    words = "all are inside" if not outside else f"{len(outside)} of {len(group)} are outside"
    many = f" (median of {len(group)})" if len(group) > 1 else ""
    subject = f"{what[0].upper()}{what[1:]} change by {a_step(middle)}"
    if of.quantity == "lr_equivalent":
        subject = f"The first step moves W like full fine-tuning at lr {middle:.3g}"
    return f"{subject}{many}; {group[0].published}: {words}."


def against_each(forecasts: Forecasts) -> str | None:
    """0.0229 % per step (median of 16 matrices) is inside published fine-tuning …; None where no
    phase has a range."""
    judged = [
        each
        for each in forecasts
        for first in each.placements[:1]
        if first.range.quantity in _ALL_PHASES and not first.range.is_adapter
        if first.range != ANY
    ]
    families = {family_of(each.training) for each in judged}
    if not judged or len(families) != 1:
        return None
    family = families.pop()
    value = median(each.placements[0].value for each in judged)
    words: dict[Place, list[str]] = {"inside": [], "above": [], "below": []}
    for phase in PHASES:
        is_mid = phase == "resume"
        own = published(*(("mid", "pretrain") if is_mid else ("start", phase)), family)
        if own is not None:
            words[own.place(value)].append(f"{PHASE_WORDS[phase]} ({span(own)})")
    said = [f"{place} published {_and(those)}" for place, those in words.items() if those]
    if not said:
        return None
    many = f" (median of {len(judged)} matrices)" if len(judged) > 1 else ""
    return (
        f"The phase of the run is not known: {a_step(value)}{many} is {', '.join(said)}. Pass "
        "--phase to judge by one."
    )


def unranged(forecasts: Forecasts, situation: Situation) -> Iterator[str]:
    """Of which optimizers no range is published, so that only what no recipe has is judged."""
    moved = [
        each
        for each in forecasts
        if each.has_band and each.relative_update is not None and not starts_large(each)
    ]
    ranges: dict[str, set[Range]] = {}
    for each in moved:
        if each.is_certain:
            own = {one.range for one in each.placements}
            ranges.setdefault(each.training.name, set()).update(own)
    at = "" if situation.phase is None else f" in {PHASE_WORDS[situation.phase]}"
    for name in sorted(name for name, own in ranges.items() if own <= {ANY}):
        judged = (
            f"only steps above {span(ANY)} are judged, which no recipe of any optimizer has"
            if ranges[name]
            else "its steps are not judged"
        )
        yield f"No range is published for {name}{at}, as there are too few recipes: {judged}."


def _and(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def phase_note(situation: Situation) -> str | None:
    """What says the phase where it was not given, or that an adapter is judged without one."""
    if situation.is_phase_found:
        return (
            f"judged as the start of a pretraining, as weights are those of an initialization: "
            f"{situation.evidence}; --phase says another"
        )
    if situation.phase is None and situation.is_adapter:
        return (
            "an adapter, by the names of its halves: judged by published LoRA runs of any phase; "
            "--phase finetune, preference or rl narrows the range"
        )
    return None
