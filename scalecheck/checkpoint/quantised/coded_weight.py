"""A weight put together from codes and factors, once all of them are seen to fit each other."""

import math
from collections.abc import Iterable, Sequence

from scalecheck.checkpoint.encodings.contract import Candidate, NotDecoded
from scalecheck.checkpoint.quantised.decoded import DecodedSource, FloatArray, Grid
from scalecheck.checkpoint.quantised.packed import Codes
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.dtypes import decoded_type

MOST_BITS = 8  # of a code


def coded_weight(
    candidate: Candidate,
    title: str,
    name: str,
    shape: tuple[int, ...],
    codes: Codes,
    values: FloatArray | Tensor,
    grid: Grid,
    *,
    scale: Tensor | None = None,
    zero: Tensor | None = None,
    bias: Tensor | None = None,
    beside: Iterable[Tensor | None] = (),
    offset: float = 0.0,
    is_divisor: bool = False,
    is_single: bool = False,
    is_transposed: bool = False,
) -> Tensor:
    """The weight of this name and shape. beside: the other tensors that belong to it. offset,
    is_divisor, is_single: as of DecodedSource. is_transposed: its codes lie in the order of its
    columns. Raises NotDecoded where the sizes do not fit."""
    if name in candidate.tensors and name not in (codes.tensor.name, candidate.codes.name):
        raise NotDecoded(f"{name} is there, too, so that its codes are of something else")
    require_plain(codes.tensor)
    if min(codes.rows, codes.columns, *grid.block) < 1:
        raise NotDecoded(f"{codes.tensor.name} holds no codes of {listed(shape)}")
    if codes.tensor.nbytes != codes.nbytes:
        raise NotDecoded(
            f"{codes.tensor.name} has {codes.tensor.nbytes:,} bytes; {listed(shape)} in codes of "
            f"{codes.bits} bits take {codes.nbytes:,}"
        )
    factors = grid.matrices * math.prod(grid.shape)
    for tensor in (scale, zero, bias):
        if tensor is None:
            continue
        require_plain(tensor)
        if tensor.numel != factors:
            raise NotDecoded(
                f"{tensor.name} has {tensor.numel:,} factors; {listed(shape)} in blocks of "
                f"{grid.block[0]}×{grid.block[1]} has {factors:,}"
            )
    if grid.groups is not None:
        require_plain(grid.groups)
    of_numbers = (values if isinstance(values, Tensor) else None, grid.groups)
    every = (codes.tensor, scale, zero, bias, *of_numbers, *beside)
    parts = [one for tensor in every if tensor is not None for one in tensor.parts or [tensor.name]]
    source = DecodedSource(
        codes.tensor.source.path,
        codes,
        values,
        grid,
        scale,
        zero,
        bias,
        offset,
        is_divisor,
        is_single,
    )
    return Tensor(
        name,
        decoded_type(title),
        shape,
        source,
        0,
        strides=(1, shape[0]) if is_transposed else None,
        stored_nbytes=codes.tensor.nbytes,
        parts=(*dict.fromkeys(parts),),
    )


def require_plain(tensor: Tensor) -> None:
    """Raises NotDecoded where the words of a tensor do not lie one after the other."""
    if tensor.unmeasured not in (None, tensor.dtype.unmeasured):
        raise NotDecoded(f"{tensor.name}: {tensor.unmeasured}")
    if tensor.strides is not None:
        raise NotDecoded(f"{tensor.name} is a strided view of its storage")


def listed(shape: Sequence[int]) -> str:
    """A shape as people write it."""
    return "×".join(map(str, shape)) if shape else "one number"


def table_of(shape: Sequence[int]) -> tuple[int, int, int]:
    """A weight's shape as so many matrices of rows and columns."""
    rows = shape[-2] if len(shape) > 1 else 1
    return math.prod(shape[:-2]), rows, shape[-1] if shape else 1


def grid_of(
    shape: Sequence[int],
    factor: Tensor,
    blocks: Sequence[tuple[int | None, int | None]] = (),
) -> Grid:
    """The blocks of a weight that the shape of its factors tells: one for all, one a matrix, a row
    or a column, or a grid. blocks: the rows and columns that each may have, where that is known.
    Raises NotDecoded where they do not fit."""
    matrices, rows, columns = table_of(shape)
    if factor.numel == 1:
        return Grid(1, matrices * rows, columns, (matrices * rows, columns))
    sizes, lead = factor.shape, tuple(shape[:-2])
    if sizes == lead or (sizes[: len(lead)] == lead and factor.numel == matrices):
        return Grid(matrices, rows, columns, (rows, columns))
    if sizes == (*lead, rows):
        return Grid(matrices, rows, columns, (1, columns))
    if len(shape) > 3 and sizes[0] == factor.numel == shape[0]:  # an output of a convolution each
        numel = math.prod(shape[1:])
        return Grid(1, shape[0], numel, (1, numel))
    if len(shape) == 2 and len(sizes) == 4 and sizes[1] == sizes[3] == 1:
        sizes = sizes[::2]  # as Model Optimizer stores a grid
    if len(sizes) != max(2, len(shape)) or sizes[:-2] != lead:
        raise NotDecoded(f"{factor.name} is {listed(sizes)}, beside codes of {listed(shape)}")
    fits = {
        (down, across)
        for block in blocks or [(None, None)]
        if (down := _step(rows, sizes[-2], block[0])) is not None
        and (across := _step(columns, sizes[-1], block[1])) is not None
    }
    if len(fits) != 1:
        said = " or ".join(f"{down}×{across}" for down, across in [*blocks][:3])
        known = f" in blocks of {said}" if said else ""
        raise NotDecoded(
            f"{factor.name} is {listed(sizes)}, which does not fit {listed(shape)}{known}"
        )
    ((down, across),) = fits
    is_along_one = down in (1, rows) or across in (1, columns)
    if not blocks and down != across and not is_along_one:
        raise NotDecoded(f"{factor.name} is {listed(sizes)}: blocks of {down}×{across}, not square")
    return Grid(matrices, rows, columns, (down, across))


def _step(size: int, count: int, known: int | None) -> int | None:
    """The length of so many blocks along a dimension; None where they do not fit. A power of two
    where one fits, as writers choose it; else what divides the dimension."""
    if not 0 < count <= size:
        return None
    if count in (1, size):
        return size // count
    if known is not None:
        return known if -(-size // known) == count else None
    step = 1 << (-(-size // count) - 1).bit_length()  # the least power of two that is enough
    if -(-size // step) == count:
        return step
    return None if size % count else size // count
