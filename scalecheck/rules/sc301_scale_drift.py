"""A tensor whose figures differ from the baseline.

A scale that changes without a reason points to a defect in training, conversion or loading. The
baseline is a report of `scalecheck inspect --format json` of a good checkpoint. Each figure has a
tolerance: the rms and most others relative to their size, the mean relative to the rms, zeros as a
share of the elements. The message names the first figure outside its tolerance. A baseline that has
none of the tensors is a finding too.

Try: Compare the two with `scalecheck diff`. Where the change is intended, rewrite the baseline with
--update-baseline.
"""

import math
from collections.abc import Iterator, Mapping

from scalecheck.checkpoint.recorded import RecordedStats
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import figure
from scalecheck.rules.contract import (
    CheckpointFacts,
    Example,
    Limit,
    Limits,
    Rule,
    TensorFacts,
    judged,
)


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    before = {} if subject.baseline is None else subject.baseline.rows
    if subject.unrelated:
        yield judged("", subject.unrelated)
    for tensor in subject.tensors:
        if tensor.name not in before or before[tensor.name].shape != tensor.scale.shape:
            continue
        yield _judged(tensor, before[tensor.name], limits.of(tensor))


def _judged(tensor: TensorFacts, was: RecordedStats, limits: Mapping[str, float]) -> Finding:
    """By the rms where it is off, else by the first figure that is."""
    broken, before = tensor.scale.nan + tensor.scale.inf, (was.nan or 0) + (was.inf or 0)
    if broken > before:
        are = "element is" if broken == 1 else "elements are"
        message = f"{broken:,} {are} NaN or inf, {before:,} in the baseline"
        several = "NaN or inf elements: {count} each, more than in the baseline"
        return tensor.judged(message, broken, before, several=several)
    if tensor.scale.rms is None or was.rms is None:
        if tensor.scale.rms == was.rms:
            return tensor.judged()
        now, then = ("none" if rms is None else figure(rms) for rms in (tensor.scale.rms, was.rms))
        return tensor.judged(f"rms {now}, but {then} in the baseline")
    changes = _changes(tensor.scale, was)
    worst = max(changes, key=lambda name: (changes[name] > limits[name], name == "rms"))
    if changes[worst] <= limits[worst]:
        return tensor.judged("", changes[worst], limits[worst])
    now, then = getattr(tensor.scale, worst), getattr(was, worst)
    limit = f"(limit {figure(100 * limits[worst])} % off)"
    if worst == "mean" or not then:
        message = f"{worst} {figure(now)}, but {figure(then)} in the baseline {limit}"
    else:
        times = f"{figure(now / then)} times the baseline's {figure(then)}"
        message = f"{worst} {figure(now)} is {times} {limit}"
    several = f"{worst} {{percent}} off the baseline's"
    return tensor.judged(message, changes[worst], limits[worst], several=several)


def _changes(now: TensorStats, then: RecordedStats) -> dict[str, float]:
    """The change of each figure that both have, in the units of its tolerance."""
    changes: dict[str, float] = {}
    for name in ("rms", "std", "absmax"):
        new, old = getattr(now, name), getattr(then, name)
        if new is not None and old is not None:
            changes[name] = abs(new / old - 1) if old else math.inf if new else 0.0
    if now.mean is not None and then.mean is not None and then.rms:
        changes["mean"] = abs(now.mean - then.mean) / then.rms
    if then.zeros is not None and now.numel:
        changes["zeros"] = abs(now.zeros - then.zeros) / now.numel
    return changes


RULE = Rule(
    "error",
    find,
    "tensors that the baseline has",
    needs=("baseline",),
    limits={
        "rms": Limit(0.1, "relative change of the rms that is let pass"),
        "std": Limit(0.1, "the same of the standard deviation"),
        "absmax": Limit(0.5, "the same of the largest |w|"),
        "mean": Limit(0.1, "change of the mean, over the rms"),
        "zeros": Limit(0.01, "change of the share of zeros"),
    },
    ok=Example(
        'baseline["w.weight"] = noise(64, 64)\nmodel["w.weight"] = 1.01 * baseline["w.weight"]'
    ),
    bad=Example(
        'baseline["w.weight"] = noise(64, 64)\nmodel["w.weight"] = 1.25 * baseline["w.weight"]',
        finds="rms 0.025 is 1.25 times the baseline's 0.02 (limit 10 % off)",
    ),
)
