"""A weight whose update is too small for the type it is stored in.

An element moves only where its update is more than half the gap to its neighbour: in bfloat16
0.2 to 0.4 % of itself. Counted over the elements, for normal updates of the RMS that theory or the
saved state gives. It is an error where --param-dtype says that the weights are trained in this
type; a bfloat16 checkpoint of a run that keeps float32 copies is only a warning. Quantised weights
are not trained in their codes, and are judged only where --param-dtype says a type.

Try: float32 copies of the weights; stochastic rounding; a larger lr, where the band has room.
"""

from collections.abc import Iterator

from scalecheck.report.finding import Finding, Severity
from scalecheck.report.formatting import percent, setting
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    severity: Severity = "error" if subject.is_dtype_given else "warning"
    for tensor, forecast, _ in subject.updates:
        share, limit = forecast.stalled, limits.of(tensor)["share"]
        if share is None or not tensor.is_matrix:
            continue
        message = (
            f"{percent(share)} % of the elements do not move at lr {setting(forecast.lr)} in "
            f"{forecast.trained_in}"
        )
        yield tensor.judged(message if share > limit else "", share, limit, severity)


RULE = Rule(
    "warning",
    find,
    "matrices with an expected update in a type whose rounding is known",
    needs=("lr",),
    limits={"share": Limit(0.5, "share of the elements that may stall")},
    ok=Example('model["w.weight"] = noise(64, 64)', "--lr 1e-4"),
    bad=Example(
        'model["w.weight"] = bf16(noise(64, 64))',
        "--lr 1e-5 --param-dtype bf16",
        finds="97.29 % of the elements do not move at lr 1e-05 in BF16",
    ),
)
