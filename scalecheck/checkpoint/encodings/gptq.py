"""GPTQ: integers of 2, 3, 4 or 8 bits packed along the input dimension, so that a weight lies
transposed, with a scale and a zero point for each group of inputs."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from scalecheck.checkpoint.encodings._config import integer
from scalecheck.checkpoint.encodings.contract import Candidate, NotDecoded
from scalecheck.checkpoint.quantised.coded_weight import coded_weight, require_plain
from scalecheck.checkpoint.quantised.decoded import FloatArray, Grid
from scalecheck.checkpoint.quantised.packed import Codes
from scalecheck.checkpoint.source import Readers
from scalecheck.checkpoint.tensor import Tensor

HOLDS = (
    "`qweight` I32 [in·bits/32, out], `qzeros` I32, `scales` [groups, out] and `g_idx`: "
    "(code − zero) · scale, zero points stored one too low before format v2"
)
_WORD = 32  # bits
_BITS = (2, 3, 4, 8)
_SEEN = 64  # zero points that tell their layout


def weight(candidate: Candidate) -> Tensor | None:
    """The weight whose codes are packed along its inputs."""
    codes = candidate.codes
    zeros, scales = candidate.beside("qzeros"), candidate.beside("scales")
    is_named = candidate.word == "qweight" and codes.dtype.name == "I32" and len(codes.shape) == 2
    if not is_named or zeros is None or scales is None or len(scales.shape) != 2:
        return None
    (words, outputs), (groups, per_row) = codes.shape, scales.shape
    if per_row != outputs or not groups:
        return None
    config = candidate.config()
    layout = _layout(config)
    if layout not in (None, "gptq", "gptq_v2"):
        raise NotDecoded(f"checkpoint_format {str(layout)[:40]!r} orders its codes otherwise")
    bits = _bits(zeros, outputs, groups)
    inputs = words * _WORD // bits
    if words * _WORD % bits:
        raise NotDecoded(f"{codes.name} has {words} words a column, which hold no {bits}-bit codes")
    places = candidate.beside("g_idx")
    grid = _grid(inputs, outputs, groups, places, config)
    shifts = _shifts(bits)
    zero = coded_weight(
        candidate,
        zeros.name,
        zeros.name,
        (groups, outputs),
        Codes(zeros, groups, outputs, bits, _WORD, shifts),
        _zero_values(candidate, zeros, bits, outputs),
        Grid(1, groups, outputs, (groups, outputs)),
    )
    return coded_weight(
        candidate,
        f"INT{bits} GPTQ",
        f"{candidate.module}weight",
        (outputs, inputs),
        Codes(codes, inputs, outputs, bits, _WORD, shifts, "rows"),
        np.arange(float(1 << bits)),
        grid,
        scale=scales,
        zero=zero,
        beside=[places],
        is_transposed=True,
    )


def _bits(zeros: Tensor, outputs: int, groups: int) -> int:
    """The bits of a code, which the packed zero points tell."""
    if len(zeros.shape) == 2 and zeros.shape[0] == groups and zeros.dtype.name == "I32":
        for bits in _BITS:
            if zeros.shape[1] == -(-outputs * bits // _WORD):
                return bits
    raise NotDecoded(
        f"{zeros.name} is {list(zeros.shape)}: no zero point of 2, 3, 4 or 8 bits for each of "
        f"{groups} groups of {outputs}"
    )


def _grid(
    inputs: int, outputs: int, groups: int, places: Tensor | None, config: Mapping[str, Any]
) -> Grid:
    size = integer(config, "group_size")
    size = min(size, inputs) if size else -(-inputs // groups)
    if places is not None:
        if places.numel != inputs or places.dtype.name not in ("I32", "I64"):
            raise NotDecoded(f"{places.name} has {places.numel} places for {inputs} inputs")
        return Grid(1, inputs, outputs, (size, 1), places, "rows", groups)
    if -(-inputs // size) != groups:
        raise NotDecoded(f"{groups} groups for {inputs} inputs, not of {size} each")
    return Grid(1, inputs, outputs, (size, 1))


def _zero_values(candidate: Candidate, zeros: Tensor, bits: int, outputs: int) -> FloatArray:
    """What each code of a zero point stands for: one more than itself before format v2, 0 for the
    largest; itself since. Without a configuration that says which, zero points in the middle of
    their range do."""
    config, values = candidate.config(), np.arange(1 << bits)
    layout = _layout(config)
    if layout is None and config.get("quant_method", "gptq") == "gptq" and config.get("bits"):
        layout = "gptq"  # what its libraries take it for
    if layout is None:
        require_plain(zeros)
        codes = Codes(zeros, zeros.shape[0], outputs, bits, _WORD, _shifts(bits))
        with Readers() as readers:
            first = codes.read(readers, (0, 1), (0, min(outputs, _SEEN)))
        middle = 1 << (bits - 1)
        if not ((first == middle - 1).all() or (first == middle).all()):
            raise NotDecoded("no checkpoint_format in config.json says how zero points are stored")
        layout = "gptq" if first[0, 0] == middle - 1 else "gptq_v2"
    found = (values + 1) % (1 << bits) if layout == "gptq" else values
    return found.astype(np.float64)


def _layout(config: Mapping[str, Any]) -> object:
    if str(config.get("packing_format")).endswith(":auto_gptq"):  # of AutoRound
        return "gptq"
    return config.get("checkpoint_format") or config.get("format")


def _shifts(bits: int) -> tuple[int, ...] | None:
    return None if _WORD % bits else tuple(range(0, _WORD, bits))
