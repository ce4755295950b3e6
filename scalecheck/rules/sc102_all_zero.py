"""A matrix, convolution or embedding whose elements are all zero.

It passes nothing on, and a matrix that feeds another zero one gets no gradient either. Some
projections start at zero on purpose, such as LoRA's B, which this rule leaves out; after training
none should still be there.

Try: whether the layer was loaded, or its name changed between saving and loading; an exception with
a reason where it starts at zero on purpose.
"""

from collections.abc import Iterator

from scalecheck.rules._rule import Example, Limits, Rule
from scalecheck.rules._subject import Judgement, Subject


def find(subject: Subject, limits: Limits) -> Iterator[Judgement]:
    for tensor in subject.tensors:
        if tensor.is_matrix and tensor.scale.role != "lora_b" and tensor.scale.numel:
            message = f"all {tensor.scale.numel:,} elements are zero" if tensor.is_zero else ""
            yield tensor.judged(message)


RULE = Rule(
    "error",
    find,
    "matrices",
    ok=Example('model["w.weight"] = noise(64, 64)\nmodel["w.bias"] = zeros(64)'),
    bad=Example('model["w.weight"] = zeros(64, 64)', finds="all 4,096 elements are zero"),
)
