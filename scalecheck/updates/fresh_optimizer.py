"""The first steps of a fresh optimizer with the lrs that are emitted: what they are computed from,
and what is said of them."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from scalecheck.checkpoint.keys import text_key
from scalecheck.optimizers.contract import Gradient
from scalecheck.report.formatting import plural
from scalecheck.updates.emitted_lrs import SMALL, Emitted
from scalecheck.updates.first_steps import LISTED, FirstSteps, Fresh

GROWN = 1.1  # times the target, from which on it is said that updates of later steps exceed it


def kinds_of(tensors: Sequence[Emitted], settings: Mapping[str, Any]) -> Sequence[Fresh]:
    """A tensor of each way of training, with the median update of all, for the first steps of a
    fresh optimizer."""
    found: dict[str, list[Emitted]] = {}
    for one in tensors:
        member = one.member
        if member.has_size and member.training.is_known and member.update_rms_next is not None:
            key = text_key([member.training.optimizer, member.expected_step])
            found.setdefault(key, []).append(one)
    return [_fresh(alike, settings) for alike in found.values()]


def _fresh(tensors: Sequence[Emitted], settings: Mapping[str, Any]) -> Fresh:
    large = [one for one in tensors if one.member.numel >= SMALL] or tensors
    first = large[0].member
    return Fresh(
        first.training.optimizer,
        large[0].lr or 1.0,
        first.rms or 0.0,
        first.shape,
        Gradient(settings["grad_rms"] or first.grad_rms or None, settings["snr"]),
        first.expected_step,
        median(one.member.update_rms_next or 0.0 for one in large),
    )


def warmed(first: FirstSteps, run: dict[str, Any]) -> dict[str, Any]:
    """The linear warm-up of a run that has the steps for it."""
    steps = max(first.linear, run.get("warmup", 0))
    return {"warmup": steps} if steps <= run.get("steps", 0) else {}


def on_first_steps(
    first: FirstSteps, kinds: Sequence[Fresh], form: str, is_warmed: bool
) -> Iterator[str]:
    """What a fresh optimizer's first steps are, and what holds the target in them."""
    if first.untold is not None:
        steps, why = first.untold
        which = "first step" if steps == 1 else f"first {steps:,} steps"
        which = "first steps" if steps >= LISTED else which
        yield f"the size of the {which} of a fresh optimizer is not known ({why})"
    meant = {kind.step for kind in kinds}
    step = meant.pop() if len(meant) == 1 else 0
    when = "the steady state" if step is None else f"step {step:,}" if step else "later steps"
    if first.limit > GROWN:
        yield f"the lrs are for {when}: updates grow to {first.limit:.3g} times the target after it"
    if not first.steps:
        return
    yield (
        f"the lrs are for {when}: the first step of a fresh optimizer is {first.excess:.3g} times "
        f"the target, and its updates come down to it over {plural(first.steps, 'step')}"
    )
    linear = f"a linear warm-up of {first.linear:,} steps never exceeds the target"
    if form == "torch":
        yield f"scheduler(optimizer) holds the target from the first step, by WARMUP; {linear}"
    elif form == "json":
        listed = f"; warmup lists the first {LISTED:,} steps" if first.steps > LISTED else ""
        yield f"warmup_points holds the target from the first step{listed}; {linear}"
    elif is_warmed:
        yield f"{linear}: `warmup` is at least that"
    else:
        yield (
            f"{linear}: add `steps = N`, the steps of the run, and `warmup = {first.linear}` above "
            "[optimizer], and check judges it; --emit torch has the exact warm-up"
        )
    yield "--step 1 gives the lrs of the first step instead"
