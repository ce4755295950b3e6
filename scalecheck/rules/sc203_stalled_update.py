"""A weight whose update is too small for the type it is stored in.

An update below half the gap to the next number rounds away, so the weight does not change and the
step is lost. In bfloat16 half the gap is 0.2 to 0.4 % of the value. Where the optimizer state names
the tensor, the rule counts its elements one by one; otherwise it assumes normally distributed
updates with the RMS that the theory gives. Published runs in pure bfloat16 move 5 % of the elements
per step (torchtune, lr 2e-5), and others had to be repaired at 1.6 %: fewer is a warning. It is an
error where --param-dtype says that a matrix is trained in this type and none of it moves. Norm
weights near 1 do not move in bfloat16 below an lr of about 6e-4: that is a warning. A bfloat16 file
of a run that keeps float32 copies shows the same warning, although its steps are kept in the
copies. Quantised weights are not trained as codes, so the rule judges them only with --param-dtype.

Try: Keep float32 master weights, use stochastic rounding, or raise the lr where published runs have
a larger one.
"""

from collections.abc import Iterator

from scalecheck.report.finding import Finding, Severity
from scalecheck.report.formatting import rate
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule
from scalecheck.updates.precision import spoken

OTHERS = frozenset({"norm", "embedding"})  # judged beside matrices in narrow types
NARROW = frozenset({"BF16", "F16"})  # in wider ones they stall where gradients vanish alone


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor, forecast, _ in subject.updates:
        share, limit = forecast.stalled, limits.of(tensor)
        is_other = forecast.trained_in in NARROW and tensor.scale.role in OTHERS
        if share is None or not (tensor.is_matrix or is_other):
            continue
        is_still = subject.is_dtype_given and tensor.is_matrix and share >= limit["still"]
        severity: Severity = "error" if is_still else "warning"
        dtype = spoken(forecast.trained_in)
        at = "" if forecast.lr is None else f" at lr {rate(forecast.lr)}"
        counted = ", counted by the optimizer state" if forecast.stalled_measured else ""
        words = "of its elements round back to their old value each step"
        message = (
            f"in {dtype}{at}, {_percent(share)} {words}{counted} (limit {100 * limit['share']:g} %)"
        )
        yield tensor.judged(
            message if share > limit["share"] else "",
            share,
            limit["share"],
            severity,
            several=f"{{percent}} of their elements round back each step in {dtype}{{lr}}",
            own=f"{100 * share:.3g} %",
            lr=forecast.lr,
        )


def _percent(share: float) -> str:
    return "all" if share == 1 else f"{100 * share:.3g} %" if share < 0.9995 else "over 99.9 %"


RULE = Rule(
    "warning",
    find,
    "matrices, norms and embeddings with an update in a type whose rounding is known",
    needs=("lr",),
    limits={
        "share": Limit(0.5, "share of the elements that may round back"),
        "still": Limit(0.999, "share from which on a matrix does not move: an error"),
    },
    ok=Example('model["w.weight"] = noise(64, 64)', "--lr 1e-4"),
    bad=Example(
        'model["w.weight"] = bf16(noise(64, 64))',
        "--lr 1e-5 --param-dtype bf16",
        finds="in bf16 at lr 1e-5, 97.3 % of its elements round back to their old value each step "
        "(limit 50 %)",
    ),
)
