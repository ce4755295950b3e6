"""A second moment that is NaN, inf, negative or zero, or whose type cannot hold its average.

Where v is inf the update is zero for ever and nothing says so; NaN spreads to the weight at the
next step. Zeros are parameters without a gradient (rows of an embedding are let pass), or squares
that the type flushed. In bfloat16 v·beta2 rounds back to v for beta2 above 0.998: the average only
grows, and updates come out a quarter too small.

Try: a state in float32; beta2 of 0.95 with states in bfloat16; whether the parameter is used in
forward at all.
"""

from collections.abc import Iterator

from scalecheck.report.figures import percent, setting
from scalecheck.report.report import Row
from scalecheck.rules._rule import Example, Limit, Limits, Rule
from scalecheck.rules._subject import Judgement, Subject, judged
from scalecheck.theory.precision import FLOAT_TYPES


def find(subject: Subject, limits: Limits) -> Iterator[Judgement]:
    for state in subject.states:
        was_read = state["eps_share"] is not None or state["v_not_finite"]
        if not state["v_numel"] or not was_read:
            continue
        name, zeros = state["name"], state["v_zeros"] / state["v_numel"]
        limit = limits.at(name, state["role"])["zeros"]
        if broken := state["v_not_finite"]:
            message = f"v is NaN, inf or negative for {broken:,} of {state['v_numel']:,} elements"
            yield judged(name, message, value=broken, limit=0, severity="error")
        elif zeros > limit and state["role"] != "embedding":
            message = f"v is zero for {percent(zeros)} % of the elements"
            yield judged(name, message, value=zeros, limit=limit)
        elif state["beta2"] is not None and (gap := _least_gap(state)) > 1 - state["beta2"]:
            message = f"v in {state['v_dtype']} does not forget at beta2 {setting(state['beta2'])}"
            yield judged(name, message, value=1 - state["beta2"], limit=gap)
        else:
            yield judged(name, value=zeros, limit=limit)


def _least_gap(state: Row) -> float:
    """Half the gap between neighbours of the type, relative to the larger one: an average that
    loses less of itself a step stays as it is. 0 where the type is not known."""
    kind = FLOAT_TYPES.get(state["v_dtype"])
    return 0.0 if kind is None else float(2.0 ** -(kind.mantissa_bits + 2))


RULE = Rule(
    "warning",
    find,
    "states with a second moment",
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
        finds="v is NaN, inf or negative for 1 of 4,096 elements",
    ),
)
