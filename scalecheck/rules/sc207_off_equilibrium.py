"""A weight whose scale is far from the balance of updates and weight decay that it had time for.

Under AdamW and gradients that are noise the rms of a weight tends to √(lr/(2·decay)) within
1/(lr·decay) steps, whatever it was at the start; gradients that agree hold it higher. Where Σ
lr·decay over the run is several, a weight that is elsewhere was not decayed, or not updated, as the
settings say: another parameter group, a frozen layer, gradients that agree for long.
Where the phase is known and no optimizer state counts steps, the run is ahead, and nothing is
judged.

Try: the parameter groups that the optimizer really had; --steps and --schedule of the run, where
the saved state has only its last lr.
"""

from collections.abc import Iterator

from scalecheck.report.finding import Finding
from scalecheck.report.formatting import number
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    if subject.run.phase is not None and subject.steps is None:
        return  # the run is ahead
    for tensor, forecast, _ in subject.updates:
        ratio, reached = forecast.equilibrium_ratio, forecast.decay_sum
        own = limits.of(tensor)
        if not tensor.is_matrix or not ratio or not reached or reached < own["reached"]:
            continue
        factor = max(ratio, 1 / ratio)
        message = (
            f"rms {number(tensor.scale.rms)} is {number(ratio)} of the balance "
            f"{number(forecast.equilibrium_rms)} after Σ lr·decay of {number(reached)}"
        )
        yield tensor.judged(message if factor > own["factor"] else "", factor, own["factor"])


RULE = Rule(
    "warning",
    find,
    "matrices that weight decay had time for",
    needs=("lr",),
    limits={
        "factor": Limit(4, "factor between the scale and the balance that is let pass"),
        "reached": Limit(3, "Σ lr·decay from which on the balance should be there"),
    },
    ok=Example('model["w.weight"] = noise(64, 64)', "--lr 1e-4 --weight-decay 0.1 --steps 400000"),
    bad=Example(
        'model["w.weight"] = 10 * noise(64, 64)',
        "--lr 1e-4 --weight-decay 0.1 --steps 400000",
        finds="rms 0.2000 is 8.945 of the balance 0.02236 after Σ lr·decay of 4.000",
    ),
)
