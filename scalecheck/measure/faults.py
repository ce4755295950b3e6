"""What is wrong with a tensor by its own numbers and those of its siblings, for `inspect` and the
rules of `check` alike; what is out of scale is in `outliers`."""

from collections import Counter
from collections.abc import Mapping, Sequence

from scalecheck.checkpoint.naming import WEIGHTS
from scalecheck.measure.tensor_stats import TensorStats


def nan_and_inf(stats: TensorStats) -> tuple[int, int]:
    """How many elements are NaN and how many inf, but for the inf of masks and noise schedules. A
    tied tensor has none, as the first of its names has them."""
    if stats.tied_to is not None:
        return 0, 0
    return stats.nan, 0 if stats.kind.may_be_infinite else stats.inf


def judged_for_zeros(tensors: Sequence[TensorStats], siblings: Mapping[str, str]) -> dict[str, str]:
    """The tensors that should not be all zero, each with what is said of its siblings: matrices,
    convolutions and embeddings, and gains most of whose siblings are not. siblings: by name a text
    that the same tensors of other blocks share."""
    gains = [t for t in tensors if _is_gain(t) and t.name in siblings]
    every = Counter(siblings[t.name] for t in gains)
    alive = Counter(siblings[t.name] for t in gains if t.zeros < t.numel)
    found = {t.name: "" for t in tensors if _is_weight(t)}
    for stats in gains:
        kind = siblings[stats.name]
        if 2 * alive[kind] > every[kind]:
            found[stats.name] = f"{alive[kind]} of {every[kind]} siblings are not"
    return found


def _is_parameter(stats: TensorStats) -> bool:
    return stats.kind.is_weight and stats.tied_to is None and stats.numel > 0


def _is_weight(stats: TensorStats) -> bool:
    """Nor what a library starts at zero, nor a lone token, which may and have no use."""
    is_token = stats.role == "embedding" and stats.numel == max(stats.shape)
    is_meant = stats.kind.is_zero_at_first or is_token
    return _is_parameter(stats) and stats.role in WEIGHTS and not is_meant


def _is_gain(stats: TensorStats) -> bool:
    return _is_parameter(stats) and stats.role == "norm"
