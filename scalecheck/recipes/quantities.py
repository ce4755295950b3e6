"""What a recipe changes a hidden matrix by: at the start, after warm-up, in the middle, at the end
and in all, from its settings alone.

The size of the weights follows a noise model: gradients without a mean let rms² grow by
(lr·D)² a step and decay take 2·lr·weight_decay of it. Gradients with a mean make weights larger, so
that relative updates after the start are estimates from above.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from scalecheck.optimizers.contract import Gradient
from scalecheck.optimizers.lion import Optimizer as Lion
from scalecheck.recipes.recipe import Recipe
from scalecheck.theory.growth import growth
from scalecheck.theory.update_rms import update_rms

ADAM, MUON, SIGN, RELATIVE, SGD = "adam", "muon", "sign", "relative", "sgd"
FAMILIES: Mapping[str, str] = {
    "adam": ADAM,
    "adamw": ADAM,
    "adafactor": ADAM,  # with momentum and without a relative step
    "lion": SIGN,
    "muon": MUON,
    "lamb": RELATIVE,
    "lars": RELATIVE,
    "hyperball": RELATIVE,
    "adafactor_scaled": RELATIVE,
    "sgd": SGD,
}
"""The family of optimizers whose updates are of one size, by a recipe's optimizer."""

_POINTS = 4000  # of a run, at which the schedule is taken


@dataclass(frozen=True)
class Unit:
    """Updates at lr 1: the first one's RMS, that of a late one of noise, and D, what a gradient
    moves a weight by in the end, so that noise displaces by D·√Σlr². Relative to the weights where
    the family is."""

    first: float
    late: float
    displacement: float


@dataclass(frozen=True, kw_only=True)
class Quantities:
    """Of a recipe's hidden matrices, as shares of the weights a step; None where the recipe does
    not tell.

    family: one of FAMILIES' values. first: the peak lr's first step, on the weights as they start.
    start: a late step of noise at the peak lr, on these; residual_start: the same of scaled
    residual outputs. warm: at the end of warm-up. mid, end: in the middle and at the end of the
    run; at 99 % of it where the schedule ends at 0. equilibrium: at the RMS that weight decay
    holds; equilibrium_total: the rotation a step once momentum is spent. drift: Σlr·u/rms, the
    most that a run can do. walk: D·√Σlr²/rms, what noise does. decay_time: Σlr·weight_decay, by e.
    first_step: the first step of the run with its warm-up. gain: init_rms·√d_model. width_lr:
    lr·√d_model. lr_equivalent: of an adapter, the lr of full fine-tuning with the same first step.
    adapter_half: a step of its half A.
    """

    family: str | None = None
    first: float | None = None
    start: float | None = None
    residual_start: float | None = None
    warm: float | None = None
    mid: float | None = None
    end: float | None = None
    equilibrium: float | None = None
    equilibrium_total: float | None = None
    drift: float | None = None
    walk: float | None = None
    decay_time: float | None = None
    first_step: float | None = None
    gain: float | None = None
    width_lr: float | None = None
    lr_equivalent: float | None = None
    adapter_half: float | None = None


def unit(recipe: Recipe) -> Unit | None:
    """Its updates at lr 1; None where their size depends on the gradients'."""
    beta1, beta2 = recipe.beta1, recipe.beta2 or 0.999
    family = FAMILIES.get(recipe.optimizer)
    if family == ADAM:
        return Unit(1.0, update_rms(beta1, beta2), 1.0)
    if family == SIGN:
        return Unit(1.0, 1.0, Lion(beta1, beta2).displacement(0.0, 1.0, Gradient()))
    if family == MUON and recipe.update_rms is not None:
        size = recipe.update_rms
        return Unit(size, size, size * _momentum(beta1))
    if recipe.optimizer == "lars" and recipe.lars_eta is not None:
        eta = recipe.lars_eta
        return Unit(eta, eta / math.sqrt(1 - beta1**2), eta / (1 - beta1))
    if family == RELATIVE:
        return Unit(1.0, 1.0, _momentum(beta1) if recipe.optimizer == "hyperball" else 1.0)
    if recipe.optimizer in {"sophia", "rmsprop"}:  # sophia: the most, with every element clipped
        return Unit(1.0, 1.0, 1.0)
    return None


def quantities(recipe: Recipe) -> Quantities:
    """What a recipe does to a hidden matrix."""
    found: dict[str, float | None] = {}
    family, size = FAMILIES.get(recipe.optimizer), unit(recipe)
    lr, decay = recipe.lr, recipe.weight_decay or 0.0
    if family == SGD and decay:
        found["equilibrium"] = math.sqrt(2 * lr * decay / (1 + recipe.beta1))
        found["equilibrium_total"] = math.sqrt(2 * lr * decay / (1 - recipe.beta1))
    if size is None:
        return Quantities(family=family, **found)
    if recipe.is_adapter:
        return Quantities(family=family, **_adapter(recipe, size))
    rms = 1.0 if family == RELATIVE else recipe.start_rms
    if rms:
        found |= {"first": lr * size.first / rms, "start": lr * size.late / rms}
        warmup = warmup_steps(recipe)
        if warmup is not None:
            found["first_step"] = lr / max(warmup, 1.0) * size.first / rms
        if recipe.residual_init_rms and family != RELATIVE:
            found["residual_start"] = lr * size.late / recipe.residual_init_rms
    if decay and family != RELATIVE and (recipe.init_rms or recipe.phase == "pretrain"):
        total = math.sqrt(2 * lr * decay)
        found |= {
            "equilibrium_total": total,
            "equilibrium": size.late * total / size.displacement,
        }
    if recipe.d_model:
        found["width_lr"] = lr * math.sqrt(recipe.d_model)
        if recipe.init_rms:
            found["gain"] = recipe.init_rms * math.sqrt(recipe.d_model)
    if recipe.steps and rms:
        found |= _over_run(recipe, size, rms, recipe.steps)
    return Quantities(family=family, **found)


