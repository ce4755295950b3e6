"""Elements that are NaN or inf.

One NaN in a weight makes every output that it touches NaN, and an inf does on the next subtraction.
No training step removes it. A checkpoint that overflowed in a narrow type, or a shard that was
damaged on the way, looks like this. The inf of masks, noise schedules and the ranges of observers
is meant. Tensors in the file of an optimizer state are judged too: those of parameters' states by
second-moment, all others by this rule, such as an average in the state or an lr that is a tensor.
Where the state is not read, this rule judges all of them.

Try: the last checkpoint without it; a copy of the file made anew; loss scaling or bfloat16 where
float16 overflowed.
"""

from collections.abc import Iterator

from scalecheck.report.finding import Finding
from scalecheck.rules.contract import CheckpointFacts, Example, Limits, Rule


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor in (*subject.tensors, *subject.others):
        scale = tensor.scale
        if scale.tied_to is not None:
            continue
        if broken := scale.nan + (0 if scale.kind.may_be_infinite else scale.inf):
            yield tensor.judged(
                f"{scale.nan:,} NaN and {scale.inf:,} inf of {scale.numel:,} elements", broken, 0
            )
        else:
            yield tensor.judged(value=0, limit=0)


RULE = Rule(
    "error",
    find,
    "tensors",
    ok=Example('model["w.weight"] = noise(64, 64)'),
    bad=Example(
        'model["w.weight"] = noise(64, 64)\nmodel["w.weight"][3, 17] = nan',
        finds="1 NaN and 0 inf of 4,096 elements",
    ),
)
