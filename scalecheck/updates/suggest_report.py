"""What is said of suggested lrs: tables, sentences, and the figures that these are made of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scalecheck.recipes.near import DOMAIN_WORDS, FIT, LEAST
from scalecheck.recipes.nearest import width as width_of
from scalecheck.recipes.quantities import quantities
from scalecheck.recipes.ranges import published
from scalecheck.recipes.recipe import PHASE_WORDS, Recipe
from scalecheck.report.formatting import plural, printable, rate
from scalecheck.report.report import Column, Report, Table
from scalecheck.updates.suggest import (
    FITTED,
    NEAREST,
    ON_W,
    RELATIVE,
    Suggestion,
    Suggestions,
    Way,
)
from scalecheck.updates.summary import WITHOUT_LR

_LISTED = 12  # recipes of a phase that people see


def _lr(name: str, title: str, help: str) -> Column:
    """A column of lrs, which tables write as engineers do."""
    return Column(name, title, "written", help, cell=lambda row: _rate(row[name]))


def _rate(lr: float | None) -> str:
    return "" if lr is None else rate(lr)


SUGGESTED = (
    Column("phase", "phase", "text", "what the run is for"),
    Column("way", "lr by", "text", "what the lr is of", 0),
    _lr("lr", "lr", "the median, or the fit; null where there is none"),
    _lr("lr_low", "from", "the least: of the recipes, 1.7 times below the fit, or of 90 %"),
    _lr("lr_high", "to", "the largest, in the same way"),
    Column("recipes", "recipes", "count", "how many recipes it rests on", 1),
    Column("reason", "why none", "sentence", "why there is none", 2),
)
RECIPES = (
    Column("name", "recipe", "text", "the published recipe"),
    Column("phase", "phase", "text", "what it was for", 4),
    _lr("lr", "lr", "its largest lr"),
    Column("width", "width", "count", "d_model; of an adapter the inputs of its matrices"),
    Column("optimizer", "optimizer", "text", "its optimizer", 2),
    Column("weight_decay", "decay", "setting", "its weight decay", 3),
    Column("kind", "kind", "text", "lm, encoder, speech, vision, diffusion", 3),
    Column("source", "source", "text", "where it was read", 5),
)
RANKS = (
    Column("rank", "rank", "count", "of LoRA", 1),
    Column("alpha", "alpha", "setting", "of LoRA", 1),
    _lr("lr_equivalent", "as full lr", "lr·alpha/√(3·inputs·rank)"),
)

FIELDS: Mapping[str, Sequence[Column]] = {
    "`suggested`": SUGGESTED,
    "`recipes`": (*RECIPES, *RANKS),
}
"""The lists of JSON with their fields."""


def tables(found: Suggestions) -> list[Table]:
    """The ways to an lr, and the recipes that are near."""
    ways = [
        {
            "phase": one.phase,
            "way": way.name,
            "lr": way.lr,
            "lr_low": way.low,
            "lr_high": way.high,
            "recipes": way.recipes,
            "reason": way.reason or None,
        }
        for one in found.each
        for way in one.ways
    ]
    columns = [*RECIPES[:4], *(RANKS if found.traits.adapter else ()), *RECIPES[4:]]
    recipes = [_row(one, recipe) for one in found.each for recipe in one.near.recipes]
    shown = [_row(one, recipe) for one in found.each for recipe in one.near.recipes[:_LISTED]]
    more = len(recipes) - len(shown)
    notes = [f"{more} more recipes are in --format json"] if more else []
    every = len(found.each) > 1
    parts = [column for column in columns if every or column.name != "phase"]
    return [
        Table("suggested", SUGGESTED, SUGGESTED[:-1], ways),
        Table("recipes", columns, parts, shown, "Published recipes, nearest in width first", notes),
        Table("recipes", columns, (), [row for row in recipes if row not in shown]),
    ]


def _row(one: Suggestion, recipe: Recipe) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "phase": one.phase,
        "lr": recipe.lr,
        "width": width_of(recipe),
        "optimizer": recipe.optimizer,
        "weight_decay": recipe.weight_decay,
        "kind": recipe.domain,
        "source": recipe.source,
        "rank": recipe.lora_r,
        "alpha": recipe.lora_alpha,
        "lr_equivalent": quantities(recipe).lr_equivalent if recipe.is_adapter else None,
    }


def figures(found: Suggestions, lr: float | None) -> dict[str, Any]:
    """Of the sentences; lr: the one that was given."""
    model = found.traits
    adapter = model.adapter
    return {
        "suggested": {
            "width": model.width,
            "depth": model.depth,
            "parameters": model.parameters,
            "kind": model.domain,
            "optimizer": found.training.name,
            "gain": found.gain,
            "rank": adapter and adapter.rank,
            "alpha": adapter and adapter.alpha,
            "full_lr_over_lr": adapter and adapter.equivalence,
            "phases": [_figures(one, lr) for one in found.each],
        }
    }


def _figures(one: Suggestion, lr: float | None) -> dict[str, Any]:
    nearest, widths = one.way(NEAREST), one.near.widths
    middle = None if nearest is None else nearest.lr
    return {
        "phase": one.phase,
        "ways": {
            way.name: {"lr": way.lr, "low": way.low, "high": way.high, "recipes": way.recipes}
            for way in one.ways
        },
        "width_min": None if widths is None else widths[0],
        "width_max": None if widths is None else widths[1],
        "over_published": {
            way.name: way.lr / middle
            for way in one.ways
            if middle and way.lr is not None and way.name != NEAREST
        },
        "lr_over_median": lr / middle if lr and middle else None,
    }


def conclusions(found: Suggestions) -> Iterator[str]:
    """For pretraining with AdamW at width 768, published recipes use lr 3e-4 to 1.8e-3 (median
    6e-4, 9 recipes of width 512 to 1024): a line a phase."""
    optimizer = getattr(found.training.optimizer, "torch_class", "") or found.training.name
    for one in found.each:
        lora = "LoRA " if found.traits.adapter else ""
        start = f"For {lora}{PHASE_WORDS[one.phase]}"
        start += f" with {optimizer}" if found.training.is_known else ""
        start += f" at width {found.traits.width}" if found.traits.width else ""
        nearest = one.way(NEAREST)
        yield f"{start}, {_instead(one) if nearest is None else _used(nearest, one)}."


def _used(nearest: Way, one: Suggestion) -> str:
    low, middle, high = (_rate(x) for x in (nearest.low, nearest.lr, nearest.high))
    of, word = _sizes(one), "peak lr" if one.phase == "resume" else "lr"
    kind = f" of {DOMAIN_WORDS[one.asked.domain]}" if one.asked.domain else ""
    n = nearest.recipes
    if n == 1:
        name = one.near.recipes[0].name
        return f"one published recipe{kind} is near and uses {word} {middle} ({name}{of})"
    if low == high:
        return f"{n} published recipes{kind}{of} use {word} {middle}"
    recipes = f"median {middle}, {n} recipes{of}"
    return f"published recipes{kind} use {word} {low} to {high} ({recipes})"


def _sizes(one: Suggestion) -> str:
    """Of width 512 to 1024, where width chose them."""
    widths = one.near.widths
    if one.near.reach is None:
        return " of any width"
    if one.near.by_size or widths is None:
        return " of similar width or size"
    least, most = widths
    return f" of width {least}" + (f" to {most}" if most > least else "")


def _instead(one: Suggestion) -> str:
    """What gives an lr where no recipe is near."""
    for name in (FITTED, RELATIVE, ON_W):
        if (way := one.way(name)) is not None:
            low, middle, high = (_rate(x) for x in (way.low, way.lr, way.high))
            given = f"{low} to {high} (median {middle}, {way.recipes} recipes)"
            return f"the {name} gives lr {given}; no published recipe is near"
    return f"no lr can be suggested: {one.ways[0].reason}"


def sentences(found: Suggestions, lr: float | None) -> Iterator[str]:
    """Where the ways disagree and why, and where an lr that was given lies."""
    for one in found.each:
        at = f"{PHASE_WORDS[one.phase]}: " if len(found.each) > 1 else ""
        for sentence in (*_given(one, lr), *_few(one), *_apart(found, one)):
            yield f"{at}{sentence}." if at else f"{sentence[0].upper()}{sentence[1:]}."


def _given(one: Suggestion, lr: float | None) -> Iterator[str]:
    nearest = one.way(NEAREST)
    if lr is None or nearest is None or not (nearest.lr and nearest.low and nearest.high):
        return
    place = "below" if lr < nearest.low else "above" if lr > nearest.high else "inside"
    times = max(lr / nearest.lr, nearest.lr / lr)
    side = "above" if lr > nearest.lr else "below"
    middle = "the median" if times < 1.005 else f"{times:.3g} times {side} the median"
    yield f"an lr of {rate(lr)} is {place} what these recipes use, {middle}"


def _few(one: Suggestion) -> Iterator[str]:
    count = len(one.near.recipes)
    sources = len({recipe.origin for recipe in one.near.recipes})
    if 0 < count < LEAST:
        found = f"{plural(count, 'recipe')} from {plural(sources, 'source')}"
        yield f"{found} {'is' if count == 1 else 'are'} too few for a usual range"


def _apart(found: Suggestions, one: Suggestion) -> Iterator[str]:
    """The ways whose ranges do not meet that of the recipes, or whose middle lies outside of it."""
    nearest = one.way(NEAREST)
    if nearest is None or not (nearest.lr and nearest.low and nearest.high):
        return
    for way in one.ways[1:]:
        if way.lr is None or way.low is None or way.high is None:
            continue
        if _within_spread(way, nearest):
            continue
        times = max(way.lr / nearest.lr, nearest.lr / way.lr)
        side = "above" if way.lr > nearest.lr else "below"
        yield (
            f"the {way.name} gives lr {rate(way.lr)}, {times:.3g} times {side} the median of the "
            f"recipes: {_why(found, one, way)}"
        )


def _within_spread(way: Way, nearest: Way) -> bool:
    """It lies in the recipes' range, or as near as one recipe strays from the others."""
    lr, low, high = way.lr or 0.0, nearest.low or 0.0, nearest.high or 0.0
    return low / FIT.spread <= lr <= high * FIT.spread