def warmup_steps(recipe: Recipe) -> float | None:
    """None where neither steps nor a share of known steps is given."""
    if recipe.warmup is not None:
        return float(recipe.warmup)
    if recipe.warmup_share is not None and recipe.steps:
        return recipe.warmup_share * recipe.steps
    return None


def _momentum(beta1: float) -> float:
    """√((1+beta1)/(1−beta1)): what momentum adds to the displacement of independent updates."""
    return math.sqrt((1 + beta1) / (1 - beta1))


def _adapter(recipe: Recipe, size: Unit) -> dict[str, float | None]:
    """On the matrix that it adds to. The first step moves B alone, which starts at 0; A starts with
    elements of mean square 1/(3·inputs), so that ΔW has the RMS lr·alpha/√(3·inputs·rank)."""
    assert recipe.lora_alpha is not None
    assert recipe.lora_n is not None
    assert recipe.lora_r is not None
    factor = recipe.lora_alpha / math.sqrt(3 * recipe.lora_n * recipe.lora_r)
    lr, rms = recipe.lr * factor, recipe.start_rms
    found: dict[str, float | None] = {
        "lr_equivalent": lr,
        "adapter_half": recipe.lr * size.late * math.sqrt(3 * recipe.lora_n),
    }
    if rms:
        found |= {"first": lr * size.first / rms, "start": lr * size.late / rms}
        if recipe.steps:
            lrs = schedule(recipe)
            dt = recipe.steps / len(lrs)
            found["drift"] = factor * math.fsum(lrs) * dt / rms
            found["walk"] = factor * math.sqrt(math.fsum(x * x for x in lrs) * dt) / rms
    return found


def _over_run(recipe: Recipe, size: Unit, rms: float, steps: int) -> dict[str, float | None]:
    lrs = schedule(recipe)
    is_relative = FAMILIES.get(recipe.optimizer) == RELATIVE
    sizes = [1.0] * len(lrs) if is_relative else _weights(recipe, size, rms, lrs)
    dt = steps / len(lrs)
    peak = max(range(len(lrs)), key=lambda i: (lrs[i], -i))
    end = len(lrs) - 1 if recipe.lr_final else int(0.99 * len(lrs))

    def at(point: int) -> float:
        return lrs[point] * size.late / sizes[point]

    lr_sum = math.fsum(lrs) * dt
    return {
        "warm": at(peak),
        "mid": at(len(lrs) // 2),
        "end": at(end),
        "drift": lr_sum * size.first / rms,
        "walk": size.displacement * math.sqrt(math.fsum(x * x for x in lrs) * dt) / rms,
        "decay_time": lr_sum * (recipe.weight_decay or 0.0),
    }


def _weights(recipe: Recipe, size: Unit, rms: float, lrs: Sequence[float]) -> list[float]:
    """RMS of a hidden matrix over the run, by the noise model."""
    assert recipe.steps
    dt, decay = recipe.steps / len(lrs), recipe.weight_decay or 0.0
    found = []
    for lr in lrs:
        rms = growth(lr, decay, dt).rms(rms, size.displacement)
        found.append(rms)
    return found


@lru_cache(maxsize=512)
def schedule(recipe: Recipe) -> tuple[float, ...]:
    """The lr at points of equal distance over the run."""
    warmup = recipe.warmup_share or 0.0
    if recipe.warmup is not None and recipe.steps:
        warmup = recipe.warmup / recipe.steps
    warmup = min(warmup, 0.9)
    is_flat = recipe.optimizer == "adafactor_scaled"  # its lr starts at the peak
    rising = 0.0 if is_flat else warmup
    return tuple(
        recipe.lr * _multiple(recipe, (point + 0.5) / _POINTS, warmup, rising)
        for point in range(_POINTS)
    )


def _multiple(recipe: Recipe, x: float, warmup: float, rising: float) -> float:
    """The lr over its peak at a share x of the run."""
    if x < rising:
        return x / rising
    y = (x - warmup) / (1 - warmup)
    floor = (recipe.lr_final or 0.0) / recipe.lr
    shape = recipe.schedule or "cosine"
    if shape == "constant":
        return 1.0
    if shape == "linear":
        return 1 - (1 - floor) * y
    if shape == "wsd":
        falls = recipe.decay_share or 0.2
        return min(1.0, 1 - (1 - floor) * (x - 1 + falls) / falls)
    if shape == "inverse-sqrt":
        return math.sqrt(warmup / max(x, warmup)) if warmup else 1.0
    if shape == "step":
        return 1.0 if x < 0.8 else 0.316 if x < 0.9 else 0.316**2
    if shape == "exp":
        return float(max(floor, 1e-4) ** y)
    if shape.startswith("poly"):
        return float((1 - y) ** float(shape.removeprefix("poly")))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * y))
