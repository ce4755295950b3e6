"""The number that stands in zarr's metadata for what was never written, as the bytes of a type."""

import math
import re

import numpy as np

from scalecheck.dtypes import DType

_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_HEX = re.compile(r"0x[0-9a-fA-F]{1,16}")


def fill_word(fill: object, dtype: DType) -> bytes | None:
    """The word of a fill value; None where there is none, or the type has no such number."""
    if dtype.words is None:
        return None
    if isinstance(fill, str) and _HEX.fullmatch(fill):
        bits = int(fill, 16)
        return bits.to_bytes(dtype.itemsize, "little") if bits >> dtype.bits == 0 else None
    number = _SPECIAL.get(fill, fill) if isinstance(fill, str) else fill
    if not isinstance(number, (int, float)):
        return None
    if dtype.is_narrow:
        values = dtype.values()
        found = np.flatnonzero(np.isnan(values) if number != number else values == number)
        return int(found[0]).to_bytes(dtype.itemsize, "little") if len(found) else None
    try:
        with np.errstate(all="ignore"):
            return np.array(number).astype(dtype.words).tobytes()
    except (OverflowError, TypeError, ValueError):
        return None
