"""A tensor that was added, removed, reshaped or retyped since the baseline.

A renamed tensor leaves a layer without its weights when the checkpoint is loaded with strict=False.
A new shape means another model, and a new type rounds the values. Where the baseline has none of
the tensors, the rule reports one finding without a tensor.

Try: Check the code that names modules. Pass the baseline of this model where no tensor is in
common. Where the change is intended, rewrite the baseline with --update-baseline.
"""

from collections.abc import Iterator

from scalecheck.report.finding import Finding
from scalecheck.rules.contract import CheckpointFacts, Example, Limits, Rule, judged


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    before = {} if subject.baseline is None else subject.baseline.every
    if subject.unrelated:
        yield judged("", subject.unrelated)
    for name, (dtype, shape) in subject.now.items():
        if name not in subject.compared:
            continue
        if name not in before:
            added = f"added: {dtype} {_sizes(shape)}"
            yield judged(name, added, several="added since the baseline")
            continue
        was = before[name]
        words = []
        if shape != was.shape:
            words.append(f"reshaped from {_sizes(was.shape)} to {_sizes(shape)}")
        if dtype != was.dtype:
            words.append(f"retyped from {was.dtype} to {dtype}")
        kinds = (word for word in ("reshaped", "retyped") if any(word in each for each in words))
        several = f"{' and '.join(kinds)} since the baseline"
        yield judged(name, " and ".join(words), several=several)
    for name, was in before.items():
        if name not in subject.now:
            removed = f"removed: it was {was.dtype} {_sizes(was.shape)}"
            yield judged(name, removed, several="removed since the baseline")


def _sizes(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


RULE = Rule(
    "error",
    find,
    "tensors that the baseline has",
    needs=("baseline",),
    ok=Example('baseline["w.weight"] = noise(64, 64)\nmodel["w.weight"] = baseline["w.weight"]'),
    bad=Example(
        'baseline["w.weight"] = noise(64, 64)\nmodel["w.weight"] = noise(64, 32)',
        finds="reshaped from 64×64 to 64×32",
    ),
)
