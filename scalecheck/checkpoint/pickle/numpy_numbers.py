"""Numbers that numpy pickles, as an lr of a schedule of arrays: a dtype and the bytes."""

import re

import numpy as np

from scalecheck.checkpoint.pickle.inert import Foreign, Placeholder

_CODE = re.compile(r"b1|[iu][1248]|f[248]")  # bool, integers and floats


def number_of(dtype: object = None, saved: object = None, *_: object) -> object:
    """The number, or an inert object where it is none that Python has."""
    # Protocol 2, which torch.save writes, has the bytes as letters.
    data = saved.encode("latin-1", "replace") if isinstance(saved, str) else saved
    code = _code(dtype)
    if code is None or not isinstance(data, bytes) or len(data) != np.dtype(code).itemsize:
        return Placeholder(Foreign("numpy", "generic"), (dtype, saved))
    return np.frombuffer(data, code)[0].item()


def _code(dtype: object) -> str | None:
    """numpy's code of a pickled dtype, whose state is (version, byte order, …)."""
    if not isinstance(dtype, Placeholder) or not isinstance(dtype.args, tuple) or not dtype.args:
        return None
    code, state = dtype.args[0], dtype.state
    order = state[1] if isinstance(state, tuple) and len(state) > 1 else "|"
    if not isinstance(code, str) or not _CODE.fullmatch(code) or order not in ("<", ">", "=", "|"):
        return None
    return f"{order}{code}"
