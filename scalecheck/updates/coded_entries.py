"""Entries of a state that are kept as codes of a few bits: which tensors belong together, and which
numbers the codes stand for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.aligned import row_major
from scalecheck.checkpoint.optimizer_state import ParamState
from scalecheck.checkpoint.tensor import Tensor

FloatArray = NDArray[np.float64]

MAP_SIZES = {256: 1, 16: 2}  # entries of a map, and how many of its codes lie in a byte
LARGEST_BLOCK = 2**31
MANTISSA, SMALLEST_EXPONENT = 3, -6  # of float8_e4m3fn


class Numbers(NamedTuple):
    """What codes stand for, and the nearest to zero and the farthest from it that are rounded to
    them; each of shape (n,)."""

    decoded: FloatArray
    nearest: FloatArray
    farthest: FloatArray


class Coded(NamedTuple):
    """An entry as codes. scales: what the numbers of each block are multiplied by. table: the
    number of each code; None where the codes are floats of 8 bits themselves."""

    codes: Tensor
    scales: FloatArray
    block: int
    table: FloatArray | None

    def numbers(self) -> Iterator[Numbers]:
        """All numbers in row-major order, some at a time. Raises CheckpointError."""
        place = 0
        table = None if self.table is None else _with_bounds(self.table)
        for words in row_major(self.codes):
            if table is None:
                found = _of_floats(words)
            else:
                codes = words.astype(np.uint8)
                if table.decoded.size == 16:
                    codes = np.stack((codes >> 4, codes & 15), axis=-1).ravel()
                found = Numbers(*(column[codes] for column in table))
            at = np.arange(place, place + found.decoded.size)
            place += at.size
            scales = self.scales[np.minimum(at // self.block, self.scales.size - 1)]
            yield Numbers(*(each * scales for each in found))


def _with_bounds(table: FloatArray) -> Numbers:
    """For each code the number, and those of the span that is rounded to it."""
    order = np.argsort(table)
    ordered = table[order]
    between = (ordered[1:] + ordered[:-1]) / 2
    low, high = np.empty_like(table), np.empty_like(table)
    low[order] = np.concatenate(([min(ordered[0], 0.0)], between))
    high[order] = np.concatenate((between, ordered[-1:]))
    far = np.where(np.abs(low) > np.abs(high), low, high)
    near = np.where(low * high < 0, 0.0, np.where(np.abs(low) > np.abs(high), high, low))
    return Numbers(table, near, far)


def _of_floats(numbers: FloatArray) -> Numbers:
    size = np.abs(numbers)
    exponent = np.floor(np.log2(np.maximum(size, 2.0**SMALLEST_EXPONENT)))
    half = 2.0 ** (exponent - MANTISSA) / 2
    sign = np.where(numbers < 0, -1.0, 1.0)
    return Numbers(numbers, sign * np.maximum(size - half, 0.0), sign * (size + half))


def coded_entries(state: ParamState, names: Sequence[str]) -> dict[str, Coded]:
    """The entries that are codes by the optimizer's own names, `names` in their order: the first
    is bitsandbytes' state1, the next its state2, unless state1 holds two."""
    tensors = state.tensors
    found = {}
    for name, tensor in tensors.items():
        own, _, part = name.rpartition(".")
        if part == "codes" and own:
            block = state.numbers.get(f"{own}.block_size")
            found[own] = _coded(
                tensor, tensors.get(f"{own}.scale"), tensors.get(f"{own}.qmap"), block
            )
    for name, (tensor, number, half) in numbered(state, names).items():
        if f"qmap{number}" in tensors:
            scale = tensors.get(f"absmax{number}", tensors.get(f"max{number}"))
            found[name] = _coded(tensor, scale, tensors[f"qmap{number}"], None, half)
    return {name: coded for name, coded in found.items() if coded is not None}


def numbered(
    state: ParamState, names: Sequence[str]
) -> Mapping[str, tuple[Tensor, int, int | None]]:
    """bitsandbytes' state1 and state2 by the optimizer's own names, with the number, and which half
    of state1 it is where that holds two averages."""
    first, second = state.tensors.get("state1"), state.tensors.get("state2")
    found: dict[str, tuple[Tensor, int, int | None]] = {}
    if first is None or not names:
        return found
    if second is not None and first.shape == (2, *second.shape) and len(names) > 2:
        for half in (0, 1):
            offset = first.offset + half * second.numel * first.dtype.itemsize
            part = replace(first, shape=second.shape, offset=offset)
            found[names[half]] = (part, 1, half)
        found[names[2]] = (second, 2, None)
        return found
    found[names[0]] = (first, 1, None)
    if second is not None and len(names) > 1:
        found[names[1]] = (second, 2, None)
    return found


def _coded(
    codes: Tensor,
    scale: Tensor | None,
    table: Tensor | None,
    block: object = None,
    half: int | None = None,
) -> Coded | None:
    """None where the tensors do not fit each other."""
    if scale is None or not scale.numel or not codes.numel:
        return None
    per_byte = 1 if table is None else MAP_SIZES.get(table.numel, 0)
    is_float = codes.dtype.name == "F8_E4M3"
    if not per_byte or is_float != (table is None) or not (is_float or codes.dtype.name == "U8"):
        return None
    scales = _whole(scale)
    if half is not None:
        scales = scales[half * scales.size // 2 : (half + 1) * scales.size // 2]
    numel = codes.numel * per_byte
    size = (
        int(block) if isinstance(block, int | float) and block >= 1 else _block(numel, len(scales))
    )
    if size is None or -(-numel // size) != len(scales):
        return None
    return Coded(codes, scales, size, None if table is None else _whole(table))


def _block(numel: int, count: int) -> int | None:
    """The power of 2 that divides so many elements into so many blocks, the last of which may be
    shorter."""
    size = 1
    while size < LARGEST_BLOCK and -(-numel // size) > count:
        size *= 2
    return size if -(-numel // size) == count else None


def _whole(tensor: Tensor) -> FloatArray:
    return np.concatenate([block.copy() for block in row_major(tensor)])
