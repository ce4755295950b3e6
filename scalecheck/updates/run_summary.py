"""What a planned run comes to, in a few sentences and as the figures that they hold: arithmetic
first, then what noise would do and where real runs lie beside it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from scalecheck.checkpoint.naming import HALVES
from scalecheck.report.formatting import figure, plural, setting
from scalecheck.report.part import Part
from scalecheck.theory.domain import MAX_STEPS
from scalecheck.theory.schedule import Schedule
from scalecheck.updates.forecast import (
    EQUILIBRIUM_RANGE,
    NOISE_RANGE,
    NOISE_SHARES,
    NOISE_SHARES_LATER,
)
from scalecheck.updates.tensor_forecast import TensorForecast
from scalecheck.updates.without_formula import NOT_KNOWN

Forecasts = Sequence[TensorForecast]

_SPANS = (
    *("largest_change", "turnover_steps", "turnover_steps_scheduled"),
    *("first_lr", "first_relative_update", "final_lr", "final_relative_update", "random_walk"),
    *("equilibrium_rms", "equilibrium_ratio", "memory_steps", "decay_sum"),
)
"""The fields of which the summary has the smallest and the largest."""

_ENOUGH = 3.0  # time scales of weight decay after which 5 % of the start are left
_MOST = 0.5  # share of a tensor's elements that round back, above which it moves less far


def judged(forecasts: Forecasts) -> Forecasts:
    """The forecasts that sentences are about: of matrices that are trained as they are, or where
    there are none, of all tensors that have an lr and a size."""
    known = [each for each in forecasts if each.starts_after is not None and each.has_size]
    return [each for each in known if each.is_matrix and each.has_band] or known


def part(forecasts: Forecasts, plan: Schedule | None, snr: float) -> Part:
    """What a translation says of a run; nothing without a schedule."""
    if plan is None:
        return Part()
    return Part(summary=figures(forecasts, plan), sentences=[*sentences(forecasts, plan, snr)])


def figures(forecasts: Forecasts, plan: Schedule) -> dict[str, Any]:
    """The figures of the sentences; starts_after is null in the steady state."""
    tensors = judged(forecasts)
    done = [None if steps == MAX_STEPS else steps for steps in sorted(_done(tensors))] or [None]
    found: dict[str, Any] = {
        "steps": plan.steps,
        "run_tensors": len(tensors),
        "starts_after_min": done[0],
        "starts_after_max": done[-1],
    }
    for name in _SPANS:
        known = [x for each in tensors if (x := getattr(each, name)) is not None]
        found[f"{name}_min"] = min(known, default=None)
        found[f"{name}_max"] = max(known, default=None)
    inside, below = NOISE_SHARES if done[-1] == 0 else NOISE_SHARES_LATER
    return found | {
        "noise_range": [*NOISE_RANGE],
        "noise_range_share": inside,
        "noise_below_share": below,
        "equilibrium_range": [*EQUILIBRIUM_RANGE],
        "not_turned_over": sum(
            each.turnover_steps is not None and each.turnover_steps_scheduled is None
            for each in tensors
        ),
        "without_displacement": sum(each.displacement_reason is not None for each in tensors),
        "without_equilibrium": sum(each.equilibrium_reason is not None for each in tensors),
    }


def sentences(forecasts: Forecasts, plan: Schedule, snr: float) -> Iterator[str]:
    """The arithmetic of the schedule, the displacement for gradients of this snr and the range of
    real runs, the equilibrium with the same, and why an optimizer has none of them."""
    tensors = judged(forecasts)
    if not tensors:
        yield "--steps: no tensor has both a known lr and a size, so nothing is forecast."
        return
    found = figures(forecasts, plan)
    noun = "matrix" if all(each.has_band for each in tensors) else "tensor"
    if any(each.role in HALVES for each in tensors):
        yield (
            "No theory tells how far a run moves B·A: the figures below "
            "are of the adapter's halves."
        )
    yield from _start(tensors, plan)
    yield from _arithmetic(found, noun)
    yield from _carried(found, noun, snr)
    yield from _rounded(tensors)
    yield from _refused(tensors, "displacement", "displacement by noise")
    yield from _equilibrium(found, noun)
    yield from _refused(tensors, "equilibrium", "equilibrium rms")


def _start(tensors: Forecasts, plan: Schedule) -> Iterator[str]:
    """Where the run goes on, of other than a fresh optimizer, and whose lr does not count."""
    has_schedule = plan.shape != "constant" or plan.warmup > 0
    done = _done(tensors)
    least, most = min(done), max(done)
    is_fresh = most == 0
    if not is_fresh:
        if most == MAX_STEPS:
            place = "steady state"
        else:
            place = f"step {least:,}" if least == most else f"steps {least:,} to {most:,}"
        words = (
            f"The run continues from the optimizer's {place}, with the momentum built up by then"
        )
        yield words + ("; the lr schedule starts at its own step 1." if has_schedule else ".")
    for name in sorted({e.training.name for e in tensors if e.training.optimizer.only_first_lr}):
        if not is_fresh:
            yield f"{name} takes its step sizes from its state: no lr of the run changes them."
        elif has_schedule:
            yield f"{name} uses the lr of its first step alone: no later one changes anything."


def _done(tensors: Forecasts) -> list[int]:
    """The steps that their optimizers have done before the run."""
    return [each.starts_after for each in tensors if each.starts_after is not None]


def _arithmetic(found: dict[str, Any], noun: str) -> Iterator[str]:
    """What follows from the lrs alone."""
    if (most := _span(found, "largest_change")) is not None:
        yield (
            f"{plural(found['steps'], 'step')} of this schedule can change a {noun} by at most "
            f"{most} times its rms, if its gradients never change sign."
        )
    if (peak := _span(found, "turnover_steps", "{:,}".format)) is not None:
        words = f"A {noun} can move by its whole rms by step {peak} at the peak lr"
        scheduled = _span(found, "turnover_steps_scheduled", "{:,}".format)
        if scheduled not in (None, peak):
            words += f", by step {scheduled} of this schedule"
        if missed := found["not_turned_over"]:
            words += f"; for {missed} of {found['run_tensors']} the schedule is too short"
        yield f"{words}."
    first = "First step" + (" of a fresh optimizer" if found["starts_after_max"] == 0 else "")
    for word, name in ((first, "first"), ("Last step", "final")):
        if (moved := _span(found, f"{name}_relative_update", factor=100)) is not None:
            lr = _span(found, f"{name}_lr", setting)
            yield f"{word}: lr {lr}, {moved} % of a {noun}."


def _carried(found: dict[str, Any], noun: str, snr: float) -> Iterator[str]:
    """How far gradients of this snr carry, and how real runs compare with noise."""
    if (walk := _span(found, "random_walk")) is None:
        return
    if snr:
        yield f"Gradients of snr {snr:g} move a {noun} by {walk} times its rms."
        return
    low, high = found["noise_range"]
    inside, below = (10 * found[f"noise_{share}_share"] for share in ("range", "below"))
    yield (
        f"If gradients are noise, the run moves a {noun} by {walk} times its rms. In real AdamW "
        f"runs {inside:.0f} of 10 tensors moved {low:g} to {high:g} times as far as noise, and "
        f"{below:.0f} of 10 less far, because gradients turn back."
    )


def _rounded(tensors: Sequence[TensorForecast]) -> Iterator[str]:
    """That the figures of a run are of steps which the type of the weights does not hold."""
    rounded = sum((each.stalled or 0) > _MOST for each in tensors)
    if rounded:
        yield (
            f"This leaves rounding out: {rounded} of {len(tensors)} move less far without fp32 "
            "master weights, as more than half of each rounds back to its old value every step."
        )


def _equilibrium(found: dict[str, Any], noun: str) -> Iterator[str]:
    """Where weight decay would hold the weights, and whether the run comes there."""
    if (rms := _span(found, "equilibrium_rms")) is None:
        return
    reached = found["decay_sum_min"]
    words = "too short to reach" if reached < 1 else "long enough for"
    words = "long enough to come near" if 1 <= reached < _ENOUGH else words
    low, high = found["equilibrium_range"]
    yield (
        f"Equilibrium of updates and weight decay: rms {rms}; a {noun} now has "
        f"{_span(found, 'equilibrium_ratio')} times it. The run lasts {_span(found, 'decay_sum')} "
        f"time scales of weight decay (of {_span(found, 'memory_steps')} steps), "
        f"{words} it. Real runs reach {low:g} to {high:g} times it."
    )


def _refused(tensors: Forecasts, kind: str, words: str) -> Iterator[str]:
    """Why optimizers have no figure: a sentence each."""
    reasons = Counter(
        (each.training.name, reason)
        for each in tensors
        if (reason := getattr(each, f"{kind}_reason")) is not None
    )
    for (name, reason), n in reasons.items():
        whose = "an optimizer that is not known" if name == NOT_KNOWN else name
        yield f"No {words} for {plural(n, 'tensor')} under {whose}: {reason}."


def _span(
    found: dict[str, Any],
    name: str,
    written: Callable[[float], str] = figure,
    factor: float = 1.0,
) -> str | None:
    """From the smallest to the largest, or the one that they are; None where none is known."""
    low, high = found[f"{name}_min"], found[f"{name}_max"]
    if low is None:
        return None
    least, most = (written(x if factor == 1 else factor * x) for x in (low, high))
    return least if least == most else f"{least} to {most}"
