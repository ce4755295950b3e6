"""What a translation comes to, in a few plain sentences with the numbers in them. They are about
tensors, however its rows are grouped."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import Any

from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.dtypes import DTYPES
from scalecheck.recipes.placement import percent as shares
from scalecheck.report.formatting import figure, percent, plural, printable, rate
from scalecheck.report.part import Part, together
from scalecheck.updates.assumed import Assumption
from scalecheck.updates.saved_state import States
from scalecheck.updates.tensor_forecast import (
    BEFORE_FIRST,
    NO_LR,
    TensorForecast,
)

Forecasts = Sequence[TensorForecast]

NEAR_EPS = 0.1  # share of its elements near eps from which on a tensor is named
NAMED = 3
WITHOUT_LR = "No lr was given, so no relative update is shown. Pass --lr, for example --lr 3e-4."
_BROKEN = {
    "v_zeros": "v is 0",
    "v_not_finite": "v is NaN, inf or negative",
    "m_not_finite": "m is NaN or inf",
}
OFF = 2.0  # times the assumed rms, up or down, from which on an assumption is said to be off


def speeds(forecasts: Forecasts) -> Part:
    """Which tensor and which matrix changes most, and which matrix least."""
    moved = [each for each in forecasts if each.relative_update is not None]
    matrices = [each for each in moved if each.has_band]
    return Part(
        summary={
            "tensors_moved": len(moved),
            **_extreme("fastest", moved, max),
            "matrices_moved": len(matrices),
            **_extreme("fastest_matrix", matrices, max),
            **_extreme("slowest_matrix", matrices, min),
        },
        conclusion=[*(_speeds(moved, matrices) if moved else _unknown(forecasts))],
    )


def _extreme(word: str, forecasts: Forecasts, which: Callable[..., Any]) -> dict[str, Any]:
    """The tensor that changes most or least, and by how much."""
    found = which(forecasts, key=_update, default=None)
    return {
        word: None if found is None else found.name,
        f"{word}_update": None if found is None else found.relative_update,
    }


def _update(forecast: TensorForecast) -> float:
    return forecast.relative_update or 0.0


def _speeds(moved: Forecasts, matrices: Forecasts) -> Iterator[str]:
    among = matrices or moved
    first, fast, slow = max(moved, key=_update), max(among, key=_update), min(among, key=_update)
    is_mixed = any(each.measured for each in moved) and not first.measured
    words = f"Fastest: {_speed(first)} per step{' (expected)' if is_mixed else ''}"
    of = f"{len(among)} {'matrices' if matrices else 'tensors'}"
    if len(among) == 1:
        only = fast is not first and bool(matrices)
        yield f"{words}. The only matrix: {_speed(fast)}." if only else f"{words}."
    elif fast is first:
        yield f"{words}; slowest of {of}: {_speed(slow)}."
    else:
        yield f"{words}. Fastest of {of}: {_speed(fast)}; slowest: {_speed(slow)}."


def _unknown(forecasts: Forecasts) -> Iterator[str]:
    """Why no update is known, by the reason that most tensors have."""
    reasons = Counter(each.reason for each in forecasts if each.reason not in (None, NO_LR))
    for reason, _ in reasons.most_common(1):
        yield printable(f"No relative update is known: {reason}.")


def _speed(forecast: TensorForecast) -> str:
    return f"{printable(forecast.name)}, {shares(_update(forecast))} %"


def to_part(forecasts: Forecasts, other: str | None) -> Part:
    """The lr of another optimizer that changes the weights as much; nothing where none is asked
    for."""
    if other is None:
        return Part()
    known = [
        (each, each.absolute_update / each.to_update)
        for each in forecasts
        if each.absolute_update and each.to_update
    ]
    matrices = [lr for each, lr in known if each.has_band]
    lrs = matrices or [lr for _, lr in known]
    figures = {
        "lr_min": min(lrs, default=None),
        "lr_median": median(lrs) if lrs else None,
        "lr_max": max(lrs, default=None),
        "matrices" if matrices else "tensors": len(lrs),
    }
    if not lrs:
        return Part(summary={"to": figures}, conclusion=[f"No lr of {other} is known here."])
    one, several = ("matrix", "matrices") if matrices else ("tensor", "tensors")
    of = f"{len(lrs)} {one if len(lrs) == 1 else several}"
    low, middle, high = rate(min(lrs)), rate(median(lrs)), rate(max(lrs))
    span = f"lr {low}" if low == high else f"lr {low} to {high} (median {middle})"
    return Part(
        summary={"to": figures},
        conclusion=[f"{other} changes {of} as much per step at {span}."],
    )


def eps(forecasts: Forecasts) -> Part:
    """Where eps rules, and where moments are broken."""
    return Part(summary=eps_figures(forecasts), sentences=[*_ruled_by_eps(forecasts)])


def rest(forecasts: Forecasts, assumption: Assumption | None) -> Part:
    """The tensors of which an update is no share, and how far an assumption holds."""
    believed = Part() if assumption is None else _believed(forecasts, assumption)
    return together([_without_ratio(forecasts), believed])


def notes(
    forecasts: Forecasts, states: States, doubts: Sequence[str], lr: float | None
) -> Iterator[str]:
    """What stands behind the figures; doubts: the state's, lr: the one that was given."""
    yield from map(printable, states.notes)
    certain = [each for each in forecasts if each.has_size and each.is_certain]
    reasons = Counter(each.reason for each in certain if each.reason)
    if reasons.pop(NO_LR, 0):
        yield WITHOUT_LR
    for reason, n in reasons.items():
        yield printable(f"{n} of {len(forecasts)} tensors have no update: {reason}.")
    unrounded = [e for e in certain if e.absolute_update and e.trained_in not in ("", *DTYPES)]
    if unrounded:
        yield (
            f"What rounds away is not known for {plural(len(unrounded), 'quantised weight')}, as "
            "codes are not trained in place. Pass --param-dtype to name the type that is trained."
        )
    coded = [e for e in forecasts if e.measured and e.is_coded]
    if count_coded := sum(not each.training.optimizer.equal_updates for each in coded):
        yield (
            f"Updates are measured within 1 % for {plural(count_coded, 'tensor')}, as the state "
            "keeps its averages as codes."
        )
    unread = Counter(each.state_reason for each in forecasts if each.state_reason)
    for reason, n in unread.items():
        of = f"{n} of {len(forecasts)} tensors"
        yield printable(f"The updates of {of} are expected, not measured: {reason}.")
    yield from doubts
    if lr is None and states.lr_note:
        yield states.lr_note
    elif lr is None and states.path is not None:
        whose = "optimizer's" if states.in_memory else "state's"
        yield (
            f"The lr is the {whose}. A scheduler may have changed it since the last update; --lr "
            "sets another."
        )
    for name in sorted({e.training.name for e in forecasts if e.training.optimizer.relative_lr}):
        yield f"The lr of {name} is relative: each step is this share of the weights."


