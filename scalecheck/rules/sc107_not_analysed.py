"""A tensor that could not be measured, or a folder of checkpoints that was not read.

What was not looked at is not healthy: a type whose numbers are packed below a byte, complex
numbers, a view that lies outside of its storage, a numpy array in a pickle, the codes of a
quantised weight, which are numbers only with their factors; with --base a module whose adapter is
not computed, or which the base has not; the models in folders of a directory, but for other steps
of the run, such as checkpoint-500. The tensors of an optimizer state count too. The report says why
for each.

Try: Check the checkpoint before quantization; read folders by --recursive, or leave them out by
--exclude 'FOLDER/*'. For what is checked elsewhere, add an exception with a reason.
"""

from collections.abc import Iterator

from scalecheck.report.finding import Finding
from scalecheck.rules.contract import CheckpointFacts, Example, Limits, Rule, judged


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor in subject.tensors:
        yield tensor.judged()
    for skipped in (*subject.unmeasured, *subject.unmeasured_others):
        message = f"not measured ({skipped.dtype.name}): {skipped.unmeasured}"
        yield judged(skipped.name, message, several="not measured")
    for name, why in subject.unadapted.items():
        yield judged(name, f"not set beside the base: {why}", several="not set beside the base")
    for folder in subject.unread:
        if not folder.is_other_step:
            yield judged(
                folder.name, folder.reason("check"), several="{n} folders or files, not read"
            )


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
