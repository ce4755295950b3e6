"""A weight whose scale is far from the equilibrium with weight decay that it had time for.

Under AdamW and gradients that are noise the rms of a weight tends to √(lr/(2·weight_decay)) over a
time scale of 1/(lr·weight_decay) steps, whatever it was at the start. Real runs settle at 0.26 to
3.8 times it. Where a run lasts several time scales, a weight outside that range was not decayed, or
not updated, as the settings say: another parameter group, a frozen layer, gradients that agree for
long. Optimizers without a known equilibrium (SGD, Adam with L2, Muon) are not judged, nor is a run
that is ahead: its phase is known, and no optimizer state counts steps.

Try: Look at the parameter groups that the optimizer had. Pass --steps and --schedule of the run,
where the saved state has only its last lr.
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
