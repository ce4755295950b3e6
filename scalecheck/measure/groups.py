"""Tensors merged by layer, family or role: their elements together, never averages of averages."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from scalecheck.checkpoint.naming import family, indices
from scalecheck.measure.sketch import Sketch
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.report.report import Row

By = Literal["tensor", "layer", "family", "role"]

_PENDING = 64  # sketches kept before they are merged: bounds memory, and merges in bulk


class Groups:
    """The scales and the merged sketch of each layer, family or role."""

    def __init__(self, by: By) -> None:
        self._by = by
        self._members: dict[str, list[TensorStats]] = {}
        self._sketches: dict[str, list[Sketch]] = {}

    def add(self, scale: TensorStats, sketch: Sketch) -> None:
        """Takes in a tensor; one tied to another of its group counts once."""
        key = getattr(scale, self._by)
        members = self._members.setdefault(key, [])
        sketches = self._sketches.setdefault(key, [])
        if scale.tied_to is None or all(member.name != scale.tied_to for member in members):
            sketches.append(sketch)
        members.append(scale)
        if len(sketches) > _PENDING:
            sketches[:] = [Sketch.merge(sketches)]

    def sketches(self) -> dict[str, tuple[list[TensorStats], Sketch]]:
        """The members and the sketch of each group: groups in the order of the file, but those that
        differ by an index in the order of that, and so the members."""
        first: dict[str, int] = {}
        for position, key in enumerate(self._members):
            first.setdefault(family(key), position)
        keys = sorted(self._members, key=lambda key: (first[family(key)], indices(key)))
        return {
            key: (
                sorted(self._members[key], key=lambda scale: indices(scale.name)),
                Sketch.merge(self._sketches[key]),
            )
            for key in keys
        }


def common(values: Iterable[Any]) -> Any:
    """The value that all have; None where they differ."""
    first, *others = values
    return first if all(other == first for other in others) else None


def of_several(name: str) -> Callable[[Row], Any]:
    """A cell that stays empty where a group is one tensor, of which another column says all."""
    return lambda row: row[name] if row["tensors"] > 1 else None


def group_row(
    key: str, members: list[TensorStats], sketch: Sketch, flags: Mapping[str, list[str]]
) -> dict[str, Any]:
    """The fields of one group; `flags` are those of its tensors by name."""
    known = [scale.rms for scale in members if scale.rms is not None]
    shapes = {scale.shape for scale in members}
    counts = Counter(flag for scale in members for flag in flags[scale.name])
    return {
        "name": key,
        "dtype": ", ".join(dict.fromkeys(scale.dtype for scale in members)),
        "shape": list(members[0].shape) if len(shapes) == 1 else None,
        "tensors": len(members),
        "numel": sketch.numel,
        "rms": sketch.rms,
        "std": sketch.std,
        "mean": sketch.mean,
        "absmax": sketch.absmax,
        "min": sketch.min,
        "max": sketch.max,
        "zeros": sketch.zeros,
        "nan": sketch.nan,
        "inf": sketch.inf,
        "rms_min": min(known, default=None),
        "rms_max": max(known, default=None),
        "rms_by_tensor": [scale.rms for scale in members],
        "flags": list(counts),
        "flag_counts": counts,
    }
