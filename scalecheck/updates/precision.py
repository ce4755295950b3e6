"""The share of a tensor's elements that an update is too small to move at a storage precision."""

import math

import numpy as np

from scalecheck.dtypes import FLOAT_TYPES, WORDS, named
from scalecheck.errors import unknown
from scalecheck.measure.sketch import Sketch
from scalecheck.theory.precision import stalled_share

ROUNDING = 2.0**-53  # of the share's own sum


def param_dtype(word: str | None) -> str | None:
    """The storage type of --param-dtype by its safetensors name. Raises UsageError."""
    if word is None:
        return None
    name = named(word)
    if name not in FLOAT_TYPES:
        words = [known for known, dtype in WORDS.items() if dtype in FLOAT_TYPES]
        raise unknown("param_dtype", word, words)
    return name


def stalled(sketch: Sketch, dtype: str, update: float | None, equal: bool) -> float | None:
    """The share of finite elements whose expected update is at most half an ULP of a type.

    update: RMS of Δw, normal and independent of the element, or of one size where `equal`. Exact
    for types of 16 bits and less; else the elements are counted by their leading 16 bits. None for
    a type without known ULPs, no update and no element.
    """
    if (
        update is None
        or not math.isfinite(update)
        or dtype not in FLOAT_TYPES
        or not len(sketch.values)
    ):
        return None
    share = stalled_share(np.abs(sketch.values), sketch.counts, update, dtype, equal)
    return share if share > ROUNDING else 0.0
