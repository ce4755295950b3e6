"""NVFP4: FP4 codes two a byte, a float8 scale for every 16, and one for the whole tensor, which
compressed-tensors divides by and Model Optimizer multiplies with."""

from scalecheck.checkpoint.coded_weight import coded_weight, grid_of, table_of
from scalecheck.checkpoint.decoded import Grid
from scalecheck.checkpoint.encodings._fp4 import E2M1, low_nibble_first
from scalecheck.checkpoint.encodings.contract import Candidate, NotDecoded
from scalecheck.checkpoint.packed import Codes
from scalecheck.checkpoint.tensor import Tensor

HOLDS = (
    "`weight_packed` U8 and `weight_scale` F8_E4M3: FP4 · scale ÷ `weight_global_scale` "
    "(compressed-tensors); `weight` U8: FP4 · scale · `weight_scale_2` (Model Optimizer)"
)
GROUP = 16


def weight(candidate: Candidate) -> Tensor | None:
    """The weight of FP4 codes with scales of two levels."""
    codes, word = candidate.codes, candidate.word
    if codes.dtype.name != "U8" or len(codes.shape) < 2:
        return None
    stem = word.removesuffix("_packed")
    scale = candidate.beside(f"{stem}_scale")
    whole = candidate.beside(f"{stem}_global_scale")
    is_divisor = whole is not None
    whole = whole or candidate.beside(f"{stem}_scale_2")
    if scale is None or whole is None or scale.dtype.name not in ("F8_E4M3", "U8"):
        return None
    if scale.dtype.name == "U8":
        raise NotDecoded(f"{scale.name} is of U8, where NVFP4 has F8_E4M3")
    if candidate.beside(f"{stem}_zero_point") is not None:
        raise NotDecoded(f"{candidate.module}{stem}_zero_point: NVFP4 has no zero points")
    shape = (*codes.shape[:-1], 2 * codes.shape[-1])
    return two_levels(
        candidate,
        "NVFP4",
        candidate.module + stem,
        shape,
        scale,
        whole,
        is_divisor,
        [candidate.beside("input_scale"), candidate.beside("input_global_scale")],
    )


def two_levels(
    candidate: Candidate,
    title: str,
    name: str,
    shape: tuple[int, ...],
    scale: Tensor,
    whole: Tensor | None,
    is_divisor: bool,
    beside: list[Tensor | None],
) -> Tensor:
    """The weight of FP4 codes, a scale for every 16 of them, and one over these."""
    matrices, rows, columns = table_of(shape)
    if scale.shape != (*shape[:-1], -(-columns // GROUP)):
        raise NotDecoded(
            f"{scale.name} is {list(scale.shape)}, where {list(shape)} has a scale for every "
            f"{GROUP} along the last dimension"
        )
    factors = scale
    if whole is not None:
        factors = coded_weight(
            candidate,
            scale.name,
            scale.name,
            scale.shape,
            Codes(scale, matrices * rows, scale.shape[-1]),
            scale.dtype.values(),
            grid_of(scale.shape, whole),
            scale=whole,
            is_divisor=is_divisor,
        )
    return coded_weight(
        candidate,
        title,
        name,
        shape,
        low_nibble_first(candidate.codes, matrices * rows, columns),
        E2M1,
        Grid(matrices, rows, columns, (1, GROUP)),
        scale=factors,
        beside=beside,
    )
