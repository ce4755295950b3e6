"""Elements that are NaN or inf.

One NaN in a weight makes every output that depends on it NaN, and an inf does so at the next
subtraction. No training step removes it: the checkpoint cannot be trained on or served. Typical
causes are an overflow in a narrow type and a damaged shard. The infs of masks, noise schedules and
observers' ranges are intended, and are not reported. In an optimizer state file this rule judges
the tensors that belong to no parameter, such as an average or an lr that is a tensor; second-moment
judges the states of parameters. Where the state is not read, this rule judges all its tensors.

Try: Go back to the last checkpoint that is finite. Copy the file again if it may be damaged. Use
loss scaling or bfloat16 where float16 overflowed.
"""

from collections.abc import Iterator

from scalecheck.measure.faults import nan_and_inf
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import plural
from scalecheck.rules.contract import CheckpointFacts, Example, Limits, Rule

_SEVERAL = "NaN or inf elements: {count} each"


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor in (*subject.tensors, *subject.others):
        scale = tensor.scale
        if scale.tied_to is not None:
            continue
        nan, inf = nan_and_inf(scale)
        message = _message(nan, inf, scale.numel)
        yield tensor.judged(message, nan + inf, 0, several=_SEVERAL)


def _message(nan: int, inf: int, numel: int) -> str:
    """3 of 4,096 elements are NaN; 4 of 4,096 elements are NaN or inf: 3 NaN, 1 inf."""
    if not nan + inf:
        return ""
    are = "is" if nan + inf == 1 else "are"
    what = "NaN or inf" if nan and inf else "NaN" if nan else "inf"
    each = f": {nan:,} NaN, {inf:,} inf" if nan and inf else ""
    return f"{nan + inf:,} of {plural(numel, 'element')} {are} {what}{each}"


RULE = Rule(
    "error",
    find,
    "tensors",
    ok=Example('model["w.weight"] = noise(64, 64)'),
    bad=Example(
        'model["w.weight"] = noise(64, 64)\nmodel["w.weight"][3, 17] = nan',
        finds="1 of 4,096 elements is NaN",
    ),
)
