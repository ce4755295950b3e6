"""A largest element near the limit of the storage type, or of the type it is to be served in.

What exceeds the largest number of a type becomes inf or is clipped when it is cast: 65504 in
float16, 448 in F8_E4M3, 57344 in F8_E5M2. A weight within a factor of two leaves no room for a
step of training or for a merge of adapters. Quantised weights, whose codes use the whole range of
their type on purpose, are judged against the type they are to be served in alone.

Try: bfloat16 in place of float16; a scale factor for each tensor or channel before the cast; which
rows hold the outliers, with `scalecheck inspect --quantiles`.
"""

from collections.abc import Iterator

from scalecheck.dtypes import DTYPES
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import number
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule


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
                yield tensor.judged(
                    f"absmax {number(absmax)} does not fit {dtype}, whose largest is "
                    f"{number(limit)}",
                    absmax,
                    limit,
                    "error",
                )
            elif absmax * headroom > limit:
                yield tensor.judged(
                    f"absmax {number(absmax)} is within a factor of {number(limit / absmax)} of "
                    f"the largest {dtype}, {number(limit)}",
                    absmax,
                    limit / headroom,
                )
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
        finds="absmax 6.000e+04 is within a factor of 1.092 of the largest F16, 6.550e+04",
    ),
)
