"""torchao's tensor subclasses, in safetensors (`_weight_qdata`) and in pickles (`weight.qdata`):
codes of 8 bits, or FP4 two a byte, beside a scale and maybe a zero point."""

import re
from dataclasses import replace

from scalecheck.checkpoint.encodings.contract import Candidate, NotDecoded
from scalecheck.checkpoint.encodings.mx import mxfp4
from scalecheck.checkpoint.encodings.nvfp4 import two_levels
from scalecheck.checkpoint.encodings.scaled import per
from scalecheck.checkpoint.files import strict_json
from scalecheck.checkpoint.quantised.coded_weight import coded_weight, grid_of
from scalecheck.checkpoint.quantised.decoded import Grid
from scalecheck.checkpoint.quantised.packed import Codes
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.dtypes import DTYPES

HOLDS = (
    "`_weight_qdata` and `_weight_scale` (safetensors), `weight.qdata` and `weight.scale` "
    "(pickles), with a zero point where there is one: (code − zero point) · scale"
)
_FLAT = re.compile(r"_(\w+)_qdata")
_KINDS = {"F8_E4M3": "FP8", "F8_E5M2": "FP8 E5M2", "I8": "INT8"}
_CLASSES = ("Float8Tensor", "Int8Tensor", "IntxUnpackedToInt8Tensor", "MXTensor", "NVFP4Tensor")
_MOST_VALUES = 1000  # of a description; they have some 20
_OLD = {"int_data": "tensor_impl", "float8_data": "tensor_impl"}  # of AffineQuantizedTensor


def weight(candidate: Candidate) -> Tensor | None:
    """The weight that a subclass of a tensor holds."""
    found = _names(candidate)
    if found is None:
        return None
    name, prefix = found
    codes, scale = candidate.codes, candidate.beside(f"{prefix}scale")
    zero = candidate.beside(f"{prefix}zero_point")
    if scale is None:
        return None
    _require_known(candidate.metadata.get(name))
    whole = candidate.beside(f"{prefix}per_tensor_scale")
    if codes.dtype.name == "U8" and scale.dtype.name == "F8_E4M3":
        shape = (*codes.shape[:-1], 2 * codes.shape[-1])
        return two_levels(candidate, "NVFP4", name, shape, scale, whole, False, [])
    if codes.dtype.name == "U8" and scale.dtype.name == "F8_E8M0":
        return mxfp4(candidate, name, scale)
    kind = _KINDS.get(codes.dtype.name)
    if kind is None or whole is not None:
        raise NotDecoded(f"{codes.dtype.name} codes of a layout of torchao that is not known here")
    if codes.dtype.is_float and scale.dtype.name == "U8":
        scale = replace(scale, dtype=DTYPES["F8_E8M0"])
    grid = _grid(codes, scale, zero)
    return coded_weight(
        candidate,
        f"{kind} {per(grid)}",
        name,
        codes.shape,
        Codes(codes, grid.matrices * grid.rows, grid.columns),
        codes.dtype.values(),
        grid,
        scale=scale,
        zero=zero,
    )


def _require_known(metadata: str | None) -> None:
    """Raises NotDecoded where a file's metadata says that the weight is of another class."""
    if metadata is None:
        return
    try:
        found = strict_json.parsed(metadata.encode(), _MOST_VALUES)
    except ValueError:
        return
    kind = found.get("_type") if isinstance(found, dict) else None
    if isinstance(kind, str) and kind not in _CLASSES:
        raise NotDecoded(f"torchao's {kind[:60]} orders its codes otherwise")


def _names(candidate: Candidate) -> tuple[str, str] | None:
    """The weight's name, and what the words of its parts begin with."""
    module = candidate.module.removesuffix(".")
    if match := _FLAT.fullmatch(candidate.word):
        return f"{candidate.module}{match[1]}", candidate.word.removesuffix("qdata")
    if candidate.word == "qdata" and module:
        return module, ""
    inner = _OLD.get(candidate.word)
    if inner is not None and module.endswith(f".{inner}"):
        return module.removesuffix(f".{inner}"), ""
    return None


def _grid(codes: Tensor, scale: Tensor, zero: Tensor | None) -> Grid:
    """The blocks of a scale, that of the weight's rows and columns in turn."""
    if zero is not None and zero.shape != scale.shape:
        raise NotDecoded(f"{zero.name} is {list(zero.shape)}, its scale {list(scale.shape)}")
    grid = grid_of(codes.shape, scale)
    if not codes.dtype.is_float and grid.block[0] not in (1, grid.rows):
        raise NotDecoded(f"{scale.name} is {list(scale.shape)}, beside {list(codes.shape)}")
    return grid
