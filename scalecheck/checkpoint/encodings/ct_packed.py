"""Integers of 1 to 8 bits that compressed-tensors packs into 32-bit words, with a scale, and where
they have some a zero point, of each group of columns."""

import numpy as np

from scalecheck.checkpoint.encodings._config import blocks, said
from scalecheck.checkpoint.encodings.contract import Candidate, NotDecoded, read_small
from scalecheck.checkpoint.encodings.scaled import by_group, per
from scalecheck.checkpoint.quantised.coded_weight import coded_weight, grid_of, table_of
from scalecheck.checkpoint.quantised.decoded import Grid
from scalecheck.checkpoint.quantised.packed import Codes
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS, Tensor

HOLDS = (
    "`weight_packed` I32, `weight_scale` and `weight_shape`, with `weight_zero_point` packed along "
    "rows and `weight_g_idx` where there are some: (code − zero point) · scale"
)
_WORD = 32  # bits


def weight(candidate: Candidate) -> Tensor | None:
    """The weight of packed integers, lowest bits first."""
    codes, stem = candidate.codes, candidate.word.removesuffix("_packed")
    scale = candidate.beside(f"{stem}_scale")
    sizes = candidate.beside(f"{stem}_shape")
    is_packed = candidate.word.endswith("_packed") and codes.dtype.name == "I32"
    if not is_packed or scale is None or sizes is None or len(codes.shape) < 2:
        return None
    shape = (*map(int, read_small(sizes, MAX_DIMENSIONS).reshape(-1).tolist()),)
    if shape[:-1] != codes.shape[:-1] or shape[-1] < 1:
        raise NotDecoded(f"{sizes.name} says {list(shape)}, beside words of {list(codes.shape)}")
    bits, shifts = _packing(candidate, shape[-1], codes.shape[-1])
    matrices, rows, columns = table_of(shape)
    known = blocks(candidate.config()) if len(scale.shape) == len(shape) else ()
    grid = grid_of(shape, scale, known)
    zero = _zero_points(candidate, stem, bits, shifts, grid, scale)
    if (groups := candidate.beside(f"{stem}_g_idx")) is not None:
        grid = by_group(grid, groups)
    return coded_weight(
        candidate,
        f"INT{bits} {per(grid)}",
        candidate.module + stem,
        shape,
        Codes(codes, matrices * rows, columns, bits, _WORD, shifts),
        np.arange(1 << bits, dtype=np.float64) - (1 << (bits - 1)),
        grid,
        scale=scale,
        zero=zero,
        beside=[sizes, candidate.beside("input_scale"), candidate.beside("input_global_scale")],
    )


def _packing(candidate: Candidate, columns: int, words: int) -> tuple[int, tuple[int, ...] | None]:
    """The bits of a code, and their places in a word; None where codes may lie in two words, as
    they do since compressed-tensors 0.13 for bits that do not divide 32."""
    fits: list[tuple[int, tuple[int, ...] | None]] = []
    for bits in range(1, 9):
        per_word = _WORD // bits
        if -(-columns // per_word) == words:
            fits.append((bits, tuple(range(0, per_word * bits, bits))))
        elif -(-columns * bits // _WORD) == words:
            fits.append((bits, None))
    known = said(candidate.config(), "num_bits")
    if known:
        fits = [one for one in fits if one[0] in known]
    if len(fits) != 1:
        wanted = " or ".join(str(bits)[:20] for bits in known) or "1 to 8"
        found = " or ".join(str(bits) for bits, _ in fits) or f"{wanted} do not fit"
        raise NotDecoded(f"{columns} codes in {words} words: bits {found}")
    return fits[0]


def _zero_points(
    candidate: Candidate,
    stem: str,
    bits: int,
    shifts: tuple[int, ...] | None,
    grid: Grid,
    scale: Tensor,
) -> Tensor | None:
    """The zero point of each block; packed ones decoded."""
    zero = candidate.beside(f"{stem}_zero_point")
    if zero is None or zero.dtype.name != "I32":
        return zero
    if grid.matrices != 1:
        raise NotDecoded(f"{zero.name}: packed zero points of several matrices")
    down, across = grid.shape
    return coded_weight(
        candidate,
        zero.name,
        zero.name,
        (down, across),
        Codes(zero, down, across, bits, _WORD, shifts, "rows"),
        np.arange(1 << bits, dtype=np.float64) - (1 << (bits - 1)),
        Grid(1, down, across, (down, across)),
    )
