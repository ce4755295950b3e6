"""What a translation or a check says of its updates beside published ones, in sentences and in the
figures that these are made of."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Any

from scalecheck.recipes.placement import Placement, a_step, span
from scalecheck.recipes.ranges import ANY, EXTREMES, RANGES, Range, published
from scalecheck.recipes.recipe import PHASE_WORDS
from scalecheck.report.formatting import rate
from scalecheck.report.part import Part
from scalecheck.updates.band_summary import banded
from scalecheck.updates.bands import Bands
from scalecheck.updates.placed import adapter_placement, starts_large
from scalecheck.updates.published_lrs import PROPORTIONAL, lr_bounds, span_of_lrs, width_lr
from scalecheck.updates.situation import Situation
from scalecheck.updates.tensor_forecast import TensorForecast
from scalecheck.updates.verdict import among_phases, listed_with_and, verdict

if TYPE_CHECKING:
    from scalecheck.updates.adapter_steps import AdapterStep

Forecasts = Sequence[TensorForecast]

_WHAT = {
    "start": "matrices",
    "residual_start": "residual outputs",
    "warm": "matrices at the end of warm-up",
    "mid": "matrices",
    "equilibrium": "matrices at equilibrium",
    "adapter_half": "adapters' A",
}


def part(
    forecasts: Forecasts, steps: "Sequence[AdapterStep]", situation: Situation, bands: Bands | None
) -> Part:
    """What a translation says of updates beside published ones, or in the bands that were given in
    their place; steps: of adapters without a base."""
    own = figures(forecasts, steps, situation)
    if bands is not None:
        given = banded(forecasts, bands)
        limits = f"Bands of the relative update of a matrix: {bands}."
        return replace(given, summary={**own, **given.summary}, notes=[limits])
    judged = verdict(forecasts, steps, situation)
    phase = phase_note(situation)
    return Part(
        summary={**own, **judged.summary},
        conclusion=judged.conclusion,
        tone=judged.tone,
        sentences=[*sentences(forecasts, steps, situation)],
        notes=[
            *([] if phase is None else [phase]),
        ],
    )


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


def sentences(
    forecasts: Forecasts, steps: "Sequence[AdapterStep]", situation: Situation
) -> Iterator[str]:
    """The lrs that are inside where all updates are, and the width's."""
    found = places(forecasts, steps, situation)
    of_steps = [one for of in found if of.quantity in PROPORTIONAL for one in found[of]]
    bounds = lr_bounds(forecasts) if situation.phase is not None else None
    if bounds is not None and bounds[0] < bounds[1] and _are_inside(of_steps):
        later = len(of_steps) < sum(map(len, found.values()))  # the end of warm-up, equilibrium
        at = " at the start" if later else ""
        yield f"All matrices stay inside{at} for lr {span_of_lrs(bounds)}."
    if (lr := width_lr(forecasts, situation)) is not None:
        of_width = published("width_lr", "pretrain", "adam")
        assert of_width is not None
        yield (
            f"lr·√width = {lr:.3g} at width {situation.width}: {of_width.place(lr)} the published "
            f"range of language models, {span(of_width)} ({of_width.recipes} recipes)."
        )


def details(
    forecasts: Forecasts,
    steps: "Sequence[AdapterStep]",
    situation: Situation,
    is_banded: bool = False,
) -> Iterator[str]:
    """The median update of each kind beside its range, or where the phase is not known beside the
    ranges of all phases; nothing where bands were given."""
    if is_banded:
        return
    for of, group in places(forecasts, steps, situation).items():
        if of != ANY and (situation.phase is not None or of.is_adapter):
            yield _beside(of, group)
    if situation.phase is None and (sentence := against_each(forecasts)) is not None:
        yield sentence


def _are_inside(found: Sequence[Placement]) -> bool:
    return all(one.place == "inside" for one in found)


def _beside(of: Range, group: Sequence[Placement]) -> str:
    """Residual outputs change by 6.63 % per step (median of 8); published pretrainings start
    residual outputs at 0.1 to 12 % (37 recipes): all are inside."""
    middle = median(each.value for each in group)
    what = _WHAT.get(of.quantity, "matrices")
    if of.quantity == "start" and of.phases == ("pretrain",):
        what = "hidden matrices"
    outside = [each for each in group if each.place != "inside"]
    words = "inside" if len(group) == 1 else "all are inside"
    if outside:
        words = "outside" if len(group) == 1 else f"{len(outside)} of {len(group)} are outside"
    many = f" (median of {len(group)})" if len(group) > 1 else ""
    subject = f"{what[0].upper()}{what[1:]} change by {a_step(middle)}"
    if of.quantity == "lr_equivalent":
        subject = f"The first step moves W like full fine-tuning at lr {rate(middle)}"
    return f"{subject}{many}; {group[0].published}: {words}."


def against_each(forecasts: Forecasts) -> str | None:
    """0.0229 % per step (median of 16 matrices) is inside published fine-tuning …; None where no
    phase has a range."""
    found = among_phases(forecasts)
    if found is None:
        return None
    said = [
        f"{place} published {listed_with_and(f'{PHASE_WORDS[p]} ({span(of)})' for p, of in those)}"
        for place, those in found.places.items()
    ]
    many = f" (median of {found.matrices} matrices)" if found.matrices > 1 else ""
    return (
        f"The phase of the run is not known: {a_step(found.median)}{many} is {', '.join(said)}. "
        "Pass --phase to judge by one."
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
            f"Only updates above {span(ANY)} per step, more than any recipe has, are judged."
            if ranges[name]
            else "Its updates are not judged."
        )
        yield f"Too few recipes are published for {name}{at} to give a range. {judged}"


def phase_note(situation: Situation) -> str | None:
    """What says the phase where it was not given, or that an adapter is judged without one."""
    if situation.is_phase_found:
        return (
            "Judged as the start of a pretraining, because the weights look freshly initialized: "
            f"{situation.evidence}. Pass --phase if it is another phase."
        )
    if situation.phase is None and situation.is_adapter:
        return (
            "Judged by published LoRA runs of any phase, because the tensors are named like an "
            "adapter's. Pass --phase (finetune, preference or rl) for a narrower range."
        )
    return None
