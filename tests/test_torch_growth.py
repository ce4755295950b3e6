"""What a torch file costs grows as its size: at twice and four times the size, whatever a file
chose, a processor takes at most 2.6 and 6 times as long, and memory is bounded by the metadata."""

import gc
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from opcodes import named, storage, tensor, text, torch_zip
from process import bounded, cpu_seconds_of

from scalecheck.checkpoint.formats.torch import load
from scalecheck.errors import CheckpointError

MIB = 1 << 20
TIMES = {2: 2.6, 4: 6}
FREE = 100 * MIB  # of memory; the program itself takes some 50
GROWTH = 3  # times the bytes of pickle and directory


def meeting(count, bits):
    """So many integers that Python's dict finds only after most of the others: the first fill a
    stretch of the walk that all take in the end, the others start in it and stay there."""
    size = 1 << (count * 3 // 2).bit_length()
    mask = size - 1
    stretch, place = [], 1
    for _ in range(int(size * 0.45)):
        stretch.append(place)
        place = (5 * place + 1) & mask
    taken = np.zeros(size, bool)
    taken[stretch] = True
    rng = np.random.default_rng(1)
    others: list[int] = []
    while len(stretch) + len(others) < count:
        drawn = rng.integers(0, 1 << bits, 1 << 18, dtype=np.int64)
        places, rest, stays = drawn & mask, drawn.copy(), taken[drawn & mask]
        while rest.any():
            rest >>= 5
            places = (places * 5 + rest + 1) & mask
            stays &= taken[places]
        others += drawn[stays].tolist()
    return [*stretch, *others][:count]


def long_integer(number):
    return b"\x8a\x08" + struct.pack("<q", number)


def keys(count):
    return b"}(" + b"".join(long_integer(key) + b"N" for key in meeting(count, 60)) + b"u"


def memo(count):
    return b"N" + b"".join(b"r" + struct.pack("<I", key) for key in meeting(count, 32))


def views(count):
    each = (text(f"v{n}") + tensor((2,), (1 << 10,), n % 1000, b"h\x00") for n in range(count))
    return storage(1 << 12) + b"q\x000}(" + b"".join(each) + b"u"


def states(count):
    table = b"".join(b"K\x01" + b"}" + text("m") + tensor() + b"ss" for _ in range(count))
    return b"}" + table


def copies(count):
    """Of a table of which each holds all."""
    made = (named("collections.OrderedDict") + b"h\x00\x85R0") * (count // 100)
    entries = b"".join(text(f"{n}") + b"N" for n in range(count))
    return b"}(" + entries + b"uq\x000" + made + tensor()


MANY: dict[str, tuple[Callable[[int], bytes], int]] = {
    "integers that meet, as keys": (keys, 5000),
    "integers that meet, in the memo": (memo, 5000),
    "lists": (lambda count: b"]" * count, 60_000),
    "dicts": (lambda count: b"(" + b"}NNs" * count + b"t", 15_000),
    "objects set aside": (lambda count: b"ca\nb\nq\x00(" + b"h\x00)R" * count + b"t", 15_000),
    "names": (lambda count: b"".join(b"ca\n%d\n" % n for n in range(count)), 30_000),
    "keys that are objects": (lambda count: b"}(" + b"NN" * count + b"u", 20_000),
    "texts": (lambda count: b"U\x02ab" * count, 50_000),
    "views": (views, 1500),
    "tensors": (lambda count: b"](" + tensor() * count + b"e", 2000),
    "states": (states, 2000),
    "copies": (copies, 10_000),
}


def read(path):
    with suppress(CheckpointError):
        load(path)


@pytest.mark.parametrize("kind", MANY)
def test_time_and_memory_grow_no_faster_than_the_file(kind, tmp_path):
    make, count = MANY[kind]
    paths = {}
    for times in (1, *TIMES):
        content = b"\x80\x02" + make(times * count) + b"."
        paths[times] = torch_zip(tmp_path / f"{times}.pt", content, **{"0": bytes(1 << 14)})
    seconds = dict.fromkeys(paths, float("inf"))
    gc.disable()  # a collection falls into some of the calls and not into others
    try:
        for times in [*paths] * 3:  # in turn, as a processor's speed is not always the same
            seconds[times] = min(seconds[times], cpu_seconds_of(partial(read, paths[times])))
    finally:
        gc.enable()
    for times, most in TIMES.items():
        assert seconds[times] < most * seconds[1], f"{times} times the size: {seconds}"
    with bounded(FREE + GROWTH * len(content)):
        read(paths[4])


LONG = {
    "text": lambda many: text("a" * many + "\U0001f600"),
    "string": lambda many: b"T" + struct.pack("<I", many) + bytes(many),
    "line": lambda many: b"S'" + b"a" * many + b"'\n",
    "name": lambda many: b"ca\n" + b"a" * many + b"\n",
    "integer": lambda many: b"\x8b" + struct.pack("<I", many) + bytes(many),
}


@pytest.mark.parametrize("kind", LONG)
def test_a_long_text_takes_little_more_memory_than_it_has_bytes(kind, tmp_path):
    content = b"\x80\x02" + LONG[kind](48 * MIB) + b"."
    path = torch_zip(tmp_path / "long.pt", content)
    with bounded(10 * MIB + 2 * len(content)):
        read(path)
