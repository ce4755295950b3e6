"""The counting pass in numpy: the oracle of the compiled kernel, and its stand-in where no compiler
was at hand."""

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.generic]
Table = NDArray[np.uint32]


def keys_of(words: Words, narrow: bool) -> NDArray[np.unsignedinteger]:
    """The table key of each word: itself where it is narrow, else its leading bits.

    The leading bits are the upper 16 of a float32 and the upper 20 of a float64: 7 and 8 bits of
    mantissa.
    """
    if narrow:
        return words.view(f"<u{words.itemsize}")
    if words.dtype.str[1:] == "f4":
        return words.view("<u4") >> np.uint32(16)
    return words.view("<u8") >> np.uint64(44)


def count(words: Words, itemsize: int, table: Table) -> None:
    """Adds the counts of 1- or 2-byte words to row 0 of a table, shape (4, 2**(8·itemsize)).

    Raises ValueError where the table has another size.
    """
    if itemsize not in (1, 2) or table.shape != (4, 1 << 8 * itemsize):
        raise ValueError(f"words of {itemsize} bytes with a table of {table.nbytes} bytes")
    _tally(keys_of(words, narrow=True), table)


def moments(
    words: Words, kind: str, table: Table
) -> tuple[int, int, int, float, float, int, float, float, float]:
    """Adds the counts by leading bits to a table and sums one block of floats.

    The table has shape (2, 65536) for kind "f4" and (1, 1048576) for "f8". Returns (nan,
    inf, zeros, low, high, exponent, shift, sum, square); low and high are the extremes of the
    finite words, ±inf where there are none; sum and square are Σd and Σd² over
    d = x·2^−exponent − shift, finite x.
    """
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        wide = words.astype(np.float64)
    _tally(keys_of(words, narrow=False), table)
    finite = wide[np.isfinite(wide)]
    nan = int(np.isnan(wide).sum())
    zeros = int((finite == 0).sum())
    if not len(finite):
        return nan, len(wide) - nan, zeros, np.inf, -np.inf, 0, 0.0, 0.0, 0.0
    low, high = float(finite.min()), float(finite.max())
    largest = max(abs(low), abs(high))
    exponent = 0
    if largest > 2.0**400 or 0 < largest < 2.0**-400:
        exponent = int(np.frexp(largest)[1]) - 1
    scaled = np.ldexp(finite, -exponent)
    shift = float(scaled.mean())
    d = scaled - shift
    return (
        nan,
        len(wide) - nan - len(finite),
        zeros,
        low,
        high,
        exponent,
        shift,
        float(d.sum()),
        float((d * d).sum()),
    )


def change(
    before: Words, after: Words, kind: str
) -> tuple[int, int, int, float, float, float, float, float]:
    """Sums over two blocks of words side by side, shapes (n,): "b2" of bfloat16, "f4" or "f8".

    Returns (changed, non_finite, exponent, Σa², Σb², Σab, Σ(b−a)², max|b−a|): changed counts those
    that differ as numbers, NaN beside NaN left out, non_finite those of which one is NaN or inf;
    the sums are over the others, times 2^−exponent.
    """
    if kind not in ("b2", "f4", "f8") or len(before) != len(after):
        raise ValueError(f"{len(before)} beside {len(after)} words of kind {kind}")
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        a, b = (_bf16(w) if kind == "b2" else w.astype(np.float64) for w in (before, after))
    changed = int(np.count_nonzero((a != b) & ~(np.isnan(a) & np.isnan(b))))
    finite = np.isfinite(a) & np.isfinite(b)
    non_finite = len(a) - int(np.count_nonzero(finite))
    a, b = a[finite], b[finite]
    largest = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0))
    exponent = 0
    if largest > 2.0**400 or 0 < largest < 2.0**-400:
        exponent = int(np.frexp(largest)[1]) - 1
    a, b = np.ldexp(a, -exponent), np.ldexp(b, -exponent)
    d = b - a
    sums = (float((x * y).sum()) for x, y in ((a, a), (b, b), (a, b), (d, d)))
    return (changed, non_finite, exponent, *sums, float(np.abs(d).max(initial=0.0)))  # type: ignore[return-value] # four sums


