"""A matrix, convolution or embedding whose elements are all zero, or a gain whose siblings are not.

It passes nothing on, and a matrix that feeds another zero one gets no gradient either. Some
projections start at zero on purpose: the halves of adapters that do, such as LoRA's B, are left
out; after training none should still be there. Gains can be stored as their distance from one:
zeros are normal where most of a family are zero.

Try: whether the layer was loaded, or its name changed between saving and loading; an exception with
a reason where it starts at zero on purpose.
"""

from collections import Counter
from collections.abc import Iterator

from scalecheck.report.finding import Finding
from scalecheck.rules.contract import CheckpointFacts, Example, Limits, Rule, TensorFacts


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    gains = Counter(tensor.siblings for tensor in subject.tensors if _is_gain(tensor))
    alive = Counter(t.siblings for t in subject.tensors if _is_gain(t) and not t.is_zero)
    for tensor in subject.tensors:
        kind = tensor.siblings
        is_odd = _is_gain(tensor) and 2 * alive[kind] > gains[kind]
        if _is_weight(tensor) or is_odd:
            message = f"all {tensor.scale.numel:,} elements are zero" if tensor.is_zero else ""
            others = f", and {alive[kind]} of {gains[kind]} siblings are not" if is_odd else ""
            yield tensor.judged(message + others if message else "")


def _is_weight(tensor: TensorFacts) -> bool:
    """Nor what a library starts at zero, nor a lone token, which may and have no use."""
    scale = tensor.scale
    is_token = scale.role == "embedding" and scale.numel == max(scale.shape)
    is_meant = scale.kind.is_zero_at_first or is_token
    return tensor.is_matrix and scale.numel > 0 and not is_meant


def _is_gain(tensor: TensorFacts) -> bool:
    is_vector = tensor.is_parameter and tensor.scale.role == "norm"
    return is_vector and tensor.siblings is not None and tensor.scale.numel > 0


RULE = Rule(
    "error",
    find,
    "matrices or families of gains",
    ok=Example('model["w.weight"] = noise(64, 64)\nmodel["w.bias"] = zeros(64)'),
    bad=Example('model["w.weight"] = zeros(64, 64)', finds="all 4,096 elements are zero"),
)
