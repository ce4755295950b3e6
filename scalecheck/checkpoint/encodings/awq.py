"""AWQ: integers of 4 bits, eight in a word along the output dimension in an order of their own, so
that a weight lies transposed, with a scale and a zero point for each group of inputs."""

import numpy as np

from scalecheck.checkpoint.encodings._config import integer
from scalecheck.checkpoint.encodings.contract import Candidate, NotDecoded
from scalecheck.checkpoint.quantised.coded_weight import coded_weight
from scalecheck.checkpoint.quantised.decoded import Grid
from scalecheck.checkpoint.quantised.packed import Codes
from scalecheck.checkpoint.tensor import Tensor

HOLDS = (
    "`qweight` I32 [in, out/8], `qzeros` I32 [groups, out/8] and `scales` [groups, out] of "
    "AutoAWQ's GEMM layout: (code − zero) · scale"
)
_BITS, _WORD = 4, 32
_SHIFTS = (0, 16, 4, 20, 8, 24, 12, 28)  # of the codes 0 to 7 of a word


def weight(candidate: Candidate) -> Tensor | None:
    """The weight whose codes are packed along its outputs."""
    codes = candidate.codes
    zeros, scales = candidate.beside("qzeros"), candidate.beside("scales")
    is_named = candidate.word == "qweight" and codes.dtype.name == "I32" and len(codes.shape) == 2
    if not is_named or zeros is None or scales is None or len(scales.shape) != 2:
        return None
    (inputs, words), (groups, outputs) = codes.shape, scales.shape
    if words * len(_SHIFTS) != outputs:
        return None
    config = candidate.config()
    version, bits = str(config.get("version", "gemm")).lower(), integer(config, "bits", "w_bit")
    if version != "gemm" or bits not in (None, _BITS):
        raise NotDecoded(
            f"AWQ of version {version[:20]} and {bits} bits orders its codes otherwise"
        )
    if not groups or inputs % groups or zeros.shape != (groups, words):
        raise NotDecoded(
            f"{zeros.name} is {list(zeros.shape)} beside {inputs} inputs in {groups} groups"
        )
    zero = coded_weight(
        candidate,
        zeros.name,
        zeros.name,
        (groups, outputs),
        Codes(zeros, groups, outputs, _BITS, _WORD, _SHIFTS),
        np.arange(float(1 << _BITS)),
        Grid(1, groups, outputs, (groups, outputs)),
    )
    return coded_weight(
        candidate,
        "INT4 AWQ",
        f"{candidate.module}weight",
        (outputs, inputs),
        Codes(codes, inputs, outputs, _BITS, _WORD, _SHIFTS),
        np.arange(float(1 << _BITS)),
        Grid(1, inputs, outputs, (inputs // groups, 1)),
        scale=scales,
        zero=zero,
        is_transposed=True,
    )
