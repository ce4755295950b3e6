"""A scale that is not the one its initialization gives.

Asked with --init for a checkpoint that was not trained yet. The scheme gives each tensor's rms by
its shape; chance moves it by an amount that the number of elements tells. What is off by more was
initialized in another way, or not at all: a scheme applied to some modules only, a fan taken for
the other one, a dtype that rounded it.

Try: the scheme that `scalecheck inspect --init` shows to fit; whether the initialization ran for
this module, and before any cast.
"""

from collections.abc import Iterator

from scalecheck.report.finding import Finding
from scalecheck.report.formatting import number
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor in subject.tensors:
        rms, init = tensor.scale.rms, tensor.init
        if not (tensor.is_parameter and tensor.is_finite) or init is None or rms is None:
            continue
        chance = init.tolerance(tensor.scale.numel)
        if chance is None:
            message = f"rms {number(rms)}, where it starts at zero" if rms else ""
            yield tensor.judged(message, rms, 0)
            continue
        tolerance = limits.of(tensor)["tolerances"] * chance + limits.of(tensor)["slack"]
        ratio = rms / init.rms
        message = (
            f"rms {number(rms)} is {number(ratio)} of the initialization's {number(init.rms)}"
            if abs(ratio - 1) > tolerance
            else ""
        )
        yield tensor.judged(message, abs(ratio - 1), tolerance)


RULE = Rule(
    "error",
    find,
    "tensors that the scheme speaks of",
    needs=("init",),
    limits={
        "tolerances": Limit(2, "how many times three standard errors the ratio may be off 1"),
        "slack": Limit(0.001, "what it may be off beside, for rounding to a narrow type"),
    },
    ok=Example('model["w.weight"] = noise(64, 64)', "--init normal:0.02"),
    bad=Example(
        'model["w.weight"] = 2 * noise(64, 64)',
        "--init normal:0.02",
        finds="rms 0.04000 is 2.000 of the initialization's 0.02000",
    ),
)
