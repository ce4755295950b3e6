"""The lr that published recipes have near a model: those of its width and kind, a fit over width,
and how far either is off for a recipe that it does not know."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

from scalecheck.recipes.nearest import ordered, width
from scalecheck.recipes.quantities import ADAM, FAMILIES, MUON
from scalecheck.recipes.recipe import PHASE_WORDS, Phase, Recipe, load

REACHES = (2.0, 4.0)  # times the width up or down: the second where the first has too few
LEAST = 3  # recipes that a median is of
_SAME_SCALE = 3.0  # times, within which two updates of Muon count as scaled alike

DOMAIN_WORDS = {
    "lm": "language models",
    "encoder": "encoders",
    "speech": "speech models",
    "vision": "vision models",
    "diffusion": "diffusion models",
}


@dataclass(frozen=True)
class Asked:
    """A run that an lr is asked for.

    optimizer: as recipes name it, any of Adam's family as adam; None where no recipe has it. width:
    d_model, of an adapter the inputs of its matrices; parameters: of the model, which tell how near
    a recipe is where either width is not known; None where they are not known. domain: None for
    all.
    update_rms: of Muon's updates at lr 1, which are scaled in several ways.
    """

    phase: Phase
    optimizer: str | None
    width: int | None = None
    domain: str | None = None
    is_adapter: bool = False
    update_rms: float | None = None
    parameters: int | None = None


@dataclass(frozen=True)
class Near:
    """The recipes near a run, by their distance in width; none where `reason` says why. reach: how
    many times wider or narrower they are at most; None where width does not choose them. by_size:
    some do not say their width, and are near by their parameters."""

    recipes: Sequence[Recipe] = ()
    reach: float | None = None
    reason: str = ""
    by_size: bool = False

    @property
    def lrs(self) -> tuple[float, float, float] | None:
        """The least, the median and the largest lr."""
        found = [recipe.lr for recipe in self.recipes]
        return (min(found), median(found), max(found)) if found else None

    @property
    def widths(self) -> tuple[int, int] | None:
        found = [own for recipe in self.recipes if (own := width(recipe))]
        return (min(found), max(found)) if found else None


def near(asked: Asked, among: Iterable[Recipe] | None = None) -> Near:
    """The verified recipes of the same phase, optimizer and kind whose width is within 2 times, or
    within 4 where these are fewer than 3. Where most do not say their size it is all of them."""
    pool = [one for one in (load() if among is None else among) if _is_alike(one, asked)]
    if not pool:
        return Near(reason=_none(asked))
    sized = [(times, one) for one in pool if (times := _distance(one, asked)) is not None]
    if 2 * len(sized) < len(pool):
        return Near(ordered(pool, asked.width, asked.domain))
    found: list[Recipe] = []
    reach = REACHES[0]
    for reach in REACHES:
        found = [one for times, one in sized if times <= reach * (1 + 1e-9)]
        if len(found) >= LEAST:
            break
    if found:
        by_size = asked.width is None or any(width(one) is None for one in found)
        return Near(ordered(found, asked.width, asked.domain), reach, by_size=by_size)
    times, first = min(sized, key=lambda pair: pair[0])
    own = width(first)
    if own is not None and asked.width is not None:
        far = f"{times:.3g}" if times < 100 else f"{times:,.0f}"
        words = f"the nearest in width is {first.name} at {own}, {far} times away"
    else:
        words = f"the nearest in size is {first.name} with {first.params:,} parameters"
    return Near(reason=words)


def _is_alike(recipe: Recipe, asked: Asked) -> bool:
    phases = ("pretrain", "resume") if asked.phase == "resume" else (asked.phase,)
    if not recipe.verified or recipe.phase not in phases:
        return False
    if recipe.is_adapter != asked.is_adapter or asked.domain not in (None, recipe.domain):
        return False
    if FAMILIES.get(recipe.optimizer) == ADAM:
        return asked.optimizer == ADAM
    if recipe.optimizer == MUON and recipe.update_rms and asked.update_rms:
        times = recipe.update_rms / asked.update_rms
        if not 1 / _SAME_SCALE < times < _SAME_SCALE:
            return False
    return recipe.optimizer == asked.optimizer


def is_published(phase: Phase, domain: str | None, is_adapter: bool) -> bool:
    """Whether any verified recipe is of the phase and the kind, whatever its optimizer."""
    optimizers = {ADAM, *(one.optimizer for one in load())}
    asked = (Asked(phase, own, domain=domain, is_adapter=is_adapter) for own in optimizers)
    return any(_is_alike(recipe, own) for own in asked for recipe in load())


def _distance(recipe: Recipe, asked: Asked) -> float | None:
    """How many times wider or narrower it is; where a width is not known by parameters, which grow
    with its cube; None where these are not known either."""
    own = width(recipe)
    if own is not None and asked.width is not None:
        times = own / asked.width
    elif recipe.params and asked.parameters and not asked.is_adapter:
        times = float((recipe.params / asked.parameters) ** (1 / 3))
    else:
        return None
    return max(times, 1 / times)


def _none(asked: Asked) -> str:
    kind = "" if asked.domain is None else f" of {DOMAIN_WORDS[asked.domain]}"
    return f"none{kind} is for {PHASE_WORDS[asked.phase]} with this optimizer"


@dataclass(frozen=True)
class WidthFit:
    """lr ≈ coefficient·width^exponent, within `spread` times either way for two of three recipes;
    widths: the least and the largest it is of."""

    coefficient: float
    exponent: float
    spread: float
    recipes: int
    widths: tuple[int, int]

    def lr(self, width: int) -> float:
        return float(self.coefficient * width**self.exponent)


FIT = WidthFit(0.0868, -0.738, 1.67, 47, (128, 14336))
"""Language models' pretraining by Adam; tests/test_suggest.py derives it from the recipes."""


