"""A state that is not finite, or a second moment that is negative, zero or of a type that cannot
hold its average.

Where v is inf the update is zero for ever, without any message. NaN in an average reaches the
weight at the next step. Zeros mean that the parameter gets no gradient, or that the type flushed
the squares to zero; the rule allows zero rows of an embedding. In bfloat16 v·beta2 rounds back to v
for beta2 above 0.998: the average only grows, and updates are a quarter too small. non-finite
judges tensors that belong to no parameter's state.

Try: Keep the state in float32; with states in bfloat16 use a beta2 of 0.95. Check whether forward
uses the parameter at all.
"""

from collections.abc import Iterator

from scalecheck.dtypes import FLOAT_TYPES
from scalecheck.optimizers.contract import SECOND_MOMENTS
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import number, percent, setting
from scalecheck.rules.contract import (
    CheckpointFacts,
    Example,
    Limit,
    Limits,
    Rule,
    StateFacts,
    judged,
)
from scalecheck.updates.recognition import entries_of

_UNJUDGED = ("variance",)  # of Adafactor, which keeps it of vectors alone


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    unjudged = [state for state in subject.states if state.others]
    if unjudged:
        types = ", ".join(sorted({t.dtype.name for state in unjudged for t in state.others}))
        yield judged("", f"{len(unjudged):,} states hold {types} and were not judged")
    for state in subject.states:
        if state.scales:
            yield _judged(state, limits.at(state.name, state.role)["zeros"])


def _judged(state: StateFacts, limit: float) -> Finding:
    broken = {name: s.nan + s.inf for name, s in state.scales.items() if s.nan + s.inf}
    words = [
        f"{name} is NaN or inf for {count:,} of {state.scales[name].numel:,} elements"
        for name, count in broken.items()
    ]
    words += [f"{name} is NaN or inf" for name in state.broken_numbers]
    names = (name for name in entries_of(*SECOND_MOMENTS) if name not in _UNJUDGED)
    moments = {name: state.scales[name] for name in names if name in state.scales}
    words += [
        f"{name} is negative, down to {number(v.min)}"
        for name, v in moments.items()
        if v.min is not None and v.min < 0
    ]
    if words:
        count = sum(broken.values()) or 1
        figures = {
            "value": count,
            "limit": 0,
            "several": "numbers of the state are NaN, inf or negative",
        }
        return judged(state.name, ", ".join(words), severity="error", **figures)
    v = next(iter(moments.values()), None)
    if v is None or not v.numel:
        return judged(state.name)
    zeros = v.zeros / v.numel
    if zeros > limit and state.role != "embedding":
        message = f"v is zero for {percent(zeros)} % of the elements (limit {100 * limit:g} %)"
        several = "v is zero for {percent} of their elements"
        return judged(state.name, message, value=zeros, limit=limit, several=several)
    if state.beta2 is not None and (gap := _least_gap(v.dtype)) > 1 - state.beta2:
        message = f"v in {v.dtype} cannot decay by beta2 {setting(state.beta2)}: it rounds back"
        return judged(state.name, message, value=1 - state.beta2, limit=gap, several=message)
    return judged(state.name, value=zeros, limit=limit)


def _least_gap(dtype: str) -> float:
    """Half the gap between neighbours of the type, relative to the larger one: an average that
    loses a smaller share a step stays as it is. 0 where the type is not known."""
    kind = FLOAT_TYPES.get(dtype)
    return 0.0 if kind is None else float(2.0 ** -(kind.mantissa_bits + 2))


RULE = Rule(
    "warning",
    find,
    "states",
    needs=("state",),
    limits={"zeros": Limit(0.1, "share of zeros that is let pass")},
    ok=Example(
        'model["w.weight"] = noise(64, 64)\n'
        'state["w.weight"] = 1e-4 * noise(64, 64), 1e-6 * ones(64, 64)'
    ),
    bad=Example(
        'model["w.weight"] = noise(64, 64)\n'
        'state["w.weight"] = 1e-4 * noise(64, 64), 1e-6 * ones(64, 64)\n'
        'state["w.weight"][1][3, 17] = inf',
        finds="exp_avg_sq is NaN or inf for 1 of 4,096 elements",
    ),
)
