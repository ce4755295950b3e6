"""MLX's quantised layers: codes packed into 32-bit words, lowest bits first, with a scale and a
bias for each group of inputs, or in the modes mxfp4, mxfp8 and nvfp4 a scale alone."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from scalecheck.checkpoint.encodings._config import integer
from scalecheck.checkpoint.encodings._fp4 import E2M1
from scalecheck.checkpoint.encodings.contract import Candidate, NotDecoded
from scalecheck.checkpoint.quantised.coded_weight import coded_weight, table_of
from scalecheck.checkpoint.quantised.decoded import FloatArray, Grid
from scalecheck.checkpoint.quantised.packed import Codes
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.dtypes import DTYPES

HOLDS = (
    "`weight` U32 with `scales` and `biases`: code · scale + bias; with `scales` U8 alone: FP4 or "
    "FP8 · scale (mxfp4, mxfp8, nvfp4)"
)
_WORD = 32  # bits
_BITS = (2, 3, 4, 5, 6, 8)
_SIZES = (16, 32, 64, 128)  # of groups
# The modes without biases, which differ in the words of a group.
_MODES: Mapping[int, tuple[str, int, int, str]] = {
    4: ("MXFP4", 4, 32, "F8_E8M0"),
    8: ("MXFP8", 8, 32, "F8_E8M0"),
    2: ("NVFP4", 4, 16, "F8_E4M3"),
}


def weight(candidate: Candidate) -> Tensor | None:
    """The weight of words of MLX."""
    codes = candidate.codes
    scales, biases = candidate.beside("scales"), candidate.beside("biases")
    is_named = candidate.word == "weight" and codes.dtype.name == "U32" and len(codes.shape) > 1
    if not is_named or scales is None:
        return None
    words, groups = codes.shape[-1], scales.shape[-1] if scales.shape else 0
    if scales.shape[:-1] != codes.shape[:-1] or not groups:
        raise NotDecoded(f"{scales.name} is {list(scales.shape)}, beside {list(codes.shape)}")
    if biases is None:
        if words % groups or words // groups not in _MODES or scales.dtype.name != "U8":
            raise NotDecoded(f"{scales.name} is {list(scales.shape)} of {scales.dtype.name}")
        title, bits, size, kind = _MODES[words // groups]
        values = E2M1 if bits == 4 else DTYPES["F8_E4M3"].values()
        scales = replace(scales, dtype=DTYPES[kind])
    else:
        bits, size = _bits_and_size(candidate, words, groups)
        title, values = f"INT{bits} by {size}", np.arange(float(1 << bits))
    return _made(candidate, title, bits, size, values, scales, biases)


def _made(
    candidate: Candidate,
    title: str,
    bits: int,
    size: int,
    values: FloatArray,
    scales: Tensor,
    biases: Tensor | None,
) -> Tensor:
    shape = (*candidate.codes.shape[:-1], scales.shape[-1] * size)
    matrices, rows, columns = table_of(shape)
    shifts = None if _WORD % bits else tuple(range(0, _WORD, bits))
    return coded_weight(
        candidate,
        title,
        candidate.codes.name,
        shape,
        Codes(candidate.codes, matrices * rows, columns, bits, _WORD, shifts),
        values,
        Grid(matrices, rows, columns, (1, size)),
        scale=scales,
        bias=biases,
        is_single=True,
    )


def _bits_and_size(candidate: Candidate, words: int, groups: int) -> tuple[int, int]:
    """The bits of a code and the codes of a group, whose product the words tell, and which of them
    the configuration."""
    fits = [
        (bits, size) for bits in _BITS for size in _SIZES if bits * size * groups == words * _WORD
    ]
    known = _said(candidate)
    bits, size = integer(known, "bits"), integer(known, "group_size")
    fits = [one for one in fits if bits in (None, one[0]) and size in (None, one[1])]
    if len(fits) != 1:
        found = " or ".join(f"{bits} bits by {size}" for bits, size in fits) or "nothing"
        raise NotDecoded(f"{words} words in {groups} groups: {found} fits what config.json says")
    return fits[0]


def _said(candidate: Candidate) -> Mapping[str, Any]:
    """What the configuration says of the layer, or of all."""
    config = candidate.config()
    own = config.get(candidate.module.removesuffix("."))
    return {**config, **own} if isinstance(own, dict) else config
