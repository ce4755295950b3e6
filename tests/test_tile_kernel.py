"""Codes counted in tiles, and the moments of what they stand for: the compiled kernel and its numpy
twin say the same, and bad arguments are refused."""

import math

import numpy as np
import pytest

from scalecheck.measure import counting, numpy_kernel

REFUSALS = (ValueError, TypeError, BufferError)
KEYS = 1 << 20

both = pytest.mark.parametrize(
    "kernel", [counting.kernel, numpy_kernel], ids=["native", "reference"]
)


def tiles_of(size, lengths):
    return (np.arange(size) + lengths[1] - lengths[0]) // lengths[1]


def tables(rows, columns, heights, widths):
    down, across = tiles_of(rows, heights), tiles_of(columns, widths)
    count = (down[-1] + 1 if rows else 0) * (across[-1] + 1)
    return down, across, np.zeros((count, 256), np.uint32)


def numbers(random, tiles, with_shifts):
    values = random.normal(0, 1, 256)
    scales = random.uniform(0.1, 3, tiles)
    return values, scales, random.normal(0, 1, tiles) if with_shifts else None


@both
@pytest.mark.parametrize("heights", [(1, 1), (3, 5), (5, 5), (2, 100)])
@pytest.mark.parametrize("widths", [(1, 1), (4, 7), (7, 7), (31, 64), (9, 1000)])
@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (1, 1), (1, 70), (7, 5), (23, 130)])
def test_each_code_is_counted_in_its_tile(kernel, heights, widths, rows, columns):
    random = np.random.default_rng(rows * columns)
    codes = random.integers(0, 256, (rows, columns)).astype(np.uint8)
    down, across, table = tables(rows, columns, heights, widths)
    kernel.count_tiles(codes, columns, heights, widths, table)
    expected = np.zeros_like(table)
    for row in range(rows):
        for column in range(columns):
            tile = down[row] * (across[-1] + 1) + across[column]
            expected[tile, codes[row, column]] += 1
    np.testing.assert_array_equal(table, expected)


def test_counts_of_tiles_add_to_the_table():
    codes = np.full((6, 10), 3, np.uint8)
    _, _, table = tables(6, 10, (6, 6), (10, 10))
    for _ in range(3):
        counting.kernel.count_tiles(codes, 10, (6, 6), (10, 10), table)
    assert table[0, 3] == table.sum() == 180


@pytest.mark.parametrize(
    ("columns", "heights", "widths"),
    [
        (0, (1, 1), (1, 1)),
        (-4, (1, 1), (1, 1)),
        (4, (0, 1), (1, 1)),
        (4, (1, 0), (1, 1)),
        (4, (2, 1), (1, 1)),
        (4, (1, 1), (-1, 1)),
        (4, (1, 1), (3, 2)),
        (3, (8, 8), (8, 8)),
        (4, (1, 1), (4, 4)),
        (4, (1, 2**63 - 1), (1, 2**63 - 1)),
        (8, (2**62, 2**62), (4, 4)),
    ],
)
@both
def test_tiles_that_do_not_fit_their_table_are_refused(kernel, columns, heights, widths):
    table = np.zeros((1, 256), np.uint32)
    with pytest.raises(REFUSALS):
        kernel.count_tiles(np.zeros(8, np.uint8), columns, heights, widths, table)
    assert not table.any()


def read_only(table):
    table.flags.writeable = False
    return table


BAD_TABLES = {
    "of none": None,
    "of bytes": bytes(1024),
    "with gaps": np.zeros((1, 512), np.uint32)[:, ::2],
    "too short": np.zeros((1, 255), np.uint32),
    "too long": np.zeros((2, 256), np.uint32),
    "read only": read_only(np.zeros((1, 256), np.uint32)),
    "not aligned": np.zeros(1032, np.uint8).data[1:1025],
}


@pytest.mark.parametrize("table", BAD_TABLES.values(), ids=BAD_TABLES)
def test_tables_of_tiles_of_another_layout_are_refused(table):
    with pytest.raises(REFUSALS):
        counting.kernel.count_tiles(np.zeros(8, np.uint8), 8, (1, 1), (8, 8), table)


@pytest.mark.parametrize("codes", [None, 3, "text", np.zeros((4, 4), np.uint8)[:, ::2]])
def test_codes_that_are_no_bytes_in_a_row_are_refused(codes):
    with pytest.raises(REFUSALS):
        counting.kernel.count_tiles(codes, 8, (1, 1), (8, 8), np.zeros((1, 256), np.uint32))


