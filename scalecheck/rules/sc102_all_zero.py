"""A matrix, convolution or embedding whose elements are all zero, or a gain whose siblings are not.

A zero weight outputs zero, so the layer does nothing. Two zero matrices in a row get no gradient
either and never train. Usually the layer was not loaded. Some projections start at zero on purpose:
the rule leaves out adapter halves that do, such as LoRA's B. After training no projection should
still be zero. Some norms store the gain minus one: the rule accepts zero gains where most of their
family are zero.

Try: Check whether the layer was loaded, or was renamed between saving and loading. Where it starts
at zero on purpose, add an exception with a reason.
"""

from collections.abc import Iterator

from scalecheck.measure.faults import judged_for_zeros
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import plural
from scalecheck.rules.contract import CheckpointFacts, Example, Limits, Rule

_SEVERAL = "all of their elements are zero"


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    siblings = {t.name: t.siblings for t in subject.tensors if t.siblings is not None}
    judged = judged_for_zeros([tensor.scale for tensor in subject.tensors], siblings)
    for tensor in subject.tensors:
        if (others := judged.get(tensor.name)) is not None:
            message = f"all {plural(tensor.scale.numel, 'element')} are zero"
            message += f", but {others}" if others else ""
            yield tensor.judged(message if tensor.is_zero else "", several=_SEVERAL)


RULE = Rule(
    "error",
    find,
    "matrices or families of gains",
    ok=Example('model["w.weight"] = noise(64, 64)\nmodel["w.bias"] = zeros(64)'),
    bad=Example('model["w.weight"] = zeros(64, 64)', finds="all 4,096 elements are zero"),
)
