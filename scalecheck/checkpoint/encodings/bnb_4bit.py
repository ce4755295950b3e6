"""bitsandbytes' NF4 and FP4: codes two a byte, a table of the numbers that they stand for, and the
largest size of each block of 64 or so, which may be quantised again."""

import math
from collections.abc import Mapping
from typing import Any

from scalecheck.checkpoint.encodings._config import integer
from scalecheck.checkpoint.encodings.contract import Candidate, NotDecoded, read_small
from scalecheck.checkpoint.files import strict_json
from scalecheck.checkpoint.quantised.coded_weight import coded_weight
from scalecheck.checkpoint.quantised.decoded import Grid
from scalecheck.checkpoint.quantised.packed import Codes
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS, Tensor

HOLDS = (
    "`weight` U8, `weight.absmax`, `weight.quant_map` and `weight.quant_state.bitsandbytes__nf4` "
    "(JSON), `weight.nested_absmax` and `weight.nested_quant_map` where absmax is quantised: "
    "quant_map[code] · absmax"
)
_TYPES = {"nf4": "NF4", "fp4": "FP4"}
_MOST_STATE = 1 << 14  # bytes of a description; they have some 200


def weight(candidate: Candidate) -> Tensor | None:
    """The weight of 4-bit codes, the high ones first."""
    states = [candidate.inside(f"quant_state.bitsandbytes__{kind}") for kind in _TYPES]
    state = next((one for one in states if one is not None), None)
    absmax, table = candidate.inside("absmax"), candidate.inside("quant_map")
    if state is None or absmax is None or table is None:
        return None
    found = _state(state)
    shape, size = _shape(found), integer(found, "blocksize")
    title = _TYPES.get(str(found.get("quant_type")))
    if shape is None or size is None or title is None:
        raise NotDecoded(f"{state.name} has no shape, blocksize and quant_type of a weight")
    if table.numel != 16 or not table.dtype.is_float:
        raise NotDecoded(f"{table.name} has {table.numel} numbers, not 16")
    numel = math.prod(shape)
    rows, columns = (numel // shape[-1], shape[-1]) if shape[-1] % size == 0 else (1, numel)
    if not numel:
        raise NotDecoded(f"{state.name} says a shape of {list(shape)}, without elements")
    return coded_weight(
        candidate,
        title,
        candidate.codes.name,
        shape,
        Codes(candidate.codes, rows, columns, 4, 8, (4, 0)),
        table,
        Grid(1, rows, columns, (1, size)),
        scale=_absmax(candidate, found, absmax),
        beside=[state],
    )


def _state(tensor: Tensor) -> Mapping[str, Any]:
    if tensor.dtype.name != "U8":
        raise NotDecoded(f"{tensor.name} is of {tensor.dtype.name}, which is no text")
    try:
        found = strict_json.parsed(read_small(tensor, _MOST_STATE).tobytes(), _MOST_STATE)
    except ValueError as error:
        raise NotDecoded(f"{tensor.name} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise NotDecoded(f"{tensor.name} is no JSON object")
    return found


def _shape(state: Mapping[str, Any]) -> tuple[int, ...] | None:
    sizes = state.get("shape")
    if not isinstance(sizes, list) or not 1 <= len(sizes) <= MAX_DIMENSIONS:
        return None
    counts = [integer({"": size}, "") for size in sizes]
    return None if None in counts else (*(n for n in counts if n is not None),)


def _absmax(candidate: Candidate, state: Mapping[str, Any], absmax: Tensor) -> Tensor:
    """The factor of each block; where it is quantised, decoded."""
    if absmax.dtype.is_float:
        return absmax
    scale, table = candidate.inside("nested_absmax"), candidate.inside("nested_quant_map")
    size, offset = integer(state, "nested_blocksize"), state.get("nested_offset")
    is_number = isinstance(offset, int | float) and math.isfinite(offset)
    if scale is None or table is None or size is None or not is_number:
        raise NotDecoded(f"{absmax.name} is of {absmax.dtype.name} without what decodes it")
    if absmax.dtype.name != "U8" or table.numel != 256 or not table.dtype.is_float:
        raise NotDecoded(f"{absmax.name} is of {absmax.dtype.name}, its table has {table.numel}")
    return coded_weight(
        candidate,
        absmax.name,
        absmax.name,
        absmax.shape,
        Codes(absmax, 1, absmax.numel),
        table,
        Grid(1, 1, absmax.numel, (1, size)),
        scale=scale,
        offset=float(offset or 0),
    )
