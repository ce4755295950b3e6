"""The law of weight scale: an lr says nothing without the weights' scale; k times larger weights
need an lr k^p times larger to change by the same share of themselves."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scalecheck.laws.replay.claim import Claim, claims_table, reason, rows_of, times
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.laws.replay.gradients import clip_factor, rms
from scalecheck.laws.replay.replay import Replay, Replayed
from scalecheck.report.formatting import figure, finite, rate
from scalecheck.report.report import Column, Table

LAW = "weight scale"
ORDER = 3
STEPS = 100

COLUMNS = (
    Column("case", "case", "count", "its number"),
    Column("weight_rms", "weight rms", "setting", "RMS of the weights at the start"),
    Column("lr", "lr", "setting", "the lr"),
    Column("nominal", "lr/rms", "setting", "lr over the weights' RMS"),
    Column(
        "first", "first step", "measured", "replayed: RMS of the first change over the weights'"
    ),
    Column(
        "late", "last step", "measured", "replayed: the same of step 100, or the last before it"
    ),
)


@dataclass(frozen=True)
class Case:
    """Weights of an RMS under an lr: the relative change of each step."""

    weight_rms: float
    lr: float
    changes: Sequence[float]


def tables(experiment: Experiment, run: Replayed) -> Iterator[Table]:
    """The four cases, then what is claimed of them."""
    title = "3  Weight scale and lr: the relative change of a step"
    if experiment.law is None:
        yield Table("cases", COLUMNS, COLUMNS, [], title, [f"no law: {experiment.refusal}"])
        return
    found = cases(experiment)
    rows = [
        {
            "case": place,
            "weight_rms": case.weight_rms,
            "lr": case.lr,
            "nominal": case.lr / case.weight_rms,
            "first": finite(case.changes[0]),
            "late": finite(case.changes[-1]),
        }
        for place, case in enumerate(found, 1)
    ]
    yield Table("cases", COLUMNS, COLUMNS, rows, title)
    note = "as in 4 the weights k are divided by k where they are used: gradients/k, eps follows"
    yield claims_table([*claims(experiment, found)], notes=[note])


def answer(experiment: Experiment, tables: Sequence[Table]) -> str:
    """The lr that weights k times larger need to change by the same share of themselves."""
    if experiment.law is None:
        return f"Weights: no law for {experiment.name}: {experiment.refusal}."
    one, two, three, _ = next(table.rows for table in tables if table.name == "cases")
    words = f"Weights {times(experiment.k)}"
    if not all(row["holds"] for row in rows_of(tables, LAW)):
        return f"{words}: the law breaks for {experiment.name}."
    lrs = [rate(row["lr"]) for row in (one, two)]
    if one["lr"] == two["lr"]:
        return f"{words}: {experiment.name} needs the same lr, {lrs[0]}."
    same, other = (row["first"] or row["late"] for row in (two, three))
    step = f" ({_percent(same)}, not {_percent(other)})" if same and other else ""
    return f"{words}: lr {lrs[1]}, not {lrs[0]}, gives the same relative update{step}."


def _percent(share: float) -> str:
    return f"{figure(100 * share)} % per step"


def cases(experiment: Experiment) -> list[Case]:
    """Weights of RMS 1, k, k, 1 at an lr of lr, k^p·lr, lr, lr/k^p.

    Weights k times larger are divided by k in the forward pass, as in the law of
    reparameterization: their gradients are k times smaller, eps and decay follow.
    """
    assert experiment.law is not None
    power = experiment.k**experiment.law.lr_exponent
    lr, k = experiment.lr, experiment.k
    return [
        _replayed(experiment, scale, rate)
        for scale, rate in ((1.0, lr), (k, power * lr), (k, lr), (1.0, lr / power))
    ]


def claims(experiment: Experiment, found: Sequence[Case]) -> Iterator[Claim]:
    """(1) and (2) are the same, so are (3) and (4), and (1) is not (3)."""
    assert experiment.law is not None
    one, two, three, four = found
    p = experiment.law.lr_exponent
    smallest = min(change for case in found for change in case.changes[:1])
    scales = {"g": 1.0, "g/k": 1 / experiment.k}
    why = reason(experiment, scales, smallest, coscaled=True)
    allowed = experiment.sizes_deviate
    for words, a, b in (("(1) and (2)", one, two), ("(3) and (4)", three, four)):
        words += " change alike, step by step"
        difference = _difference(a.changes, b.changes)
        yield Claim.of(experiment, LAW, words, difference, 0.0, allowed, why)
    power = experiment.k**p
    times = {0: "", 1: "k times "}.get(p, f"k^{p} times ")
    # ADOPT moves nothing at its first step.
    first = next((step for step, change in enumerate(one.changes) if change), 0)
    ratio = one.changes[first] / three.changes[first] if three.changes[first] else math.inf
    words = f"first change: (1)'s is {times}(3)'s"
    yield Claim.of(experiment, LAW, words, ratio, power, allowed * power, why)


def _replayed(experiment: Experiment, scale: float, lr: float) -> Case:
    """Weights of this RMS, moved at this lr by the experiment's gradients over the scale."""
    rng = np.random.default_rng([experiment.seed, 1])  # not the gradients'
    start = rng.standard_normal(experiment.shape)
    start *= scale / math.sqrt(float(np.mean(start**2)))
    optimizer = experiment.optimizer.rescaled(scale)
    replay = Replay(optimizer, start, lr, experiment.dtype)
    clip = None if experiment.clip is None else experiment.clip / scale
    changes = []
    with np.errstate(over="ignore", invalid="ignore"):
        for _, gradient in zip(range(STEPS), experiment.stream(), strict=False):
            scaled = gradient * (experiment.grad_scale / scale)
            before = replay.rms
            update = replay.update(scaled * clip_factor(scaled, clip))
            changes.append(lr * rms(update) / before if before else math.nan)
    return Case(scale, lr, changes)


def _difference(a: Sequence[float], b: Sequence[float]) -> float:
    """The largest |a/b − 1| over the steps."""
    worst = 0.0
    for one, other in zip(a, b, strict=True):
        off = abs(one - other) / other if other else (math.inf if one else 0.0)
        worst = math.inf if math.isnan(off) else max(worst, off)
    return worst
