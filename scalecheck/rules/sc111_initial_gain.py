"""A hidden matrix that starts far larger for its width than in any published initialization.

Its gain is rms·√width, width being the smaller of its two sides: about what it multiplies the size
of an input by. 50 published initializations that could be read lie at 0.15 to 1.43. The rule rests
on one failure: BigScience's 104B model started at std 0.02 and width 11600, a gain of 2.15, and its
loss stopped at 6.4 at every lr that was tried; std 0.006 trained. Weights are judged at the start
of a pretraining only: as an initialization leaves them, or with --phase pretrain.

Try: std √(2/(5·width)), as small_init has it, or 1/√width; `scalecheck inspect --init` tells which
scheme the weights are of.
"""

import math
from collections.abc import Iterator

from scalecheck.checkpoint.naming import HALVES
from scalecheck.report.finding import Finding
from scalecheck.rules.contract import CheckpointFacts, Example, Limit, Limits, Rule, TensorFacts


def find(subject: CheckpointFacts, limits: Limits) -> Iterator[Finding]:
    for tensor in subject.matrices:
        if (width := _width(tensor)) is None or not tensor.scale.rms:
            continue
        gain, limit = tensor.scale.rms * math.sqrt(width), limits.of(tensor)["gain"]
        message = (
            f"starts at rms {tensor.scale.rms:.3g} for width {width}, a gain of {gain:.3g}; 50 "
            "published initializations lie at 0.15 to 1.43, and one failed run, BigScience 104B, "
            "at 2.15"
        )
        yield tensor.judged(message if gain > limit else "", gain, limit)


def _width(tensor: TensorFacts) -> int | None:
    """The smaller side of a hidden matrix, which is the width whichever way it is stored."""
    scale = tensor.scale
    is_hidden = scale.role == "matrix" and scale.role not in HALVES and len(scale.shape) == 2
    return min(scale.shape) if is_hidden else None


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
        finds="starts at rms 0.2 for width 64, a gain of 1.6; 50 published initializations lie at "
        "0.15 to 1.43, and one failed run, BigScience 104B, at 2.15",
    ),
)
