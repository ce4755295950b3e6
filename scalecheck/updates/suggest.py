"""The lr to use, by what was published: the recipes near a model, the fit over its width, and the
lr that gives it the published relative update, for each phase that its run can be."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from scalecheck.checkpoint.adapters.pairs import Pair
from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.measure.training_signs import signs_of_training
from scalecheck.optimizers.contract import Gradient
from scalecheck.recipes.near import FIT, REACHES, Asked, Near, has_fit, is_published, near
from scalecheck.recipes.quantities import ADAM
from scalecheck.recipes.ranges import Range, published
from scalecheck.recipes.recipe import Phase
from scalecheck.updates.forecast import expected_update
from scalecheck.updates.model_traits import Traits, traits
from scalecheck.updates.placed import family_of
from scalecheck.updates.situation import Situation
from scalecheck.updates.tensor_forecast import TensorForecast
from scalecheck.updates.training import Training

NEAREST, FITTED, RELATIVE, ON_W = (
    "published recipes",
    "fit over width",
    "published relative update",
    "published first step on W",
)
_TRAINED: tuple[Phase, ...] = ("finetune", "preference", "rl", "resume")
# What recipes call an optimizer that is not of Adam's family.
_RECIPES = {
    "adafactor": "adafactor_scaled",
    "adafactor_hf": "adafactor_scaled",
    "lamb": "lamb",
    "lars": "lars",
    "lion": "lion",
    "muon": "muon",
    "rmsprop": "rmsprop",
    "sgd": "sgd",
    "sgdw": "sgd",
    "sophia": "sophia",
}


@dataclass(frozen=True)
class Way:
    """One way to an lr: its middle and its range; None where `reason` says why. recipes: how many
    it rests on."""

    name: str
    lr: float | None = None
    low: float | None = None
    high: float | None = None
    recipes: int = 0
    reason: str = ""

    @property
    def span(self) -> float | None:
        """How many times the least the largest is."""
        return self.high / self.low if self.low and self.high else None


@dataclass(frozen=True)
class Suggestion:
    """The ways to the lr of one phase, of which the first is by the recipes that are near."""

    phase: Phase
    asked: Asked
    near: Near
    ways: Sequence[Way]

    def way(self, name: str) -> Way | None:
        """That of a name, where it gives an lr."""
        return next((one for one in self.ways if one.name == name and one.lr is not None), None)


@dataclass(frozen=True)
class Suggestions:
    """What is suggested for a checkpoint. phase_evidence: why these phases. training: of most
    matrices. gain: rms·√width of a hidden matrix, median; None without elements."""

    traits: Traits
    training: Training
    is_default: bool
    phase_evidence: str
    gain: float | None
    each: Sequence[Suggestion]


def suggestions(
    checkpoint: Checkpoint,
    forecasts: Sequence[TensorForecast],
    pairs: Sequence[Pair],
    tensors: Mapping[str, Tensor] | None,
    run: Situation,
    is_default: bool,
) -> Suggestions:
    """For the trained tensors of a checkpoint; pairs: the halves of its adapters, tensors: by
    their names, None where they have no elements yet. Raises CheckpointError."""
    model = traits(checkpoint, forecasts, pairs)
    hidden = [e for e in forecasts if e.has_band and e.name not in run.residuals] or forecasts
    names = Counter(each.training.name for each in hidden)
    most = names.most_common(1)[0][0]
    hidden = [each for each in hidden if each.training.name == most]
    training = hidden[0].training
    updates = [*_updates([each for each in hidden if each.has_band])]
    phases, evidence = _phases(run, model, forecasts, tensors)
    scales = [each.rms for each in hidden if each.has_band and each.rms and each.is_finite]
    gain = median(scales) * math.sqrt(model.width) if scales and model.width else None
    each = [_suggestion(phase, model, training, updates) for phase in phases]
    return Suggestions(model, training, is_default, evidence, gain, each)


def _phases(
    run: Situation,
    model: Traits,
    forecasts: Sequence[TensorForecast],
    tensors: Mapping[str, Tensor] | None,
) -> tuple[Sequence[Phase], str]:
    """The phases that are possible, but for those that no recipe of the kind is of, and why."""
    if run.phase is not None:
        return [run.phase], run.evidence
    is_adapter = model.adapter is not None
    trained = [phase for phase in _TRAINED if is_published(phase, model.domain, is_adapter)]
    trained = trained or ["finetune"]
    if is_adapter:
        return trained, "as the tensors are those of an adapter"
    if tensors is not None and (signs := signs_of_training(forecasts, tensors)):
        return trained, f"but the weights were trained: {signs}"
    return [*trained, "pretrain"], "nor whether the weights were trained"


def _updates(hidden: Sequence[TensorForecast]) -> Iterator[tuple[float, float]]:
    """RMS of a late update of noise at lr 1, and the same over the weights, of each matrix."""
    for each in hidden:
        optimizer, rms = each.training.optimizer, each.rms or 0.0
        if not each.training.is_known:
            continue
        update, _ = expected_update(optimizer, rms or 1.0, each.shape, Gradient(None))
        if update is not None:
            unit = 1.0 if optimizer.relative_lr else rms
            yield update, update / unit if unit and each.is_finite else math.nan


def _suggestion(
    phase: Phase, model: Traits, training: Training, updates: Sequence[tuple[float, float]]
) -> Suggestion:
    family = family_of(training)
    optimizer = ADAM if family == ADAM else _RECIPES.get(training.name)
    size = median(update for update, _ in updates) if updates else None
    is_adapter, count = model.adapter is not None, model.parameters or None
    asked = Asked(phase, optimizer, model.width, model.domain, is_adapter, size, count)
    if not training.is_known:
        found = Near(reason="the optimizer is not known: --optimizer names it")
    elif optimizer is None:
        found = Near(reason=f"no recipe with {training.name} is published")
    else:
        found = near(asked)
    ways = [_nearest(found)]
    if model.adapter is not None:
        ways.append(_on_w(model, phase, family))
    else:
        ways += [*_by_width(asked)]
        relative = [over for _, over in updates if math.isfinite(over)]
        ways.append(_by_relative_update(phase, family, relative))
    return Suggestion(phase, asked, found, ways)


def _nearest(found: Near) -> Way:
    if (lrs := found.lrs) is None:
        return Way(NEAREST, reason=f"no published recipe is near: {found.reason}")
    low, middle, high = lrs
    return Way(NEAREST, middle, low, high, len(found.recipes))


def _by_width(asked: Asked) -> Iterator[Way]:
    if asked.phase != "pretrain":
        return
    if not has_fit(asked) or asked.width is None:
        words = "only for language models of a known width with Adam does lr follow the width"
        yield Way(FITTED, reason=words)
        return
    low, high = FIT.widths
    if not low / REACHES[-1] <= asked.width <= high * REACHES[-1]:
        yield Way(FITTED, reason=f"it is of widths {low} to {high}")
        return
    lr = FIT.lr(asked.width)
    yield Way(FITTED, lr, lr / FIT.spread, lr * FIT.spread, FIT.recipes)


def _by_relative_update(phase: Phase, family: str | None, updates: Sequence[float]) -> Way:
    of = _range(phase, family)
    if of is None:
        return Way(RELATIVE, reason="none is published for this optimizer and phase")
    if not updates:
        return Way(RELATIVE, reason="no matrix has a scale and an update of known size")
    unit = median(updates)
    return Way(RELATIVE, of.p50 / unit, of.p5 / unit, of.p95 / unit, of.recipes)


def _range(phase: Phase, family: str | None) -> Range | None:
    if phase == "resume":
        return published("mid", "pretrain", family)
    return published("start", phase, family)


def _on_w(model: Traits, phase: Phase, family: str | None) -> Way:
    """The adapter's lr whose first step moves W as the published ones do."""
    of = published("lr_equivalent", phase, family, True)
    factor = None if model.adapter is None else model.adapter.equivalence
    if of is None:
        return Way(ON_W, reason="none is published for this phase")
    if not factor:
        return Way(ON_W, reason="alpha is not known")
    return Way(ON_W, of.p50 / factor, of.p5 / factor, of.p95 / factor, of.recipes)