def count_tiles(
    codes: NDArray[np.uint8],
    columns: int,
    heights: tuple[int, int],
    widths: tuple[int, int],
    table: Table,
) -> None:
    """Adds the counts of codes, rows of so many columns, to a table of shape (tiles, 256).

    heights, widths: of the first tile down and across, which is not larger, and of the others.
    Raises ValueError where the table has another size.
    """
    if min(columns, heights[0], widths[0]) < 1 or heights[1] < heights[0] or widths[1] < widths[0]:
        raise ValueError(f"tiles of {heights} rows and {widths} of {columns} columns")
    box = codes.reshape(-1, columns)
    down = _tiles(len(box), heights)
    across = _tiles(columns, widths)
    count = (int(down[-1]) + 1 if len(down) else 0) * (int(across[-1]) + 1)
    if table.shape != (count, 256):
        raise ValueError(f"{count} tiles with a table of {table.shape}")
    tiles = down[:, None] * (across[-1] + 1) + across
    keys = (tiles * 256 + box).ravel()
    table += np.bincount(keys, minlength=table.size).astype(np.uint32).reshape(table.shape)


def _tiles(size: int, lengths: tuple[int, int]) -> NDArray[np.intp]:
    """The tile of each place along a dimension."""
    first, others = lengths
    found: NDArray[np.intp] = (np.arange(size) + others - first) // others
    return found


def tile_moments(
    counts: Table,
    values: NDArray[np.float64],
    scales: NDArray[np.float64],
    shifts: NDArray[np.float64] | None,
    table: Table,
) -> tuple[int, int, int, float, float, int, float, float, float]:
    """Adds the counts by leading bits of the numbers that counted codes stand for to a table of
    shape (1, 1048576), and sums them; returns what `moments` does.

    counts: of each tile and code, shape (tiles, 256). A number is values[code]·scale + shift.
    """
    if counts.shape != (len(scales), 256) or values.shape != (256,):
        raise ValueError(f"{len(scales)} tiles with counts of {counts.shape}")
    if shifts is not None and shifts.shape != scales.shape:
        raise ValueError(f"{len(scales)} scales and {len(shifts)} shifts")
    tiles, codes = np.nonzero(counts)
    with np.errstate(all="ignore"):
        numbers = values[codes] * scales[tiles]
        if shifts is not None:
            numbers = numbers + shifts[tiles]
    n = counts[tiles, codes].astype(np.int64)
    keys = keys_of(numbers, narrow=False).astype(np.intp)
    table[0] += np.bincount(keys, n, table.shape[-1]).astype(np.uint32)
    is_finite = np.isfinite(numbers)
    nan = int(n[np.isnan(numbers)].sum())
    zeros, inf = int(n[numbers == 0].sum()), int(n[~is_finite].sum()) - nan
    finite, n = numbers[is_finite], n[is_finite]
    if not len(finite):
        return nan, inf, zeros, np.inf, -np.inf, 0, 0.0, 0.0, 0.0
    low, high = float(finite.min()), float(finite.max())
    largest = max(abs(low), abs(high))
    exponent = 0
    if largest > 2.0**400 or 0 < largest < 2.0**-400:
        exponent = int(np.frexp(largest)[1]) - 1
    scaled = np.ldexp(finite, -exponent)
    shift = float((scaled * n).sum() / n.sum())
    d = scaled - shift
    total, square = float((n * d).sum()), float((n * (d * d)).sum())
    return nan, inf, zeros, low, high, exponent, shift, total, square


def _bf16(words: Words) -> NDArray[np.float64]:
    shifted = words.view("<u2").astype(np.uint32) << np.uint32(16)
    return shifted.view(np.float32).astype(np.float64)


def _tally(keys: NDArray[np.unsignedinteger], table: Table) -> None:
    table[0] += np.bincount(keys.astype(np.intp), minlength=table.shape[-1]).astype(np.uint32)
