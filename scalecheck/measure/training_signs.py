"""Whether a model was trained, by its numbers alone. At the start the gains and biases of norms are
constant, and matrices are noise, whose largest singular value is known."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scalecheck.checkpoint.evidence.wrappers import bare_name
from scalecheck.checkpoint.naming import WEIGHTS
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.measure.tensor_stats import TensorStats

# √m + √n is where the singular values of noise end (Marchenko and Pastur 1967). None of 337
# architectures of transformers has more than a fifth of its matrices beyond 1.15 of it when new; a
# language model of four blocks has a third there after some 200 steps.
EDGE_FACTOR = 1.15
LEAST_SHARE = 1 / 3  # of the matrices, beyond the edge
_SIDE = 256  # rows and columns that are looked at
_LEAST_SIDE = 16
_MOST_MATRICES = 24
_MOST_ELEMENTS = 1 << 22  # that are read of one

_NORM = re.compile(r"norm|(?:^|_)(?:ln|bn)(?=[_\d]|$)", re.IGNORECASE)  # input_layernorm, ln_f, bn1
_GAINS = frozenset(("weight", "gamma", "scale", "gain", "g"))


def norm_gains(stats: Sequence[TensorStats]) -> list[TensorStats]:
    """The gains of norms: vectors in a module of such a name, or beside a bias of their shape."""
    vectors = {one.name: one for one in stats if one.numel > 1 and one.kind.is_parameter}

    def is_gain(one: TensorStats) -> bool:
        if one.role != "norm":
            return False
        bias = vectors.get(f"{_module(one)}bias")
        parts = [part for part in re.split(r"[./]", bare_name(one.name)) if not part.isdigit()]
        if parts and parts[-1] in _GAINS:
            is_named = len(parts) > 1 and bool(_NORM.search(parts[-2]))
            return is_named or (bias is not None and bias.shape == one.shape)
        return bool(parts) and bool(_NORM.search(parts[-1])) and bias is None

    return [one for one in vectors.values() if is_gain(one)]


def signs_of_training(stats: Sequence[TensorStats], tensors: Mapping[str, Tensor]) -> str:
    """What shows that the model was trained; empty where nothing does. tensors: by their names.
    Raises CheckpointError as `Tensor.blocks`."""
    # Some libraries start the gains of BatchNorms at random.
    batch = {one.name.removesuffix("running_mean") for one in stats if _is_mean(one)}
    gains = [one for one in norm_gains(stats) if _module(one) not in batch]
    names = {one.name for one in gains}
    for word, vectors in (
        ("gains of norms", gains),
        ("biases of norms", [one for one in stats if _bias_of(one, names)]),
    ):
        moved = sum(one.min != one.max for one in vectors)
        if 2 * moved > len(vectors):
            return f"{moved} of {len(vectors)} {word} were trained"
    if not any(one.min == one.max for one in stats if one.role in {"norm", "bias"}):
        return ""  # nothing that asks for it
    matrices = [
        tensors[one.name]
        for one in stats
        if one.role in WEIGHTS
        and one.kind.is_parameter
        and not one.kind.is_zero_at_first
        and one.is_finite
        and one.min != one.max
        and one.tied_to is None
        and _sides(tensors[one.name]) is not None
    ]
    chosen = matrices[:: -(-len(matrices) // _MOST_MATRICES) or 1]
    beyond = sum(_edge_ratio(tensor) > EDGE_FACTOR for tensor in chosen)
    if chosen and beyond >= LEAST_SHARE * len(chosen):
        return f"{beyond} of {len(chosen)} matrices have directions that no random start has"
    return ""


def _is_mean(one: TensorStats) -> bool:
    return one.name.endswith("running_mean")


def _module(one: TensorStats) -> str:
    """Its name up to the last separator, that included."""
    return one.name[: max(one.name.rfind("."), one.name.rfind("/")) + 1]


def _bias_of(one: TensorStats, gains: set[str]) -> bool:
    """Whether it is the bias of a norm."""
    module = _module(one)
    is_bias = one.name.removeprefix(module) in {"bias", "beta"}
    return is_bias and not gains.isdisjoint(module + word for word in _GAINS)


def _sides(tensor: Tensor) -> tuple[int, int] | None:
    """Rows and columns as they lie in the file; None where it is too small, or lies otherwise."""
    if len(tensor.shape) < 2 or not tensor.numel or not tensor.is_dense:
        return None
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    if tensor.strides is not None:
        if len(tensor.shape) > 2 or tensor.strides != (1, rows):
            return None
        rows, columns = columns, rows
    return (rows, columns) if min(rows, columns) >= _LEAST_SIDE else None


def _edge_ratio(tensor: Tensor) -> float:
    """The largest singular value of its first rows and columns over the edge of noise: √m + √n,
    where rows and columns have an rms of 1."""
    sides = _sides(tensor)
    assert sides is not None
    rows, columns = sides
    count = min(rows, _SIDE, max(_LEAST_SIDE, _MOST_ELEMENTS // columns))
    words: list[NDArray[np.float64]] = [
        tensor.dtype.decode(block).copy() for block in tensor.blocks(0, count * columns)
    ]
    part = np.concatenate(words).reshape(count, columns)[:, :_SIDE]
    part = part / (np.abs(part).max() or 1)
    for axis in (1, 0):
        sizes = np.sqrt(np.mean(np.square(part), axis=axis, keepdims=True))
        part = part / np.where(sizes > 0, sizes, 1)
    return float(np.linalg.norm(part, 2)) / (math.sqrt(part.shape[0]) + math.sqrt(part.shape[1]))