def _why(found: Suggestions, one: Suggestion, way: Way) -> str:
    width = found.traits.width
    if way.name == FITTED:
        low, high = FIT.widths
        if width is not None and not low <= width <= high:
            return f"width {width} is outside its range {low} to {high}, so it is a guess here"
        side = "below" if (way.lr or 0.0) > (one.ways[0].lr or 0.0) else "above"
        return (
            f"it is fitted to {FIT.recipes} recipes of width {low} to {high}, and those near this "
            f"width lie {side} it"
        )
    if way.name == ON_W:
        return "recipes keep one lr whatever rank and alpha are, so their first steps on W differ"
    gains = published("gain", "pretrain", "adam")
    if one.phase == "pretrain" and found.gain is not None and gains is not None:
        place = "inside" if gains.p5 <= found.gain <= gains.p95 else "outside"
        return (
            f"its matrices start at rms·√width {found.gain:.3g}, {place} the published "
            f"{gains.p5:.3g} to {gains.p95:.3g}, and published lrs follow the width, not the scale "
            "of the start"
        )
    return (
        f"published relative updates span a factor of {way.span:,.0f} and rest on an assumed scale "
        "of the weights"
    )


def notes(found: Suggestions) -> Iterator[str]:
    """The evidence that the recipes were chosen by."""
    model = found.traits
    yield printable(model.width_evidence)
    kind = "" if model.domain is None else f"Recipes are of {DOMAIN_WORDS[model.domain]}, as "
    yield printable(f"{kind}{model.domain_evidence}")
    layers = f"{plural(model.depth, 'layer')}, " if model.depth else ""
    yield f"{layers}{plural(model.parameters, 'parameter')}"
    if len(found.each) > 1:
        yield printable(f"The phase is not known, {found.phase_evidence}. Pass --phase for one.")
    for one in found.each:
        if one.near.reason:
            yield printable(
                f"No published recipe is near for {PHASE_WORDS[one.phase]}: {one.near.reason}."
            )
    for words in dict.fromkeys(
        f"The {way.name} gives no lr for {PHASE_WORDS[one.phase]}: {way.reason}."
        for one in found.each
        for way in one.ways[1:]
        if way.reason
    ):
        yield printable(words)
    if found.is_default:
        yield (
            f"No optimizer state was found, so recipes are of {found.training.name}. Pass "
            "--optimizer for another."
        )
    if model.adapter is not None:
        alpha = "not known" if model.adapter.alpha is None else f"{model.adapter.alpha:g}"
        words = f"The adapter has rank {model.adapter.rank} and alpha {alpha}"
        if (factor := model.adapter.equivalence) is not None:
            words += f": its first step moves W like full fine-tuning at {factor:.3g} × its lr"
        yield f"{words}."
    yield (
        "A published lr worked for its authors and may not be the best: docs/suggest.md has the "
        "error of each way."
    )


def with_suggestions(report: Report, found: Suggestions, lr: float | None) -> Report:
    """A translation that suggests an lr: its own tables, and what they come to, are for machines
    then. lr: the one that was given."""
    hidden = [replace(table, shown=(), title="", notes=()) for table in report.tables]
    return replace(
        report,
        tables=[*tables(found), *hidden],
        summary={**report.summary, **figures(found, lr)},
        conclusion=[*conclusions(found)],
        tone="",
        totals="\n".join(sentences(found, lr)),
        notes=[*notes(found), *(note for note in report.notes if note != WITHOUT_LR)],
    )
