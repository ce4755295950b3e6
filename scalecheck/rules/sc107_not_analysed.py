"""A tensor that could not be measured.

What was not looked at is not healthy: a type whose numbers are packed below a byte, complex
numbers, a view that lies outside of its storage, a weight that a quantizer left as integers. The
report says why for each.

Try: a checkpoint before quantization; an exception with a reason, for what is checked elsewhere.
"""

import re
from collections.abc import Iterator

from scalecheck.dtypes import DTYPES
from scalecheck.report.finding import Finding
from scalecheck.rules.contract import CheckpointFacts, Example, Limits, Rule, judged

_WEIGHT = re.compile(r"(?:.*[./])?(?:q?weight|weight_packed)")


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor in subject.tensors:
        scale = tensor.scale
        is_coded = not DTYPES[scale.dtype].is_float and _WEIGHT.fullmatch(scale.name)
        message = f"a weight of {scale.dtype}: integers without their scale are not judged"
        yield tensor.judged(message if is_coded and len(scale.shape) > 1 else "")
    for skipped in subject.unmeasured:
        yield judged(skipped.name, f"not measured ({skipped.dtype.name}): {skipped.unmeasured}")


RULE = Rule(
    "error",
    find,
    "tensors",
    ok=Example('model["w.weight"] = noise(64, 64)'),
    bad=Example(
        'model["w.weight"] = noise(64, 64)\nmodel["w.freqs"] = ones(8) * 1j',
        finds="not measured (C64): complex numbers have no single scale",
    ),
)
