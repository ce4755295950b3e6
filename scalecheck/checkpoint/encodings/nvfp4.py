"""NVFP4: FP4 codes two a byte, a float8 scale for every 16, and one for the whole tensor, which
compressed-tensors divides by and Model Optimizer multiplies with."""

from scalecheck.checkpoint.encodings._fp4 import E2M1, low_nibble_first
from scalecheck.checkpoint.encodings.contract import Candidate, NotDecoded
from scalecheck.checkpoint.quantised.coded_weight import coded_weight, grid_of, table_of
from scalecheck.checkpoint.quantised.decoded import Grid
from scalecheck.checkpoint.quantised.packed import Codes
from scalecheck.checkpoint.tensor import Tensor

HOLDS = (
    "`weight_packed` U8 and `weight_scale` F8_E4M3: FP4 · scale ÷ `weight_global_scale` "
    "(compressed-tensors); `weight` U8: FP4 · scale · `weight_scale_2` (Model Optimizer, whose "
    "experts `NAME` and `NAME_weight_scale` may have the codes of a byte in a column)"
)
GROUP = 16


def weight(candidate: Candidate) -> Tensor | None:
    """The weight of FP4 codes with scales of two levels."""
    codes, word = candidate.codes, candidate.word
    if codes.dtype.name != "U8" or len(codes.shape) < 2:
        return None
    stem = word.removesuffix("_packed")
    scale = candidate.beside(f"{stem}_scale", f"{stem}_weight_scale")
    whole = candidate.beside(f"{stem}_global_scale")
    is_divisor = whole is not None
    whole = whole or candidate.beside(f"{stem}_scale_2", f"{stem}_weight_scale_2")
    if scale is None or whole is None or scale.dtype.name not in ("F8_E4M3", "U8"):
        return None
    if scale.dtype.name == "U8":
        raise NotDecoded(f"{scale.name} is of U8, where NVFP4 has F8_E4M3")
    if candidate.beside(f"{stem}_zero_point") is not None:
        raise NotDecoded(f"{candidate.module}{stem}_zero_point: NVFP4 has no zero points")
    name, (*lead, rows, columns) = candidate.module + stem, codes.shape
    is_down = scale.shape == (*lead, rows * 2 // GROUP, columns)  # experts of Model Optimizer
    shape = (*lead, 2 * rows, columns) if is_down else (*lead, rows, 2 * columns)
    words = ("input_scale", "input_global_scale", f"{stem}_input_scale")
    beside = [candidate.beside(word) for word in words]
    return two_levels(candidate, "NVFP4", name, shape, scale, whole, is_divisor, beside, is_down)


def two_levels(
    candidate: Candidate,
    title: str,
    name: str,
    shape: tuple[int, ...],
    scale: Tensor,
    whole: Tensor | None,
    is_divisor: bool,
    beside: list[Tensor | None],
    is_down: bool = False,
) -> Tensor:
    """The weight of FP4 codes, a scale for every 16 of them, and one over these. is_down: the codes
    of a byte, and those of a scale, lie in a column."""
    matrices, rows, columns = table_of(shape)
    if not is_down and scale.shape != (*shape[:-1], -(-columns // GROUP)):
        raise NotDecoded(
            f"{scale.name} is {list(scale.shape)}, where {list(shape)} has a scale for every "
            f"{GROUP} along the last dimension"
        )
    factors = scale
    if whole is not None:
        grid = grid_of(scale.shape, whole)
        factors = coded_weight(
            candidate,
            scale.name,
            scale.name,
            scale.shape,
            Codes(scale, grid.matrices * grid.rows, grid.columns),
            scale.dtype.values(),
            grid,
            scale=whole,
            is_divisor=is_divisor,
        )
    return coded_weight(
        candidate,
        title,
        name,
        shape,
        low_nibble_first(
            candidate.codes, matrices * rows, columns, "rows" if is_down else "columns"
        ),
        E2M1,
        Grid(matrices, rows, columns, (GROUP, 1) if is_down else (1, GROUP)),
        scale=factors,
        beside=beside,
    )
