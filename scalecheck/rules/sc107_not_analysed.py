"""A tensor that could not be measured.

What was not looked at is not healthy: a type whose numbers are packed below a byte, complex
numbers, a view that lies outside of its storage. The report says why for each.

Try: a checkpoint before quantization; an exception with a reason, for what is checked elsewhere.
"""

from collections.abc import Iterator

from scalecheck.rules._rule import Example, Limits, Rule
from scalecheck.rules._subject import Judgement, Subject, judged


def find(subject: Subject, limits: Limits) -> Iterator[Judgement]:
    for tensor in subject.tensors:
        yield tensor.judged()
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
