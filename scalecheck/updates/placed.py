"""Where the updates of a checkpoint lie among published ones: which of its numbers have a range, by
the phase of the run, the optimizer, and what a matrix is."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

from scalecheck.measure.initial_scale import fan_in
from scalecheck.optimizers.contract import Gradient, Hyperparameters
from scalecheck.recipes.placement import Placement
from scalecheck.recipes.ranges import ANY, published
from scalecheck.recipes.recipe import Phase
from scalecheck.theory.growth import warmup_growth
from scalecheck.updates.forecast import expected_update
from scalecheck.updates.situation import Situation
from scalecheck.updates.tensor_forecast import TensorForecast
from scalecheck.updates.training import Training

if TYPE_CHECKING:
    from scalecheck.updates.adapted import AdaptedForecast
    from scalecheck.updates.adapter_steps import AdapterStep

FEW_INPUTS = 16
LARGE_EPS = 1e-6
REACHED = 3.0  # Σ lr·weight_decay from which on a run comes to its equilibrium

_FAMILIES = {
    "adam": "adam",
    "adamw": "adam",
    "adamw_hf": "adam",
    "stable_adamw": "adam",
    "nadam": "adam",
    "radam": "adam",
    "muon": "muon",
    "lion": "sign",
    "signsgd": "sign",
    "sgd": "sgd",
    "sgdw": "sgd",
}
_ADAPTED = ("adam", "sign")  # the families of published adapters

F = TypeVar("F", bound=TensorForecast)


def family_of(training: Training) -> str | None:
    """The family of a training's optimizer, as published ranges tell them apart; None where it has
    none."""
    optimizer = training.optimizer
    if isinstance(optimizer, Hyperparameters) and optimizer.relative_lr:
        return "relative"
    return _FAMILIES.get(training.name)


def placed(forecast: F, situation: Situation) -> F:
    """The forecast with its places among published ones."""
    return replace(forecast, placements=(*_placements(forecast, situation),))


def _placements(forecast: TensorForecast, situation: Situation) -> Iterator[Placement]:
    training = forecast.training
    if not forecast.is_certain or not training.is_known or forecast.relative_update is None:
        return
    family, phase = family_of(training), situation.phase
    if forecast.is_on_base:
        if family in _ADAPTED:
            yield from _place(
                "start",
                phase,
                family,
                _late_on_base(cast("AdaptedForecast", forecast)),
                is_adapter=True,
            )
        return
    if forecast.role == "lora_a" and not situation.has_base and family in _ADAPTED:
        value = _late(forecast, situation)
        yield from _place("adapter_half", phase, family, value, is_adapter=True)
    if not forecast.has_band:
        return
    is_residual = forecast.name in situation.residuals
    quantity = {"resume": "mid"}.get(phase or "", "start")
    if is_residual and phase in ("pretrain", None):
        quantity = "residual_start"
    value = _late(forecast, situation)
    own: Phase | None = "pretrain" if phase == "resume" else phase
    if phase == "resume" and family == "relative":
        quantity = "start"
    few = starts_large(forecast)
    if published(quantity, own, family) is not None:
        yield from _unless_below(_place(quantity, own, family, value), few)
    elif published("start", own, family) is None:
        yield from _place_among_all(forecast, value)
    if phase == "pretrain" and not is_residual:
        warm = _place("warm", phase, family, _warm(forecast, situation))
        yield from _unless_below(warm, few)
    if phase in ("pretrain", "resume"):
        yield from _place("equilibrium", "pretrain", family, _equilibrium(forecast, family))


def starts_large(forecast: TensorForecast) -> bool:
    """Whether it has fewer inputs than any published matrix, as a convolution of one channel or a
    layer that reads 4 numbers: of a scale by 1/√inputs, so that small updates are as they should
    be."""
    return len(forecast.shape) > 1 and fan_in(forecast.shape) < FEW_INPUTS


def _place_among_all(forecast: TensorForecast, value: float | None) -> Iterator[Placement]:
    """Of an optimizer without a range."""
    if value is not None and math.isfinite(value) and not _may_be_ruled_by_eps(forecast):
        yield Placement(value, ANY)


def _may_be_ruled_by_eps(forecast: TensorForecast) -> bool:
    """Whether eps may be as large as gradients are, as in published runs with RMSprop, so that
    updates by theory are far too large."""
    eps = getattr(forecast.training.optimizer, "eps", None) or 0.0
    return not forecast.measured and (forecast.training.name == "rmsprop" or eps > LARGE_EPS)


def _unless_below(places: Iterator[Placement], is_large: bool) -> Iterator[Placement]:
    return (one for one in places if not is_large or one.place != "below")


def _place(
    quantity: str,
    phase: Phase | None,
    family: str | None,
    value: float | None,
    is_adapter: bool = False,
) -> Iterator[Placement]:
    of = published(quantity, phase, family, is_adapter)
    if of is not None and value is not None and math.isfinite(value):
        yield Placement(value, of)


def adapter_placement(step: "AdapterStep", situation: Situation) -> Placement | None:
    """The lr of full fine-tuning that the first step of an adapter without a base is like; of later
    steps none is published, as they grow with B."""
    training = step.training
    if training is None or not step.is_certain or not step.is_first or step.full_lr is None:
        return None
    family = family_of(training)
    if family not in _ADAPTED:
        return None
    found = _place("lr_equivalent", situation.phase, family, step.full_lr, is_adapter=True)
    return next(found, None)


def _noise(forecast: TensorForecast) -> float | None:
    """RMS of a late update of noise at lr 1."""
    optimizer, rms = forecast.training.optimizer, forecast.rms or 0.0
    return expected_update(optimizer, rms, forecast.shape, Gradient(None))[0]


def _late(forecast: TensorForecast, situation: Situation) -> float | None:
    """The relative update that published ones are counted by: of late steps, whatever step was
    asked about."""
    if forecast.measured or not situation.is_step_asked:
        return forecast.relative_update
    update, lr = _noise(forecast), forecast.lr
    if update is None or lr is None or not forecast.rms:
        return None
    unit = 1.0 if forecast.training.optimizer.relative_lr else forecast.rms
    return forecast.training.optimizer.effective_lr(lr) * update / unit


def _late_on_base(forecast: "AdaptedForecast") -> float | None:
    """The same of a matrix that an adapter adds to; its first step is the only one of Adam's with
    updates of 1."""
    value, update = forecast.relative_update, _noise(forecast)
    is_first = forecast.adapter.is_first and not forecast.measured
    return value * update if is_first and value is not None and update is not None else value


def _warm(forecast: TensorForecast, situation: Situation) -> float | None:
    """The relative update at the end of warm-up, by when noise has made the weights larger."""
    warmup, lr, rms = situation.warmup, forecast.lr, forecast.rms
    update = _noise(forecast)
    if not warmup or lr is None or update is None or not rms:
        return None
    training = forecast.training
    decay = training.weight_decay if training.is_decay_decoupled else 0.0
    return lr * update / warmup_growth(lr, decay, warmup).rms(rms)


def _equilibrium(forecast: TensorForecast, family: str | None) -> float | None:
    """The relative update at the rms that weight decay holds, of a run that comes to it."""
    training, lr, reached = forecast.training, forecast.lr, forecast.decay_sum
    if lr is None or not training.weight_decay or (reached or 0.0) < REACHED:
        return None
    if family == "sgd":
        momentum = float(getattr(training.optimizer, "momentum", 0.0))
        return math.sqrt(2 * lr * training.weight_decay / (1 + momentum))
    update = _noise(forecast)
    if update is None or not forecast.equilibrium_rms or not training.is_decay_decoupled:
        return None
    return lr * update / forecast.equilibrium_rms
