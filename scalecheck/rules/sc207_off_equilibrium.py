"""A weight whose scale is far from its equilibrium with weight decay, after enough steps to reach
it.

The run usually did not do what its settings say: the weight was not decayed or not updated. Under
AdamW, when gradients are mostly noise, the rms of a weight approaches √(lr/(2·weight_decay)) within
a time scale of 1/(lr·weight_decay) steps, whatever it was at the start. Real runs settle at 0.26 to
3.8 times that value. A weight outside this range after several time scales is in another parameter
group, in a frozen layer, or gets gradients that agree for long. The rule does not judge optimizers
without a known equilibrium (SGD, Adam with L2, Muon), nor a run that has not started: one with a
known phase and no optimizer state that counts steps.

Try: Check the parameter groups of the optimizer. Pass --steps and --schedule of the run where the
saved state has only its last lr.
"""

from collections.abc import Iterator

from scalecheck.report.finding import Finding
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule

_SEVERAL = "rms {times} off the equilibrium of weight decay"


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    if subject.run.phase is not None and subject.steps is None:
        return  # the run is ahead
    for tensor, forecast, _ in subject.updates:
        equilibrium, ratio = forecast.equilibrium_rms, forecast.equilibrium_ratio
        reached, own = forecast.decay_sum or 0.0, limits.of(tensor)
        if not tensor.is_matrix or not equilibrium or not ratio or reached < own["reached"]:
            continue
        factor = max(ratio, 1 / ratio)
        words = f"rms {tensor.scale.rms:.3g} is {ratio:.3g} times its equilibrium {equilibrium:.3g}"
        message = (
            f"{words} after {reached:.3g} time scales of weight decay (limit {own['factor']:.3g} "
            "times off)"
        )
        message = message if factor > own["factor"] else ""
        yield tensor.judged(message, factor, own["factor"], several=_SEVERAL, own=words)


RULE = Rule(
    "warning",
    find,
    "matrices that weight decay had time for",
    needs=("lr",),
    limits={
        "factor": Limit(4, "factor between rms and equilibrium that is let pass"),
        "reached": Limit(3, "time scales of weight decay after which it should be reached"),
    },
    ok=Example('model["w.weight"] = noise(64, 64)', "--lr 1e-4 --weight-decay 0.1 --steps 400000"),
    bad=Example(
        'model["w.weight"] = 10 * noise(64, 64)',
        "--lr 1e-4 --weight-decay 0.1 --steps 400000",
        finds="rms 0.2 is 8.94 times its equilibrium 0.0224 after 4 time scales of weight decay "
        "(limit 4 times off)",
    ),
)
