"""A scale that differs from what the initialization gives.

A wrong initial scale changes the size of activations and gradients from the first step on, and the
lr that was tuned for the scheme no longer fits. The rule runs with --init, for a checkpoint that is
not trained yet. The scheme gives the rms of each tensor from its shape; chance moves it by an
amount that follows from the number of elements. A tensor that differs by more was initialized in
another way, or not at all: a scheme applied to some modules only, fan-in confused with fan-out, or
a dtype that rounded the values.

Try: `scalecheck inspect --init` shows which scheme fits. Check whether the initialization ran for
this module, and ran before any cast.
"""

from collections.abc import Iterator

from scalecheck.report.finding import Finding
from scalecheck.report.formatting import figure
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule

_SEVERAL = "rms {percent} off the initialization's"


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor in subject.tensors:
        rms, init = tensor.scale.rms, tensor.init
        if not (tensor.is_parameter and tensor.is_finite) or init is None or rms is None:
            continue
        chance = init.tolerance(tensor.scale.numel)
        if chance is None:
            message = f"rms {figure(rms)}, where the initialization is zero" if rms else ""
            several = "rms {number}, where the initialization is zero"
            yield tensor.judged(message, rms, 0, several=several)
            continue
        tolerance = limits.of(tensor)["tolerances"] * chance + limits.of(tensor)["slack"]
        ratio = rms / init.rms
        message = (
            f"rms {figure(rms)} is {figure(ratio)} times the initialization's {figure(init.rms)} "
            f"(limit {100 * tolerance:.2g} % off)"
        )
        is_off = abs(ratio - 1) > tolerance
        yield tensor.judged(message if is_off else "", abs(ratio - 1), tolerance, several=_SEVERAL)


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
        finds="rms 0.04 is 2 times the initialization's 0.02 (limit 6.7 % off)",
    ),
)
