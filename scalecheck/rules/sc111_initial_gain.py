"""A hidden matrix that starts far larger for its width than in any published initialization.

A start that is too large can keep the loss high at every lr: BigScience's 104B model started at std
0.02 and width 11600, a gain of 2.15, and its loss stopped at 6.4 at every lr that was tried; std
0.006 trained. The rule rests on this one failure. The gain is rms·√width: about the factor by which
the matrix multiplies the size of its input. The width is the side that the matrix shares with the
model's embedding, else the smaller side. The 50 published initializations that could be read have
gains of 0.15 to 1.43. The rule judges weights at the start of a pretraining only: weights that look
freshly initialized, or any weights with --phase pretrain.

Try: Initialize with std √(2/(5·width)), as small_init does, or 1/√width. `scalecheck inspect
--init` shows which scheme the weights have.
"""

import math
from collections.abc import Iterator

from scalecheck.report.finding import Finding
from scalecheck.report.formatting import figure
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule

_PUBLISHED = (
    "50 published initializations have 0.15 to 1.43, and one failed run, BigScience 104B, 2.15"
)


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    tables = [t.scale.shape for t in subject.matrices if t.scale.role == "embedding"]
    widths = {shape[-1] for shape in tables if len(shape) == 2}
    for tensor in subject.matrices:
        scale = tensor.scale
        if scale.role != "matrix" or len(scale.shape) != 2 or not scale.rms:
            continue
        width = max(widths.intersection(scale.shape), default=min(scale.shape))
        gain, limit = scale.rms * math.sqrt(width), limits.of(tensor)["gain"]
        own = f"rms {figure(scale.rms)} at width {width} is a gain of {figure(gain)}"
        several = f"gain rms·√width {{number}} (limit {figure(limit)}); {_PUBLISHED}"
        message = f"{own} (limit {figure(limit)}); {_PUBLISHED}" if gain > limit else ""
        yield tensor.judged(message, gain, limit, several=several, own=own)


RULE = Rule(
    "warning",
    find,
    "hidden matrices",
    needs=("phase",),
    limits={"gain": Limit(1.5, "rms·√width")},
    ok=Example('model["w.weight"] = noise(64, 64)', "--phase pretrain"),
    bad=Example(
        'model["w.weight"] = 10 * noise(64, 64)',
        "--phase pretrain",
        finds="rms 0.2 at width 64 is a gain of 1.6 (limit 1.5); 50 published initializations have "
        "0.15 to 1.43, and one failed run, BigScience 104B, 2.15",
    ),
)
