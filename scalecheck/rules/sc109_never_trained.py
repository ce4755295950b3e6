"""A norm's gain or a bias that still has its initial value, in a model that was trained.

A parameter that never changes is not trained, although the run meant to train it. Gains start at
exactly 1, or at 0 where the norm adds 1, and biases start at 0; in float32 the first steps change
every element. In pure bfloat16 an update below 0.2 % of a gain rounds back to 1 in every step, and
whole models were published like that. A name that was missing when weights were loaded has the same
effect. The rule takes a model as trained when its optimizer state, its other norms, or directions
in its matrices that no random start has show it; otherwise it judges nothing. Parameters that the
optimizer does not hold are frozen and pass, and so do BatchNorms where no optimizer state names
them.

Try: Keep norms in float32, or train with float32 master weights. Check the missing keys that the
loader reported, requires_grad, and whether forward uses the module.
"""

from collections import Counter
from collections.abc import Iterator

from scalecheck.measure.training_signs import norm_gains
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import plural
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule, TensorFacts

_NARROW = {"F16": "float16", "BF16": "bfloat16"}


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    names = {one.name for one in norm_gains([t.scale for t in subject.tensors])}
    gains = [t for t in subject.tensors if t.name in names and _is_judged(t)]
    biases = [t for t in subject.tensors if t.scale.role == "bias" and _is_judged(t)]
    all_zero = all(tensor.is_zero for tensor in gains)
    for tensor in gains:
        why = _trained(tensor, subject, limits)
        if why and tensor.is_in_state is None and _has_statistics(tensor, subject):
            continue
        if why:
            is_start = tensor.scale.min == tensor.scale.max == 1
            is_start |= tensor.is_zero and (all_zero or bool(tensor.is_in_state))
            yield _judged(tensor, why if is_start else "")
    siblings = Counter(tensor.siblings for tensor in biases)
    moved = Counter(tensor.siblings for tensor in biases if not tensor.is_zero)
    for tensor in biases:
        kind = tensor.siblings
        why = _trained(tensor, subject, limits)
        if why and (tensor.is_in_state or 2 * moved[kind] > siblings[kind]):
            if tensor.is_in_state is None:
                why = f"{moved[kind]} of {siblings[kind]} siblings were trained"
            yield _judged(tensor, why if tensor.is_zero else "")


def _is_judged(tensor: TensorFacts) -> bool:
    """Nor vectors of one element, which can be left where they started by chance."""
    return tensor.is_parameter and tensor.is_finite and tensor.scale.numel > 1


def _trained(tensor: TensorFacts, subject: CheckpointFacts, limits: Limits) -> str:
    """What says that the tensor should have moved; empty where nothing does, or it is frozen."""
    if subject.has_certain_states and tensor.is_in_state is not True:
        return ""
    steps = subject.steps
    if tensor.is_in_state and steps is not None:
        is_enough = steps >= limits.of(tensor)["steps"]
        return f"the optimizer that has it is at step {steps:,.0f}" if is_enough else ""
    return subject.signs_of_training


def _has_statistics(tensor: TensorFacts, subject: CheckpointFacts) -> bool:
    """Whether it is a BatchNorm's, whose gain converters fill with ones."""
    module = tensor.name[: max(tensor.name.rfind("."), tensor.name.rfind("/")) + 1]
    return f"{module}running_mean" in subject.now


def _judged(tensor: TensorFacts, why: str) -> Finding:
    """It is where it started, although it was trained for some reason; nothing where that is
    empty."""
    if not why:
        return tensor.judged()
    scale = tensor.scale
    kind = _NARROW.get(scale.dtype)
    advice = (
        f"in {kind} small updates round away: keep norms in float32, or train with float32 master "
        "weights"
        if kind and not tensor.is_zero
        else "look whether it is used, and whether its name was missing when weights were loaded"
    )
    value = "0" if tensor.is_zero else "1"
    elements = plural(scale.numel, "element")
    return tensor.judged(
        f"all {elements} are exactly {value}, although {why}; {advice}",
        several=f"all of their elements are exactly {value} in a trained model; {advice}",
        own=f"all {elements} are exactly {value}",
    )


RULE = Rule(
    "warning",
    find,
    "gains and biases of a model that is known to be trained",
    limits={"steps": Limit(10, "steps of the optimizer from which on gains and biases have moved")},
    ok=Example(
        'model["norm.weight"] = ones(64) + noise(64)\n'
        'state["norm.weight"] = 1e-4 * noise(64), 1e-6 * ones(64)'
    ),
    bad=Example(
        'model["norm.weight"] = bf16(ones(64))\n'
        'state["norm.weight"] = 1e-4 * noise(64), 1e-6 * ones(64)',
        finds="all 64 elements are exactly 1, although the optimizer that has it is at step 1,000; "
        "in bfloat16 small updates round away: keep norms in float32, or train with float32 master "
        "weights",
    ),
)
