"""A tensor whose scale differs from that of the same tensor in the other blocks.

One block whose weights are much larger or smaller than its siblings' trains at another relative
rate at the same lr. Usually it was scaled twice, loaded from elsewhere, or never trained. The rule
compares the tensors of one family and shape on a logarithmic scale. It fits a line over depth
first, so scales may grow or shrink from block to block; then it reports the tensors that lie far
from the line compared with the spread of the others. First and last blocks can differ for good
reasons, so the finding is an error only from sure_factor on.

Try: Check whether it was frozen, initialized or merged in another way than the other blocks.
`scalecheck inspect --by family` draws their scales over depth.
"""

from collections.abc import Iterator

from scalecheck.measure.outliers import (
    LEAST_DEVIATIONS,
    LEAST_FACTOR,
    SURE_FACTOR,
    Stray,
    strays,
)
from scalecheck.report.finding import Finding, Severity
from scalecheck.report.formatting import figure
from scalecheck.rules.contract import (
    CheckpointFacts,
    Example,
    Limit,
    Limits,
    Rule,
    TensorFacts,
)

_LEAST = 3  # siblings; fewer have no norm
_SEVERAL = "rms {times} off their family's"


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    families: dict[str, list[TensorFacts]] = {}
    for tensor in subject.tensors:
        if tensor.siblings is not None:
            families.setdefault(tensor.siblings, []).append(tensor)
    for siblings in families.values():
        rms = {tensor.name: tensor.scale.rms for tensor in siblings}
        if sum(bool(x) for x in rms.values()) < _LEAST:
            continue
        found: dict[tuple[float, ...], dict[str, Stray]] = {}
        for tensor in siblings:
            if not rms[tensor.name]:
                continue
            own = tuple(limits.of(tensor)[name] for name in ("factor", "deviations", "sure_factor"))
            if own not in found:
                found[own] = strays(rms, *own)
            if tensor.name not in found[own]:
                yield tensor.judged()
                continue
            stray = found[own][tensor.name]
            is_sure = stray.factor >= own[-1]
            limit = own[-1] if is_sure else stray.limit
            severity: Severity = "error" if is_sure else "warning"
            message = _message(rms[tensor.name] or 0.0, stray, limit)
            yield tensor.judged(message, stray.factor, limit, severity, several=_SEVERAL)


def _message(rms: float, stray: Stray, limit: float) -> str:
    """What is compared with what: rms 12.9 is 102 times its family's expected 0.127 (limit 20)."""
    times = "times" if rms > stray.expected else "times below"
    return (
        f"rms {figure(rms)} is {figure(stray.factor)} {times} its family's expected "
        f"{figure(stray.expected)} (limit {figure(limit)})"
    )


RULE = Rule(
    "warning",
    find,
    "families of three tensors",
    limits={
        "factor": Limit(LEAST_FACTOR, "factor from the line that is let pass"),
        "deviations": Limit(LEAST_DEVIATIONS, "robust standard deviations that are let pass"),
        "sure_factor": Limit(
            SURE_FACTOR, "factor that stands out whatever the spread, and is an error"
        ),
    },
    ok=Example('for i in range(6):\n    model[f"blocks.{i}.w.weight"] = 3**i * noise(16, 16)'),
    bad=Example(
        'for i in range(6):\n    model[f"blocks.{i}.w.weight"] = noise(16, 16)\n'
        'model["blocks.4.w.weight"] *= 30',
        finds="rms 0.6 is 30 times its family's expected 0.02 (limit 20)",
    ),
)
