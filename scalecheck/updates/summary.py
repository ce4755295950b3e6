"""What a translation comes to, in a few plain sentences with the numbers in them. They are about
tensors, however its rows are grouped."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from scalecheck.checkpoint.tensor import Checkpoint, Tensor
from scalecheck.dtypes import DTYPES
from scalecheck.report.formatting import count, number, percent, plural, printable, setting
from scalecheck.report.part import Part
from scalecheck.updates.assumed import Assumption
from scalecheck.updates.saved_state import States
from scalecheck.updates.tensor_forecast import (
    BEFORE_FIRST,
    NO_LR,
    TensorForecast,
    different_lrs,
)

if TYPE_CHECKING:
    pass

Forecasts = Sequence[TensorForecast]

NEAR_EPS = 0.1  # share of its elements near eps from which on a tensor is named
NAMED = 3
WITHOUT_LR = "No relative update is shown, as no lr is given: --lr 3e-4 adds it"
OFF = 2.0  # times the assumed rms, up or down, from which on an assumption is said to be off


def headline(checkpoint: Checkpoint, forecasts: Forecasts, states: States) -> str:
    """The checkpoint, who trains it, and where that was found."""
    names = {each.training.name for each in forecasts}
    lrs = different_lrs(forecasts)
    lr = f"lr {setting(*lrs)}" if len(lrs) == 1 else f"{len(lrs)} lrs" if lrs else "lr not known"
    lr = lr if any(each.training.has_lr for each in forecasts) else "no lr given"
    at = "" if states.path is None else f", state of {printable(str(states.path))}"
    words = f"{printable(str(checkpoint.path))}: {checkpoint.format}, "
    words += plural(len(forecasts), "tensor")
    return f"{words}\n{', '.join(sorted(names))}, {lr}{at}"


def spread(forecasts: Forecasts) -> Part:
    """Which matrix changes most and which least."""
    moved = [each for each in forecasts if each.has_band and each.relative_update is not None]
    return Part(sentences=[*_spread(moved)])


def eps(forecasts: Forecasts) -> Part:
    """Where eps rules, and where moments are broken."""
    return Part(sentences=[*_ruled_by_eps(forecasts)])


def rest(forecasts: Forecasts, assumption: Assumption | None) -> Part:
    """The tensors of which an update is no share, and how far an assumption holds."""
    believed = [] if assumption is None else [_believed(forecasts, assumption)]
    return Part(sentences=[*_without_ratio(forecasts), *believed])


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
        yield printable(f"no update for {n} of {len(forecasts)} tensors: {reason}")
    unrounded = [e for e in certain if e.absolute_update and e.trained_in not in ("", *DTYPES)]
    if unrounded:
        yield (
            f"rounding is not known for {plural(len(unrounded), 'quantised weight')}: codes are "
            "not trained in place; --param-dtype says which type is"
        )
    coded = [e for e in forecasts if e.measured and e.is_coded]
    if count_coded := sum(not each.training.optimizer.equal_updates for each in coded):
        words = "the state keeps its averages as codes"
        yield f"measured within 1 % for {plural(count_coded, 'tensor')}: {words}"
    unread = Counter(each.state_reason for each in forecasts if each.state_reason)
    for reason, n in unread.items():
        yield printable(f"expected, not measured, for {n} of {len(forecasts)} tensors: {reason}")
    yield from doubts
    if lr is None and states.lr_note:
        yield states.lr_note
    elif lr is None and states.path is not None:
        whose = "the optimizer's own at this moment" if states.in_memory else "the state's"
        yield f"the lr is {whose}, which a scheduler may have moved on after the last update"
    for name in sorted({e.training.name for e in forecasts if e.training.optimizer.relative_lr}):
        yield f"the lr of {name} is relative to the weights already"


def masters_note(checkpoint: Checkpoint, trained: Iterable[Tensor]) -> list[str]:
    """A note on tensors whose master weights the rows are about, if there are some."""
    masters = [one for one in trained if checkpoint.masters.get(one.name) is one]
    if not masters:
        return []
    types = " and ".join(sorted({one.dtype.name for one in masters}))
    of = plural(len(masters), "tensor")
    return [f"{of}: the {types} master weights, which the optimizer moves, not their roundings"]


def _believed(forecasts: Forecasts, assumption: Assumption) -> str:
    """Where an assumed initialization is off, and by how much."""
    known = {each.name: each.assumed_ratio for each in forecasts if each.assumed_ratio}
    logs = {name: abs(math.log(ratio)) for name, ratio in known.items()}
    off = [name for name, log in logs.items() if log > math.log(OFF)]
    words = f"the assumption {assumption.word} is"
    if not off:
        return f"{words} within a factor of 2 for all {len(known)} known"
    worst = max(off, key=logs.__getitem__)
    return (
        f"{words} off by more than a factor of 2 for {len(off)} of {len(known)}; most for "
        f"{printable(worst)}, whose rms is {number(known[worst])} of it"
    )


def _spread(matrices: Forecasts) -> Iterator[str]:
    updates = {each.name: each.relative_update or 0.0 for each in matrices}
    if not updates:
        return
    most, least = max(updates, key=updates.__getitem__), min(updates, key=updates.__getitem__)
    fast, slow = updates[most], updates[least]
    if len(updates) == 1:
        yield f"{printable(most)} changes by {number(fast)} of itself a step"
        return
    times = f", {number(fast / slow)} times apart" if slow else ""
    yield (
        f"of {len(updates)} matrices {printable(most)} changes most, by {number(fast)} of itself a "
        f"step, {printable(least)} least, by {number(slow)}{times}"
    )


def _ruled_by_eps(forecasts: Forecasts) -> Iterator[str]:
    """Where √v̂ is so near eps that an update says the gradient's scale, or v or m is broken."""
    shares = {each.name: each.eps_near_share or 0.0 for each in forecasts}
    ruled = [name for name, share in shares.items() if share >= NEAR_EPS]
    if ruled:
        ruled.sort(key=shares.__getitem__, reverse=True)
        names = (f"{printable(name)} ({percent(shares[name])} %)" for name in ruled[:NAMED])
        more = f" and {len(ruled) - NAMED} more" if len(ruled) > NAMED else ""
        yield f"eps counts: √v̂ is below 100 eps in {', '.join(names)}{more}"
    for words, field in (
        ("v is 0", "v_zeros"),
        ("v is NaN, inf or negative", "v_not_finite"),
        ("m is NaN or inf", "m_not_finite"),
    ):
        counts = {each.name: getattr(each, field) or 0 for each in forecasts}
        if any(counts.values()):
            most = max(counts, key=counts.__getitem__)
            number = plural(sum(counts.values()), "element")
            yield f"{words} for {number}, most in {printable(most)}"


def _without_ratio(forecasts: Forecasts) -> Iterator[str]:
    for band, words in (
        ("zero-init", "all zero, so that there is no ratio"),
        (BEFORE_FIRST, "all zero, as this half of an adapter starts"),
        ("not finite", "NaN or inf in it, and no ratio"),
    ):
        found = [each for each in forecasts if each.band == band]
        if found:
            more = f" and {count(len(found) - 1)} more" if len(found) > 1 else ""
            first = found[0].absolute_update if band != "not finite" else None
            step = "" if first is None else f"; the first moves by {number(first)} a step"
            yield f"{band}: {printable(found[0].name)}{more}: {words}{step}"
