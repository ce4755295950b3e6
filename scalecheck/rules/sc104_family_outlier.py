"""A tensor whose scale is out of line with the same tensor of the other blocks.

The siblings of a family, of one shape, are compared on a logarithm: a line over depth is taken
off, so that scales may grow or shrink from block to block, and what lies far from it by the spread
of the others stands out. A layer that was scaled twice, loaded from elsewhere, or never trained
looks so; but first and last blocks can be small or large of their own, and only from sure_factor on
it is an error.

Try: the layer's own history: whether it was frozen, initialized or merged in another way than its
siblings; `scalecheck inspect --by family` draws their scales over depth.
"""

from collections.abc import Iterator

from scalecheck.measure.outliers import (
    LEAST_DEVIATIONS,
    LEAST_FACTOR,
    SURE_FACTOR,
    Stray,
    strays,
)
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import number
from scalecheck.rules.contract import (
    CheckpointFacts,
    Example,
    Limit,
    Limits,
    Rule,
    TensorFacts,
)

_LEAST = 3  # siblings; fewer have no norm


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
            message = (
                f"rms {number(rms[tensor.name])}, where {len(rms)} siblings lead one to expect "
                f"{number(stray.expected)}: {number(stray.factor)} times apart"
            )
            if stray.factor >= own[-1]:
                yield tensor.judged(message, stray.factor, own[-1], "error")
            else:
                yield tensor.judged(message, stray.factor, stray.limit)


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
        finds="rms 0.6000, where 6 siblings lead one to expect 0.02000: 30.00 times apart",
    ),
)
