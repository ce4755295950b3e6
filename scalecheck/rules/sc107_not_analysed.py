"""A tensor that could not be measured, or a folder of checkpoints that was not read.

An unread tensor can hide any defect: a pass means nothing for it. The rule reports types packed
below a byte, complex numbers, views that lie outside of their storage, numpy arrays in a pickle,
and codes of quantised weights without their scale factors. With --base it reports modules whose
adapter cannot be computed or that the base does not have. In a directory it reports models in
subfolders, except other steps of the run, such as checkpoint-500. It also covers the tensors of an
optimizer state. The report gives the reason for each.

Try: Check the checkpoint before quantization. Read folders with --recursive, or leave them out with
--exclude 'FOLDER/*'. Where another tool checks the tensor, add an exception with a reason.
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
