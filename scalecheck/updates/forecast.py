"""What theory expects of a tensor of a known scale: the update of a step, how far a whole schedule
carries it, and where weight decay would hold it."""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from scalecheck.errors import Fix, OptionError, UsageError
from scalecheck.optimizers.contract import (
    CONSTANT,
    REFUSALS,
    Gradient,
    Hyperparameters,
    NoFormula,
    Weights,
    refusal,
)
from scalecheck.settings import Settings
from scalecheck.theory.domain import MAX_STEPS
from scalecheck.theory.schedule import FLOORS, Schedule
from scalecheck.updates.training import Training

NOISE_RANGE = (0.3, 4.0)
"""Displacement over random_walk, of 9 of 10 tensors of runs with AdamW: 4 of 10 are below 1, as
gradients turn back."""

NOISE_SHARES = (0.9, 0.4)
NOISE_SHARES_LATER = (0.8, 0.7)
"""The tensors inside it and those below 1, of AdamW runs from their first step on, and of 200 steps
in the middle of a run, where gradients turn back more often."""

EQUILIBRIUM_RANGE = (0.26, 3.8)
"""rms over equilibrium_rms of weights of real runs that had time to reach it."""

NEXT_WITHIN = 2.0
"""Factor within which next_displacement was right for 9 of 10 tensors."""

COOLDOWN = 5  # a wsd schedule falls over the last of so many parts
_LARGE = 1e12  # a gradient RMS beside which no eps counts


def expected_update(
    optimizer: Hyperparameters,
    rms: float,
    shape: tuple[int, ...],
    gradient: Gradient,
    step: int | None = None,
) -> tuple[float | None, str]:
    """RMS of Δw/lr of a tensor of this RMS and shape, of Δw/(lr·rms) where the optimizer's lr is
    relative; weight decay is not in it. step None is the steady state. None with the reason where
    theory refuses, or needs a gradient's RMS that is not known."""
    try:
        weights = Weights(shape, rms)
        update = _at_any_rms(lambda known: optimizer.update_rms(known, step, weights), gradient)
    except REFUSALS as error:
        return None, refusal(error)
    if not math.isfinite(update):
        return None, "its expected update is not finite"
    if update == 0 and step is None:
        return None, "its late updates vanish: give --step"
    return update, ""


@dataclass(frozen=True, kw_only=True)
class ScheduleForecast:
    """What a schedule does to one tensor from a step of its optimizer on; None where that is not
    known or the scale is 0.

    starts_after: the steps that the optimizer has done before, MAX_STEPS in the steady state.
    largest_change: the most that its displacement can be over its rms. turnover_steps: the steps at
    the peak lr after which that reaches 1, turnover_steps_scheduled: those of the schedule, None
    too where it ends before. first_lr, first_relative_update, final_lr, final_relative_update: of
    its first and last step, over today's rms. drift, random_walk: the displacement over its rms,
    for gradients that keep their sign and for those of a given snr; displacement_reason: why there
    is none. equilibrium_rms: the rms at which updates and weight decay hold it, equilibrium_ratio:
    its rms over that, equilibrium_reason: why there is none, though there is weight decay.
    memory_steps: 1/(lr·weight_decay), the time scale of weight decay. decay_sum: Σ lr·weight_decay.
    """

    starts_after: int | None = None
    largest_change: float | None = None
    turnover_steps: int | None = None
    turnover_steps_scheduled: int | None = None
    first_lr: float | None = None
    first_relative_update: float | None = None
    final_lr: float | None = None
    final_relative_update: float | None = None
    drift: float | None = None
    random_walk: float | None = None
    displacement_reason: str | None = None
    equilibrium_rms: float | None = None
    equilibrium_ratio: float | None = None
    equilibrium_reason: str | None = None
    memory_steps: float | None = None
    decay_sum: float | None = None


def planned(settings: Settings, steps: int | None = None) -> Schedule | None:
    """The schedule that the settings give, over these steps where they give none; None without
    steps. wsd falls over the last fifth. Raises UsageError."""
    steps = settings.steps if settings.steps is not None else steps
    shape, warmup, final = settings.schedule, settings.warmup, settings.final
    if steps is None:
        if shape != "constant" or warmup or final:
            problem = "--schedule, --warmup and --final: need --steps, the steps of the run"
            raise UsageError(
                problem, "for example", Fix(str(10 * max(100, warmup)), flag="--steps")
            )
        return None
    if warmup > steps > 0:
        raise OptionError("warmup", f"is more than the {steps} steps of the run", warmup)
    decay = (steps - warmup) // COOLDOWN if shape == "wsd" else 0
    if final not in FLOORS.get(shape, (final,)):
        why = f"a {shape} schedule does not end at a share of the lr; linear, cosine and wsd do"
        raise OptionError("final", why, final)
    try:
        return Schedule(shape, steps, warmup, final, max(0, decay))
    except ValueError as error:
        raise OptionError("schedule", str(error), shape) from error


