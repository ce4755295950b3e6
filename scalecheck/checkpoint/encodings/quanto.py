"""optimum-quanto's weights of 8 bits: `weight._data` and a scale a row."""

from scalecheck.checkpoint.encodings.contract import Candidate, NotDecoded
from scalecheck.checkpoint.encodings.scaled import per
from scalecheck.checkpoint.quantised.coded_weight import coded_weight, grid_of
from scalecheck.checkpoint.quantised.packed import Codes
from scalecheck.checkpoint.tensor import Tensor

HOLDS = "`weight._data` I8 or of an FP8 type, and `weight._scale`: code · scale"
_KINDS = {"I8": "INT8", "F8_E4M3": "FP8", "F8_E4M3FNUZ": "FP8", "F8_E5M2": "FP8 E5M2"}


def weight(candidate: Candidate) -> Tensor | None:
    """The weight whose codes are called `_data`."""
    codes, module = candidate.codes, candidate.module.removesuffix(".")
    if candidate.word != "_data" or not module:
        return None
    if module.endswith("._data"):
        raise NotDecoded("quanto does not store the shape of a weight of 2 or 4 bits")
    scale, kind = candidate.beside("_scale"), _KINDS.get(codes.dtype.name)
    if scale is None or kind is None or candidate.beside("_shift") is not None:
        return None
    grid = grid_of(codes.shape, scale)
    return coded_weight(
        candidate,
        f"{kind} {per(grid)}",
        module,
        codes.shape,
        Codes(codes, grid.matrices * grid.rows, grid.columns),
        codes.dtype.values(),
        grid,
        scale=scale,
        beside=[],
    )
