"""Which recipes a range is made of, and which lie near a model."""

import math
from collections.abc import Iterable

from scalecheck.recipes.quantities import FAMILIES, quantities
from scalecheck.recipes.ranges import Range
from scalecheck.recipes.recipe import Phase, Recipe, load


def members(of: Range) -> list[tuple[float, Recipe]]:
    """The verified recipes that a range is made of, each with its value."""
    found = []
    for recipe in load():
        if not recipe.verified or recipe.phase not in of.phases:
            continue
        if recipe.is_adapter != of.is_adapter or of.family not in ("", _family(recipe)):
            continue
        if of.domain not in ("", recipe.domain) or (of.is_read and not is_start_read(recipe)):
            continue
        if value := getattr(quantities(recipe), of.quantity):
            found.append((value, recipe))
    return found


def is_start_read(recipe: Recipe) -> bool:
    """Whether the scale and the width of its initialization are in its source."""
    return not recipe.init_assumed and not {"init_rms", "d_model"} & {*recipe.not_seen}


def width(recipe: Recipe) -> int | None:
    """d_model; of an adapter the inputs of its matrices."""
    return recipe.lora_n if recipe.is_adapter else recipe.d_model


def nearest(
    phase: Phase,
    family: str,
    d_model: int | None = None,
    domain: str | None = None,
    *,
    is_adapter: bool = False,
    count: int = 5,
) -> list[Recipe]:
    """The verified recipes of a phase and a family of optimizers that are nearest in width, by its
    logarithm; of the same domain first, where one is given. One without a width counts only where
    none is given."""
    return ordered(
        (
            recipe
            for recipe in load()
            if recipe.verified
            and recipe.phase == phase
            and _family(recipe) == family
            and recipe.is_adapter == is_adapter
            and (d_model is None or width(recipe))
        ),
        d_model,
        domain,
    )[:count]


def ordered(
    recipes: Iterable[Recipe], d_model: int | None, domain: str | None = None
) -> list[Recipe]:
    """By domain, then by distance in width, then by lr and name."""

    def key(recipe: Recipe) -> tuple[bool, float, float, str]:
        own = width(recipe)
        distance = abs(math.log(own / d_model)) if own and d_model else 0.0
        return domain not in (None, recipe.domain), distance, recipe.lr, recipe.name

    return sorted(recipes, key=key)


def _family(recipe: Recipe) -> str | None:
    return FAMILIES.get(recipe.optimizer)
