"""What the last update was, what the next ones are expected to be, how far either is to be trusted,
and which step theory is asked about, in plain sentences and as the figures in them."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from scalecheck.optimizers.contract import Gradient
from scalecheck.report.formatting import plural
from scalecheck.report.part import Part
from scalecheck.updates.expected_step import (
    ASKED,
    ASSUMED,
    FIRST,
    RUN,
    STATE,
    ExpectedStep,
)
from scalecheck.updates.forecast import expected_update
from scalecheck.updates.next_steps import FAMILY, LARGE
from scalecheck.updates.tensor_forecast import BUFFER, OWN, SHAPE, THEORY, TensorForecast

AHEAD = 20  # steps
WITHIN = 1.25  # times, either way: how near a forecast is said to come
OWN_SHARES = {
    "adam": (0.82, 1.0),
    "adamw": (0.82, 1.0),
    "lion": (1.0,),
    "muon": (1.0,),
    "radam": (0.84, 1.0),
    "rmsprop": (0.98, 1.0),
    "sgd": (0.7, 0.92),
}
SHARES = {
    SHAPE: (0.76,),
    BUFFER: (0.53, 0.93),
    THEORY: (0.38, 0.54),
}
"""How many tensors of a GPT, an LSTM, a CNN and an MLP, from the least to the most of their runs,
had updates WITHIN what was forecast: by the last update over the next 20 steps, of tensors of LARGE
elements and more, for each optimizer that was tried; by the median of the states of the same shape;
by nesterov's buffer, over the next 20 steps; and by theory under AdamW with beta2 0.999. The first
and the third are without the CNN, whose loss vanishes. benchmarks/forecast.py repeats the
comparison."""
ADAMS = ("adam", "adamw")  # of whom that range is
SOURCES = {
    ASKED: "",
    STATE: " (the step of the optimizer state)",
    RUN: " (the last of --steps; it does not settle earlier)",
    FIRST: " (it has not moved yet)",
    ASSUMED: " (assumed, because it does not settle earlier; --step or --steps sets another)",
}

Forecasts = Sequence[TensorForecast]


def part(forecasts: Forecasts) -> Part:
    """What a translation says of the last update and the next ones."""
    told = [*sentences(forecasts)]
    return Part(summary=figures(forecasts), sentences=told, notes=[*notes(forecasts)])


def figures(forecasts: Forecasts) -> dict[str, Any]:
    """The figures of the sentences and notes. The medians are over the matrices that a state
    measured; expected_step is null where theory is asked about different steps too."""
    measured = [
        e for e in forecasts if e.is_matrix and e.measured and e.relative_update is not None
    ]
    told = [each.update_rms for each in measured if each.update_rms is not None]
    expected = [u for each in measured if (u := each.update_rms_expected) is not None]
    later = [
        math.sqrt(each.update_rms * each.update_rms_expected)
        for each in measured
        if each.update_rms is not None and each.update_rms_expected is not None
    ]
    steps = {meant for each in forecasts if (meant := _meant(each)) is not None}
    step, by = steps.pop() if len(steps) == 1 else (None, None)
    by_optimizer = {name: [*OWN_SHARES.get(name, ())] for name in _optimizers(forecasts)}
    own = [share for shares in by_optimizer.values() for share in shares]
    return {
        "matrices_measured": len(told),
        "update_rms_median": median(told) if told else None,
        "update_rms_expected_median": median(expected) if expected else None,
        "update_rms_next_200_median": median(later) if later else None,
        "expected_step": step,
        "expected_step_by": by,
        "forecast_within": WITHIN,
        "forecast_shares": {
            OWN: [min(own), max(own)] if own else [],
            **{by: [*shares] for by, shares in SHARES.items()},
        },
        "forecast_shares_by_optimizer": by_optimizer,
        "next_by": dict(sorted(Counter(e.next_by for e in forecasts if e.next_by).items())),
    }


def sentences(forecasts: Forecasts) -> Iterator[str]:
    """The last update beside what noise gives, and what that says of the next ones."""
    found = figures(forecasts)
    update, expected = found["update_rms_median"], found["update_rms_expected_median"]
    if update is None:
        return
    count = found["matrices_measured"]
    of = "of 1 matrix" if count == 1 else f"median of {count} matrices"
    words = f"Measured update: {update:.3g} × lr ({of})"
    if expected is not None:
        words += f"; pure noise would give {expected:.3g} × lr"
    yield f"{words}."
    if (settling := _settling(forecasts)) is not None:
        now, step, later = settling
        yield (
            f"Updates change over the next {AHEAD} steps while the fresh optimizer settles: pure "
            f"noise would give {now:.3g} × lr at step {step:,}, {later:.3g} × lr at step "
            f"{step + AHEAD:,}."
        )
        return
    words = f"The next {AHEAD} steps: expect the measured update{_nearness(forecasts)}."
    if (later := found["update_rms_next_200_median"]) is not None:
        words += (
            f" The next 200 steps: expect about {later:.3g} × lr, the geometric mean of measured "
            "and theory."
        )
    yield words


def _optimizers(forecasts: Forecasts) -> list[str]:
    """Those whose last update is measured of a matrix."""
    return sorted({e.training.name for e in forecasts if e.is_matrix and e.measured})


def _nearness(forecasts: Forecasts) -> str:
    """How near the next updates of large tensors come to the last one, under each optimizer."""
    names: dict[tuple[float, ...], list[str]] = {}
    for name in _optimizers(forecasts):
        names.setdefault(OWN_SHARES.get(name, ()), []).append(name)
    said = [
        _percent(shares) + (f" ({', '.join(own)})" if len(names) > 1 else "")
        for shares, own in names.items()
        if shares
    ]
    words = ""
    if said:
        large = f"of tensors of {LARGE:,} elements or more"
        words = f". It is right within a factor of {WITHIN} for {', '.join(said)} {large}"
    if () in names:
        words += f". Its accuracy is not known for {', '.join(names[()])}"
    return words


def _settling(forecasts: Forecasts) -> tuple[float, int, float] | None:
    """The medians of what noise gives at the step of the states and AHEAD of it, over the measured
    matrices; None where they are WITHIN each other, so that the last update says the next ones."""
    now, later, steps = [], [], set()
    for each in forecasts:
        if not (each.is_matrix and each.measured and each.step):
            continue
        pair = [
            expected_update(each.training.optimizer, each.rms or 1.0, each.shape, Gradient(), step)[
                0
            ]
            for step in (each.step, each.step + AHEAD)
        ]
        if pair[0] and pair[1]:
            now.append(pair[0])
            later.append(pair[1])
            steps.add(each.step)
    if len(steps) != 1:
        return None
    before, after = median(now), median(later)
    if max(before, after) <= WITHIN * min(before, after):
        return None
    return before, steps.pop(), after


def notes(forecasts: Forecasts) -> Iterator[str]:
    """What the forecasts rest on where it is not each tensor's own last update."""
    by = Counter(each.next_by for each in forecasts)
    if by[SHAPE]:
        yield (
            f"The expected update of {plural(by[SHAPE], 'tensor')} is the median of the states of "
            "their shape, because it is not certain which of these states is theirs. It is right "
            f"within a factor of {WITHIN} for {_share(SHAPE)} of such tensors."
        )
    if by[FAMILY]:
        yield (
            f"The expected update of {plural(by[FAMILY], 'tensor')} of fewer than {LARGE:,} "
            "elements is that of all small tensors of the family together, because the last update "
            "of one small tensor is mostly noise."
        )
    if by[BUFFER]:
        yield (
            f"The expected update of {plural(by[BUFFER], 'tensor')} comes from the momentum "
            "buffer, because the state does not hold the gradient that nesterov adds. It is right "
            f"within a factor of {WITHIN} for {_share(BUFFER)} of tensors."
        )
    yield from _steps(forecasts)


def _share(by: str) -> str:
    """The share of tensors whose updates come near a forecast of this kind, in words."""
    return _percent(SHARES[by])


def _percent(shares: Sequence[float]) -> str:
    return " to ".join(f"{100 * share:.0f}" for share in shares) + " %"


def _meant(forecast: TensorForecast) -> ExpectedStep | None:
    """The step that its expected update is of; None where theory has none."""
    if forecast.expected_step_by is None:
        return None
    return ExpectedStep(forecast.expected_step, forecast.expected_step_by)


def _steps(forecasts: Forecasts) -> Iterator[str]:
    """Which step theory is asked about, for each optimizer, and how near real updates come."""
    counts = Counter(
        (each.training.name, meant)
        for each in forecasts
        if each.next_by == THEORY and (meant := _meant(each)) is not None
    )
    for (name, (step, by)), count in counts.items():
        when = f"at step {step:,}{SOURCES[by]}" if step is not None else "in the steady state"
        words = f"The expected update of {plural(count, 'tensor')} is {name}'s {when}."
        if name in ADAMS and step != 1:
            words += (
                f" The real update is within a factor of {WITHIN} of it for {_share(THEORY)} of "
                "tensors; where the loss vanishes it can be a tenth of it."
            )
        yield words
