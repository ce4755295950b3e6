"""A largest element near the limit of the storage type, or of the type it is to be served in.

A value above the largest number of a type becomes inf or is clipped when it is cast: 65504 in
float16, 448 in F8_E4M3, 57344 in F8_E5M2. A weight within a factor of two of that limit has no room
for further training or for merging an adapter. The codes of quantised weights use the whole range
of their type on purpose, so the rule judges them only against the type that they are to be served
in.

Try: Use bfloat16 in place of float16, or scale each tensor or channel before the cast. `scalecheck
inspect --quantiles` shows how many elements are that large.
"""

from collections.abc import Iterator

from scalecheck.dtypes import DTYPES
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import figure
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule

_SEVERAL = "absmax {number}, "


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor in subject.tensors:
        absmax = tensor.scale.absmax
        if not tensor.is_parameter or absmax is None:
            continue
        headroom = limits.of(tensor)["headroom"]
        types = (tensor.scale.dtype, subject.serve_dtype)
        largest = {dtype: DTYPES[dtype].largest for dtype in types if dtype in DTYPES}
        for dtype, limit in sorted(largest.items(), key=lambda entry: entry[1])[:1]:
            if absmax > limit:
                words = f"which does not fit {dtype}, whose largest number is {limit:,g}"
                message, several = f"absmax {figure(absmax)}, {words}", _SEVERAL + words
                yield tensor.judged(message, absmax, limit, "error", several=several)
            elif absmax * headroom > limit:
                words = f"{dtype}'s largest number {limit:,g} (limit {figure(headroom)} times)"
                message = f"absmax {figure(absmax)} is {figure(limit / absmax)} times below {words}"
                several = f"{_SEVERAL}near {words}"
                yield tensor.judged(message, absmax, limit / headroom, several=several)
            else:
                yield tensor.judged(value=absmax, limit=limit / headroom)


RULE = Rule(
    "warning",
    find,
    "tensors of a type that has a limit",
    limits={"headroom": Limit(2, "factor that has to lie between absmax and the type's largest")},
    ok=Example('model["w.weight"] = fp16(noise(64, 64))'),
    bad=Example(
        'model["w.weight"] = fp16(noise(64, 64))\nmodel["w.weight"][3, 17] = 60000',
        finds="absmax 60,000 is 1.09 times below F16's largest number 65,504 (limit 2 times)",
    ),
)