def schedule_forecast(
    training: Training,
    rms: float | None,
    shape: tuple[int, ...],
    plan: Schedule,
    gradient: Gradient,
    told: float | None = None,
) -> ScheduleForecast:
    """The forecast of a tensor of this rms and shape; told: RMS of Δw/lr of its next step where a
    state tells it."""
    optimizer, lr = training.optimizer, training.lr
    is_relative = optimizer.relative_lr
    unit = 1.0 if is_relative else rms or math.inf
    walk, drift, why = displacements(training, plan, gradient)
    is_last_known = not optimizer.estimates_lr
    if optimizer.only_first_lr:
        is_last_known = not plan.done
        lr *= plan.at(1) if is_last_known else 1.0
        plan = Schedule("constant", plan.steps, done=plan.done)
    largest = None
    if is_last_known:
        largest = _largest_update(optimizer, rms or 0.0, shape, gradient, plan)
    bound = None if largest is None else lr * plan.sums().first * largest
    bound = (_compounded(bound) if is_relative else bound) if drift is None else drift
    turnover = scheduled = None
    if rms and largest and lr * largest:
        multiples = (math.log(2) if is_relative else unit) / (lr * largest)
        turnover = math.ceil(multiples) if multiples < MAX_STEPS else None
        scheduled = plan.steps_to(multiples)
    held, no_equilibrium = equilibrium(training, gradient)
    pull = training.decay_pull
    decay = lr * training.optimizer.decay_scale * training.weight_decay

    def at(step: int, update: float | None = None) -> float | None:
        """The relative update of a step."""
        counted = plan.optimizer_step(step)
        if update is None and (step == 1 or is_last_known):
            update, _ = expected_update(optimizer, rms or 0.0, shape, gradient, counted)
        moved = optimizer.effective_lr(lr * plan.at(step), counted)
        return moved * update / unit if update is not None and rms else None

    return ScheduleForecast(
        starts_after=plan.done,
        largest_change=bound / unit if bound is not None and rms else None,
        turnover_steps=turnover,
        turnover_steps_scheduled=scheduled,
        first_lr=lr * plan.at(1),
        first_relative_update=at(1, told),
        final_lr=lr * plan.at(plan.steps),
        final_relative_update=at(plan.steps),
        drift=drift / unit if drift is not None and rms else None,
        random_walk=walk / unit if walk is not None and rms else None,
        displacement_reason=why or None,
        equilibrium_rms=held,
        equilibrium_ratio=(rms or 0.0) / held if held else None,
        equilibrium_reason=no_equilibrium or None,
        memory_steps=1 / pull if pull else None,
        decay_sum=decay * plan.sums().first if training.is_decay_known else None,
    )


def displacements(
    training: Training, plan: Schedule, gradient: Gradient
) -> tuple[float | None, float | None, str]:
    """RMS of what a schedule moves a tensor by, for gradients of the given snr and for those that
    keep their sign; None with the reason of the first where it is not known."""
    optimizer, lr, why = training.optimizer, training.lr, ""
    found: list[float | None] = []
    for snr in (CONSTANT, gradient.snr):
        try:
            moved = _at_any_rms(
                lambda known: optimizer.displacement(plan, known), replace(gradient, snr=snr)
            )
            found.append(lr * moved)
        except REFUSALS as error:
            is_lr = snr == CONSTANT and optimizer.equal_updates
            found.append(lr * plan.sums().first if is_lr else None)
            why = refusal(error)
    return found[1], found[0], why if found[1] is None else ""


def _largest_update(
    optimizer: Hyperparameters,
    rms: float,
    shape: tuple[int, ...],
    gradient: Gradient,
    plan: Schedule,
) -> float | None:
    """RMS of Δw/lr where all gradients are alike, or where that is not solved, of noise, and eps
    takes nothing of it where the size of gradients does not count; the larger of the first step's
    and that of many steps, or where those grow without end of the last one; None where neither is
    known, and where the last one has no bound but eps."""
    for law in (
        replace(gradient, rms=None, snr=CONSTANT),
        replace(gradient, snr=CONSTANT),
        gradient,
    ):
        first, limit = (
            expected_update(optimizer, rms, shape, law, step)[0]
            for step in (plan.optimizer_step(1), None)
        )
        if first is None and limit is None:
            continue
        if limit is None or limit >= CONSTANT:
            last = plan.optimizer_step(plan.steps)
            limit, _ = expected_update(optimizer, rms, shape, law, last)
        if limit is None or limit >= CONSTANT:
            return None
        return max(first or 0.0, limit)
    return None


def equilibrium(training: Training, gradient: Gradient) -> tuple[float | None, str]:
    """The rms at which updates and weight decay hold a tensor; None with the reason, which is empty
    without weight decay."""
    if not training.is_decay_known:
        return None, "its weight decay is not known"
    if not training.weight_decay:
        return None, ""
    if _is_in_gradient(training):
        why = "its weight decay is divided by the size of its gradients (L2), which a run changes"
        return None, why
    optimizer, lr = training.optimizer, training.lr
    try:
        return _at_any_rms(lambda known: optimizer.equilibrium_rms(lr, known), gradient), ""
    except REFUSALS as error:
        return None, refusal(error)


def _compounded(total: float | None) -> float | None:
    """The most that relative updates of this sum come to, each of the weights that those before
    have made larger: e^total − 1."""
    with suppress(OverflowError):
        return None if total is None else math.expm1(total)
    return None


def _is_in_gradient(training: Training) -> bool:
    """Weight decay joins a gradient that the optimizer divides by its size."""
    law = training.law
    return law is not None and law.lr_exponent == 1 and law.exponents.get("weight_decay") == -2


def next_displacement(last: float, over: float, steps: float) -> float:
    """How far the next steps carry a tensor that the last `over` steps moved by `last`, at the same
    lr: last·√(steps/over). Within NEXT_WITHIN times of what was measured for 9 of 10 tensors; of
    formulas with a fitted exponent half were."""
    return last * math.sqrt(steps / over)


def _at_any_rms(formula: Callable[[Gradient], float], gradient: Gradient) -> float:
    """A formula of a gradient whose RMS may not be known. Raises NoFormula where it is not and the
    result depends on it, beside what the formula raises."""
    if gradient.rms is not None:
        return formula(gradient)
    result = formula(replace(gradient, rms=_LARGE))
    if not math.isclose(formula(replace(gradient, rms=10 * _LARGE)), result, rel_tol=1e-6):
        raise NoFormula("its updates are as large as its gradients: give --grad-rms")
    return result
