"""MXFP4 and MXFP6: codes of 4 or 6 bits and an exponent for every 32 of them (OCP Microscaling
Formats 1.0), as compressed-tensors, Quark and gpt-oss store them."""

from dataclasses import replace

from scalecheck.checkpoint.encodings._fp4 import E2M1, E2M3, low_nibble_first
from scalecheck.checkpoint.encodings.contract import Candidate, NotDecoded
from scalecheck.checkpoint.quantised.coded_weight import coded_weight, table_of
from scalecheck.checkpoint.quantised.decoded import Grid
from scalecheck.checkpoint.quantised.packed import Codes
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.dtypes import DTYPES

HOLDS = (
    "`weight_packed` or `weight` U8 and `weight_scale` U8; `NAME_blocks` U8 of 16 bytes a block "
    "and `NAME_scales` U8, or `NAME.blocks` and `NAME.scales` (gpt-oss): FP4 or FP6 · "
    "2^(scale − 127), a scale for every 32"
)
GROUP = 32
_BYTES = {4: 16, 6: 24}  # of a block, by the bits of a code


def weight(candidate: Candidate) -> Tensor | None:
    """The weight of codes that share an exponent by 32."""
    codes, word = candidate.codes, candidate.word
    if codes.dtype.name != "U8" or len(codes.shape) < 2:
        return None
    if word.endswith("_blocks"):
        name = candidate.codes.name.removesuffix("_blocks")
        return _in_blocks(candidate, name, candidate.beside(f"{word.removesuffix('blocks')}scales"))
    if word == "blocks" and candidate.module:
        return _in_blocks(candidate, candidate.module.removesuffix("."), candidate.beside("scales"))
    stem = word.removesuffix("_packed")
    scale = candidate.beside(f"{stem}_scale")
    others = candidate.beside(f"{stem}_global_scale", f"{stem}_scale_2")
    if scale is None or others is not None or scale.dtype.name not in ("U8", "F8_E8M0"):
        return None
    if scale.shape[:-1] != codes.shape[:-1] or not scale.shape[-1]:
        raise NotDecoded(
            f"{scale.name} is {list(scale.shape)}, beside codes of {list(codes.shape)}"
        )
    per_block = codes.shape[-1] / scale.shape[-1]
    bits = next((bits for bits, nbytes in _BYTES.items() if nbytes == per_block), None)
    if bits is None:
        raise NotDecoded(f"{scale.name} has a scale for every {per_block:g} bytes, not 16 or 24")
    shape = (*codes.shape[:-1], scale.shape[-1] * GROUP)
    return _made(candidate, bits, candidate.module + stem, shape, scale)


def mxfp4(candidate: Candidate, name: str, scale: Tensor) -> Tensor:
    """The weight of FP4 codes two a byte. Raises NotDecoded."""
    codes = candidate.codes
    if codes.shape != (*scale.shape[:-1], scale.shape[-1] * _BYTES[4]):
        raise NotDecoded(
            f"{scale.name} is {list(scale.shape)}, beside codes of {list(codes.shape)}"
        )
    return _made(candidate, 4, name, (*scale.shape[:-1], scale.shape[-1] * GROUP), scale)


def _in_blocks(candidate: Candidate, name: str, scale: Tensor | None) -> Tensor | None:
    codes = candidate.codes
    if scale is None or scale.dtype.name not in ("U8", "F8_E8M0"):
        return None
    if codes.shape != (*scale.shape, _BYTES[4]):
        raise NotDecoded(
            f"{scale.name} is {list(scale.shape)}, beside blocks of {list(codes.shape)}"
        )
    shape = (*scale.shape[:-1], scale.shape[-1] * GROUP)
    return _made(candidate, 4, name, shape, scale)


def _made(
    candidate: Candidate, bits: int, name: str, shape: tuple[int, ...], scale: Tensor
) -> Tensor:
    matrices, rows, columns = table_of(shape)
    codes = low_nibble_first(candidate.codes, matrices * rows, columns)
    if bits == 6:
        codes = Codes(candidate.codes, matrices * rows, columns, 6, 8, None)
    return coded_weight(
        candidate,
        f"MXFP{bits}",
        name,
        shape,
        codes,
        E2M1 if bits == 4 else E2M3,
        Grid(matrices, rows, columns, (1, GROUP)),
        scale=replace(scale, dtype=DTYPES["F8_E8M0"]),
        beside=[candidate.beside("input_scale"), candidate.beside("input_global_scale")],
    )