def as_moments(figures, numel):
    nan, inf, _, _, _, exponent, shift, total, square = figures
    n = max(1, numel - nan - inf)
    scale = math.ldexp(1.0, exponent)
    return scale * (shift + total / n), scale * math.sqrt(max(0, square / n - (total / n) ** 2))


SPECIAL = (0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1e-310, 1e308, -1e308)


@pytest.mark.parametrize("size", [1.0, 1e200, 1e-200, 1e300, 1e-310, 0.0])
@pytest.mark.parametrize("with_shifts", [False, True])
@pytest.mark.parametrize("tiles", [0, 1, 2, 65])
@pytest.mark.parametrize("is_special", [False, True])
def test_kernels_agree_on_the_moments_of_tiles(size, with_shifts, tiles, is_special):
    random = np.random.default_rng(tiles)
    counts = random.integers(0, 50, (tiles, 256)).astype(np.uint32)
    counts[random.random(counts.shape) < 0.5] = 0
    values, scales, shifts = numbers(random, tiles, with_shifts)
    scales *= size
    shifts = None if shifts is None else shifts * size
    if is_special:
        values[: len(SPECIAL)] = SPECIAL
        scales[:3] = [math.nan, math.inf, 0.0][:tiles]
    table, said_table = np.zeros((1, KEYS), np.uint32), np.zeros((1, KEYS), np.uint32)
    native = counting.kernel.tile_moments(counts, values, scales, shifts, table)
    said = numpy_kernel.tile_moments(counts, values, scales, shifts, said_table)
    assert native[:6] == said[:6]
    np.testing.assert_array_equal(table, said_table)
    numel = int(counts.sum())
    assert table.sum() == numel
    mean, std = as_moments(native, numel)
    said_mean, said_std = as_moments(said, numel)
    rms = math.hypot(said_mean, said_std)
    assert mean == pytest.approx(said_mean, rel=0, abs=1e-12 * rms)
    assert std == pytest.approx(said_std, rel=0, abs=1e-12 * rms)


@both
@pytest.mark.parametrize("with_shifts", [False, True])
def test_moments_of_tiles_are_those_of_their_numbers(kernel, with_shifts):
    random = np.random.default_rng(1)
    codes = random.integers(0, 256, (12, 40)).astype(np.uint8)
    down, across, counts = tables(12, 40, (5, 7), (13, 20))
    kernel.count_tiles(codes, 40, (5, 7), (13, 20), counts)
    values, scales, shifts = numbers(random, len(counts), with_shifts)
    tiles = down[:, None] * (across[-1] + 1) + across
    each = values[codes] * scales[tiles]
    if with_shifts:
        each = each + shifts[tiles]
    table = np.zeros((1, KEYS), np.uint32)
    figures = kernel.tile_moments(counts, values, scales, shifts, table)
    assert figures[:5] == (0, 0, 0, each.min(), each.max())
    assert as_moments(figures, each.size) == pytest.approx((each.mean(), each.std()), rel=1e-12)
    keys = each.view(np.uint64).ravel() >> np.uint64(44)
    np.testing.assert_array_equal(np.flatnonzero(table[0]), np.unique(keys))


ARGUMENTS = {
    "counts": np.zeros((3, 256), np.uint32),
    "values": np.zeros(256),
    "scales": np.zeros(3),
    "shifts": np.zeros(3),
    "table": np.zeros((1, KEYS), np.uint32),
}
BAD = {
    "counts": [None, np.zeros((2, 256), np.uint32), np.zeros((3, 255), np.uint32)],
    "values": [None, np.zeros(255), np.zeros(257), np.zeros(512)[::2], bytes(2047)],
    "scales": [None, np.zeros(2), np.zeros(4), np.zeros(6)[::2], bytes(23)],
    "shifts": [3, np.zeros(2), np.zeros(4), np.zeros(32, np.uint8).data[1:25]],
    "table": [None, np.zeros((1, KEYS - 1), np.uint32), bytes(4 * KEYS)],
}


@pytest.mark.parametrize(
    ("name", "bad"), [(name, bad) for name, every in BAD.items() for bad in every]
)
def test_arguments_of_tile_moments_that_do_not_fit_are_refused(name, bad):
    with pytest.raises(REFUSALS):
        counting.kernel.tile_moments(*(ARGUMENTS | {name: bad}).values())
    assert not ARGUMENTS["table"].any()


@pytest.mark.parametrize("arguments", [(), (b"",), (b"", 1, (1,), (1, 1), b""), tuple(range(6))])
def test_a_wrong_number_of_arguments_is_refused(arguments):
    for function in (counting.kernel.count_tiles, counting.kernel.tile_moments):
        with pytest.raises(REFUSALS):
            function(*arguments)
