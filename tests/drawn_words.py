"""Words of a storage type as hypothesis draws them, and what math.fsum says of them."""

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from scalecheck.dtypes import DTYPES, DType
from scalecheck.measure.counting import Counter

MEASURED = tuple(name for name, dtype in DTYPES.items() if dtype.words)
NARROW = tuple(name for name in MEASURED if DTYPES[name].is_narrow)
WIDE = tuple(name for name in MEASURED if not DTYPES[name].is_narrow)
WIDE_FLOAT = tuple(name for name in WIDE if DTYPES[name].is_float)
NUMPY = {"F64": "f8", "F32": "f4", "I64": "i8", "U64": "u8", "I32": "i4", "U32": "u4"}

# Around the lengths at which a counting pass may change its way: a few words, a block of a few
# thousand, and one that is no multiple of anything.
LENGTHS = (0, 1, 2, 3, 5, 31, 63, 64, 65, 257, 4095, 4096, 4097)


def word_type(dtype: DType) -> np.dtype:
    return np.dtype(f"<u{dtype.itemsize}")


def landmarks(dtype: DType) -> np.ndarray:
    """Words next to each border of a type: zeros, subnormals, the extremes, infinities, NaN."""
    top = 1 << (dtype.bits - 1)
    borders = [0, top]
    if dtype.name in ("F32", "F64"):
        mantissa = 23 if dtype.name == "F32" else 52
        infinity = (top >> mantissa) - 1 << mantissa
        one = (infinity >> mantissa) // 2 << mantissa
        borders += [side + word for side in (0, top) for word in (infinity, one, 1 << mantissa)]
    near = {(border + step) % (1 << dtype.bits) for border in borders for step in (-1, 0, 1)}
    return np.array(sorted(near), word_type(dtype))


def random_words(dtype: DType, numel: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 1 << dtype.bits, numel, word_type(dtype), endpoint=False)


def weights(dtype: DType, numel: int, seed: int) -> np.ndarray:
    """Words of numbers that look like a layer: one scale, one shift, both signs or not."""
    random = np.random.default_rng(seed)
    if not dtype.is_float:
        shift = random.integers(0, min(100, 1 << (dtype.bits - 2)))
        return (random.integers(0, 100, numel) + shift).astype(word_type(dtype))
    values = random.normal(random.choice([0.0, 1.0, -3.0]), 10.0 ** random.integers(-3, 2), numel)
    if dtype.name in NUMPY:
        return values.astype(NUMPY[dtype.name]).view(word_type(dtype))
    table = dtype.values()
    rising = np.argsort(table)[: np.isfinite(table).sum() + np.isneginf(table).sum()]
    return rising[np.searchsorted(table[rising], values).clip(0, len(rising) - 1)].astype(
        word_type(dtype)
    )


@st.composite
def words(draw, dtype: DType, min_size: int = 0) -> np.ndarray:
    """Up to three stretches of words, each of another kind, in the storage type's word type."""
    stretches = []
    for _ in range(draw(st.integers(1, 3))):
        numel = max(min_size, draw(st.sampled_from(LENGTHS)))
        seed = draw(st.integers(0, 2**32 - 1))
        kind = draw(st.sampled_from(["random", "weights", "landmarks", "constant"]))
        if kind == "random":
            stretch = random_words(dtype, numel, seed)
        elif kind == "weights":
            stretch = weights(dtype, numel, seed)
        elif kind == "landmarks":
            stretch = np.random.default_rng(seed).choice(landmarks(dtype), numel)
        else:
            stretch = np.repeat(random_words(dtype, 1, seed), numel)
        stretches.append(stretch)
    return np.concatenate(stretches).view(dtype.words)


@dataclass(frozen=True)
class Figures:
    """The statistics of finite numbers, correctly summed."""

    mean: float
    std: float
    rms: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Figures":
        """Sums by math.fsum over values scaled by a power of two, so that no square overflows."""
        exponent = math.frexp(float(np.abs(values).max()))[1]
        scaled = np.ldexp(np.ldexp(values, -(exponent // 2)), -(exponent - exponent // 2))
        mean = math.fsum(scaled) / len(scaled)
        variance = math.fsum((scaled - mean) ** 2) / len(scaled)
        square = math.fsum(scaled**2) / len(scaled)
        return cls(
            math.ldexp(mean, exponent),
            math.ldexp(math.sqrt(variance), exponent),
            math.ldexp(math.sqrt(square), exponent),
        )


def sketch(words, dtype):
    """The sketch of raw words of a storage type, any shape."""
    counter = Counter(dtype)
    counter.add(np.ascontiguousarray(words).ravel())
    return counter.take()