def masters_note(checkpoint: Checkpoint, trained: Iterable[Tensor]) -> list[str]:
    """A note on tensors whose master weights the rows are about, if there are some."""
    masters = [one for one in trained if checkpoint.masters.get(one.name) is one]
    if not masters:
        return []
    types = " and ".join(sorted({one.dtype.name for one in masters}))
    of = plural(len(masters), "tensor")
    return [f"{of}: figures are of the {types} master weights, which the optimizer changes."]


def _believed(forecasts: Forecasts, assumption: Assumption) -> Part:
    """Where an assumed initialization is off, and by how much."""
    known = {each.name: each.assumed_ratio for each in forecasts if each.assumed_ratio}
    logs = {name: abs(math.log(ratio)) for name, ratio in known.items()}
    off = [name for name, log in logs.items() if log > math.log(OFF)]
    worst = max(logs, key=logs.__getitem__, default=None)
    figures = {
        "assumed_tensors": len(known),
        "assumed_off": len(off),
        "assumed_most": worst,
        "assumed_most_ratio": None if worst is None else known[worst],
    }
    if worst is None:
        words = f"{assumption.word} gives the scale of no tensor here."
    elif not off:
        words = f"{assumption.word} is within a factor of 2 of all {plural(len(known), 'tensor')}."
    else:
        words = (
            f"{assumption.word} is off by more than a factor of 2 for {len(off)} of "
            f"{plural(len(known), 'tensor')}; most for {printable(worst)}, whose rms is "
            f"{figure(known[worst])} times the assumed one."
        )
    return Part(summary=figures, sentences=[f"Assumption: {words}"])


def eps_figures(forecasts: Forecasts) -> dict[str, Any]:
    """The tensors in which √v̂ is near eps, the largest shares first, and counts of broken
    moments with the tensor that has most of them."""
    ruled = [each for each in forecasts if _near_eps(each) >= NEAR_EPS]
    ruled.sort(key=_near_eps, reverse=True)
    found: dict[str, Any] = {
        "near_eps_tensors": len(ruled),
        "near_eps": [{"name": e.name, "share": e.eps_near_share} for e in ruled[:NAMED]],
    }
    for name in _BROKEN:
        counts = {each.name: getattr(each, name) or 0 for each in forecasts}
        total = sum(counts.values())
        found[name] = total
        found[f"{name}_most"] = max(counts, key=counts.__getitem__) if total else None
    return found


def _near_eps(forecast: TensorForecast) -> float:
    return forecast.eps_near_share or 0.0


def _ruled_by_eps(forecasts: Forecasts) -> Iterator[str]:
    """Where √v̂ is so near eps that an update says the gradient's scale, or v or m is broken."""
    found = eps_figures(forecasts)
    if ruled := found["near_eps"]:
        names = (f"{printable(e['name'])} ({percent(e['share'])} %)" for e in ruled)
        others = found["near_eps_tensors"] - len(ruled)
        more = f" and {others} more" if others else ""
        yield f"eps limits updates where √v̂ is below 100 × eps: {', '.join(names)}{more}."
    for name, words in _BROKEN.items():
        if found[name]:
            most = printable(found[f"{name}_most"])
            yield f"{words} in {plural(found[name], 'element')}, most of them in {most}."


def _without_ratio(forecasts: Forecasts) -> Part:
    """The tensors that are all zero or not finite, by the reason."""
    summary: dict[str, Any] = {}
    sentences = []
    for band, words in (
        ("zero-init", "all zero"),
        (BEFORE_FIRST, "all zero, as this half of an adapter starts,"),
        ("not finite", "not finite"),
    ):
        found = [each for each in forecasts if each.band == band]
        if not found:
            continue
        first = found[0].absolute_update if band != "not finite" else None
        name, n = printable(found[0].name), len(found)
        which = f"{name} is" if n == 1 else f"{plural(n, 'tensor')}, {name} first, are"
        step = (
            "" if first is None else f"; a step changes {'it' if n == 1 else 'the first'} by RMS "
        )
        step += "" if first is None else figure(first)
        none = "has" if n == 1 else "have"
        sentences.append(f"{which} {words} and {none} no relative update{step}.")
        summary[band] = {"tensors": len(found), "first": found[0].name, "update": first}
    return Part(summary={"without_ratio": summary} if summary else {}, sentences=sentences)