def fitted(recipes: Sequence[Recipe]) -> WidthFit:
    """The line of least squares through log lr over log width; recipes: all with a width."""
    pairs = [(math.log(own), math.log(one.lr)) for one in recipes if (own := width(one))]
    middle_x = math.fsum(x for x, _ in pairs) / len(pairs)
    middle_y = math.fsum(y for _, y in pairs) / len(pairs)
    over = math.fsum((x - middle_x) ** 2 for x, _ in pairs)
    exponent = math.fsum((x - middle_x) * (y - middle_y) for x, y in pairs) / over
    start = middle_y - exponent * middle_x
    left = math.fsum((y - start - exponent * x) ** 2 for x, y in pairs) / len(pairs)
    found = [own for one in recipes if (own := width(one))]
    widths = min(found), max(found)
    return WidthFit(math.exp(start), exponent, math.exp(math.sqrt(left)), len(pairs), widths)


def has_fit(asked: Asked) -> bool:
    """Whether lr follows width closely: for language models' pretraining by Adam."""
    is_alike = (asked.phase, asked.optimizer, asked.domain) == ("pretrain", ADAM, "lm")
    return is_alike and asked.width is not None and not asked.is_adapter


def of_fit(recipes: Iterable[Recipe]) -> list[Recipe]:
    """The recipes that the fit is of: those that say their width, their start and their steps."""
    whole = Asked("pretrain", ADAM, domain="lm")
    alike = (one for one in recipes if _is_alike(one, whole))
    return [one for one in alike if width(one) and one.init_rms and one.steps]


@dataclass(frozen=True)
class Error:
    """How many times off a prediction is, up or down, over recipes that it does not know.

    what: the recipes. method: near or fit. recipes: those with a prediction, untold: those without.
    """

    what: str
    method: str
    recipes: int
    untold: int
    middle: float
    most: float
    worst: float


@cache
def leave_one_out() -> tuple[Error, ...]:
    """The error of each prediction on every verified recipe, from the recipes of other sources: a
    repository's recipes follow one table and would tell each other's."""
    found: list[Error] = []
    for what, group in _groups():
        ways: list[tuple[str, Callable[[Recipe, Sequence[Recipe]], float | None]]] = [
            ("nearest recipes", _by_near)
        ]
        if all(has_fit(_asked(one)) for one in group if width(one)):
            ways.append(("fit over width", _by_fit))
        for method, predict in ways:
            errors = []
            for one in group:
                others = [other for other in load() if other.origin != one.origin]
                if (lr := predict(one, others)) is not None:
                    errors.append(max(lr / one.lr, one.lr / lr))
            if errors:
                untold = len(group) - len(errors)
                middle, most = median(errors), _quantile(errors, 0.9)
                found.append(Error(what, method, len(errors), untold, middle, most, max(errors)))
    return tuple(found)


def _groups() -> Iterator[tuple[str, list[Recipe]]]:
    """The verified recipes by what they train and how."""
    groups: dict[str, list[Recipe]] = {}
    for one in load():
        if not one.verified or one.optimizer not in FAMILIES:
            continue
        family = FAMILIES[one.optimizer]
        own = "Adam" if family == ADAM else one.optimizer
        if one.is_adapter:
            what = "LoRA, fine-tuning" if one.phase == "finetune" else "LoRA, preference and RL"
        else:
            what = f"{PHASE_WORDS[one.phase]}, {own}"
            if one.phase in ("pretrain", "finetune") and family == ADAM:
                what += ", language models" if one.domain == "lm" else ", other kinds"
        groups.setdefault(what, []).append(one)
    yield from groups.items()


def _asked(one: Recipe) -> Asked:
    optimizer = ADAM if FAMILIES.get(one.optimizer) == ADAM else one.optimizer
    update, size = one.update_rms or None, one.params
    return Asked(one.phase, optimizer, width(one), one.domain, one.is_adapter, update, size)


def _by_near(one: Recipe, others: Sequence[Recipe]) -> float | None:
    lrs = near(_asked(one), others).lrs
    return None if lrs is None else lrs[1]


def _by_fit(one: Recipe, others: Sequence[Recipe]) -> float | None:
    own = width(one)
    return None if own is None else fitted(of_fit(others)).lr(own)


def _quantile(numbers: Sequence[float], share: float) -> float:
    ranked = sorted(numbers)
    place = (len(ranked) - 1) * share
    low = math.floor(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (place - low)
