"""Codes of 8 bits beside a scale: of the whole tensor, of each row, or of each block.

FP8 (DeepSeek's `weight_scale_inv`, compressed-tensors, Model Optimizer, FBGEMM, Mistral, ComfyUI)
and int8 (compressed-tensors, with zero points where it has some)."""

from dataclasses import replace

from scalecheck.checkpoint.encodings._config import blocks
from scalecheck.checkpoint.encodings.contract import Candidate, NotDecoded
from scalecheck.checkpoint.quantised.coded_weight import coded_weight, grid_of
from scalecheck.checkpoint.quantised.decoded import Grid
from scalecheck.checkpoint.quantised.packed import Codes
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.dtypes import DTYPES

HOLDS = (
    "`weight` of an FP8 type or I8, and `weight_scale_inv`, `weight_scale`, `scale`, "
    "`scale_weight` or `qscale_weight` for all of it, for each row or for each block: (code − "
    "zero point) · scale"
)
# Of a weight called so; the longer ones of weights of experts, which are called as a module is.
_SCALES = ("{}_scale_inv", "{}_scale", "{}_weight_scale", "scale_{}", "qscale_{}")
_SECOND_SCALES = ("{}_scale_2", "{}_global_scale", "{}_weight_scale_2")
_TYPES = {
    **dict.fromkeys(("F8_E4M3", "F8_E4M3FNUZ"), "FP8"),
    **dict.fromkeys(("F8_E5M2", "F8_E5M2FNUZ"), "FP8 E5M2"),
    "I8": "INT8",
}


def weight(candidate: Candidate) -> Tensor | None:
    """The weight whose codes are of 8 bits, one a byte."""
    codes, word = candidate.codes, candidate.word
    kind = _TYPES.get(codes.dtype.name)
    if kind is None or not codes.shape:
        return None
    scale = candidate.beside(*(form.format(word) for form in _SCALES))
    if scale is None and codes.dtype.is_float and word == "weight":
        scale = candidate.beside("scale")
    if scale is None or candidate.beside(*(form.format(word) for form in _SECOND_SCALES)):
        return None
    if scale.dtype.name == "U8":  # exponents, as those of an MX format
        scale = replace(scale, dtype=DTYPES["F8_E8M0"])
    if not scale.dtype.is_float:
        raise NotDecoded(f"{scale.name} is of {scale.dtype.name}, which is no type of a scale")
    grid = grid_of(codes.shape, scale, blocks(candidate.config()))
    groups = candidate.beside(f"{word}_g_idx")
    if groups is not None:
        grid = by_group(grid, groups)
    zero = candidate.beside(f"{word}_zero_point")
    inputs = [candidate.beside(name) for name in ("input_scale", f"{word}_input_scale")]
    return coded_weight(
        candidate,
        f"{kind} {per(grid)}",
        codes.name,
        codes.shape,
        Codes(codes, grid.matrices * grid.rows, grid.columns),
        codes.dtype.values(),
        grid,
        scale=scale,
        zero=zero,
        beside=[candidate.beside(f"{word}_shape"), *inputs],
    )


def by_group(grid: Grid, groups: Tensor) -> Grid:
    """The grid whose factors across are those of the group that each column names."""
    if groups.numel != grid.columns or groups.dtype.kind != "integer":
        raise NotDecoded(f"{groups.name} has {groups.numel} places for {grid.columns} columns")
    return replace(grid, groups=groups, axis="columns", count=grid.shape[1])


def per(grid: Grid) -> str:
    down, across = grid.block
    if (down, across) == (grid.rows, grid.columns):
        return "per tensor" if grid.matrices == 1 else "per matrix"
    if across == grid.columns and down == 1:
        return "per channel"
    return f"by {across}" if down == 1 else f"{down}×{across}"
