"""bitsandbytes' int8: a row of codes shares its largest size, which stands in `SCB`."""

from scalecheck.checkpoint.encodings.contract import Candidate, NotDecoded, read_small
from scalecheck.checkpoint.quantised.coded_weight import coded_weight, grid_of
from scalecheck.checkpoint.quantised.packed import Codes
from scalecheck.checkpoint.tensor import Tensor

HOLDS = "`weight` I8, `SCB` [out], and `weight_format`: code · SCB / 127"
_LARGEST = 127
_ROWS = 0  # the number of the order of rows; the others are those of one kind of GPU


def weight(candidate: Candidate) -> Tensor | None:
    """The weight of int8 codes, a factor a row."""
    codes = candidate.codes
    scale = candidate.inside("SCB") or candidate.beside("SCB")
    if scale is None or codes.dtype.name != "I8" or candidate.word not in ("weight", "CB"):
        return None
    order = candidate.beside(f"{candidate.word}_format")
    if order is not None and int(read_small(order, 1).reshape(-1)[0]) != _ROWS:
        raise NotDecoded(f"{order.name} says an order of its own, not that of rows")
    if len(codes.shape) != 2 or scale.shape != codes.shape[:1]:
        raise NotDecoded(f"{scale.name} is {list(scale.shape)}, beside {list(codes.shape)}")
    rows, columns = codes.shape
    return coded_weight(
        candidate,
        "INT8 bitsandbytes",
        f"{candidate.module}weight",
        codes.shape,
        Codes(codes, rows, columns),
        codes.dtype.values() / _LARGEST,
        grid_of(codes.shape, scale),
        scale=scale,
        beside=[order],
    )
