"""The fields of an inspection, of a tensor or of a group, and how a table shows them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from typing import Any

from scalecheck.measure.flags import group_words, tensor_words
from scalecheck.measure.group_stats import GroupStats
from scalecheck.measure.groups import (
    FAMILY,
    LAYER,
    NAME,
    By,
    Merge,
    largest,
    listed,
    of_several,
    smallest,
)
from scalecheck.measure.sketch import Sketch
from scalecheck.report.report import Column, Row

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def _of_members(merge: Merge) -> Callable[[GroupStats], Any]:
    return lambda group: merge(group.members)


_DTYPE = Column("dtype", "dtype", "text", "storage type by its safetensors name", 6)
_SHAPE = Column("shape", "shape", "shape", "sizes of the dimensions", 3, lambda each: [*each.shape])
_NUMEL = Column("numel", "numel", "count", "number of elements", 8)
_FIGURES = (
    Column("rms", "rms", "number", "√mean(w²) over the finite elements"),
    Column("std", "std", "number", "population standard deviation", 7),
    Column("mean", "mean", "number", "mean over the finite elements", 5),
    Column("absmax", "absmax", "number", "largest |w|", 1),
    Column("min", "min", "number", "smallest element"),
    Column("max", "max", "number", "largest element"),
    Column(
        "zeros",
        "zeros %",
        "percent",
        "number of elements that are 0; in tables their share",
        2,
        cell=lambda row: row["zeros"] / row["numel"] if row["numel"] else None,
    ),
    Column("nan", "NaN", "count", "number of elements that are NaN"),
    Column("inf", "inf", "count", "number of elements that are +inf or −inf"),
)
_FLAGS = Column(
    "flags",
    "flags",
    "words",
    "what stands out: nan, inf, all_zero, outlier (against its family), empty, tied",
    get=lambda each: [*each.flags],
    cell=tensor_words,
)
QUANTILES_COLUMN = Column(
    "quantiles", "quantiles", "quantiles", "values that 1 % to 99 % of the elements do not exceed"
)
BAR = Column(
    "log_rms",
    "log rms",
    "bar",
    "rms on a logarithmic scale",
    4,
    cell=lambda row: None if row["role"] == "buffer" else row["rms"],
)


TENSOR_COLUMNS = (
    NAME,
    _DTYPE,
    _SHAPE,
    Column(
        "kind",
        "kind",
        "text",
        "parameter, buffer, average, code, piece, moment, other; only parameters are counted",
        get=attrgetter("kind.kind"),
    ),
    Column("role", "role", "text", "embedding, matrix, conv, norm, bias, lora_a, lora_b, buffer"),
    LAYER,
    FAMILY,
    _NUMEL,
    *_FIGURES,
    Column("family_ratio", "× family", "number", "rms over the median rms of its family"),
    Column("tied_to", "tied to", "text", "the first tensor that is the same view of the storage"),
    _FLAGS,
)
GROUP_COLUMNS = (
    replace(
        NAME,
        cell=lambda row: row["name"] if row["tensors"] == 1 else f"{row['tensors']}× {row['name']}",
    ),
    replace(_DTYPE, get=_of_members(listed("dtype"))),
    replace(_SHAPE, get=_of_members(_SHAPE.merged)),
    Column("tensors", "tensors", "count", "number of tensors merged", get=_of_members(len)),
    replace(_NUMEL, get=attrgetter("sketch.numel")),
    *(
        replace(
            column,
            rank=6 if column.name == "absmax" else column.rank,
            get=attrgetter(f"sketch.{column.name}"),
        )
        for column in _FIGURES
    ),
    Column(
        "rms_min",
        "rms min",
        "number",
        "smallest rms of a tensor in the group",
        5,
        _of_members(smallest("rms")),
        cell=of_several("rms_min"),
    ),
    Column(
        "rms_max",
        "rms max",
        "number",
        "largest rms of a tensor in the group",
        5,
        _of_members(largest("rms")),
        cell=of_several("rms_max"),
    ),
    Column("rms_by_tensor", "over depth", "spark", "rms of each tensor of the group, in order", 1),
    replace(_FLAGS, get=lambda group: [*group.flag_counts], cell=group_words),
)
_LEADING = ("name", "dtype", "shape", "numel", "rms")
_TRAILING = ("absmax", "zeros", "flags")
_SHOWN = {
    "tensor": (*_LEADING, "std", "mean", *_TRAILING),
    "layer": (*_LEADING, "rms_min", "rms_max", *_TRAILING),
    "family": (*_LEADING, "rms_min", "rms_max", "rms_by_tensor", *_TRAILING),
    "role": (*_LEADING, "rms_min", "rms_max", *_TRAILING),
}


def columns(
    by: By, with_init: bool, with_quantiles: bool
) -> tuple[Sequence[Column], Sequence[Column]]:
    """The fields, and those of them that are shown where none are asked for."""
    fields = [*(TENSOR_COLUMNS if by == "tensor" else GROUP_COLUMNS)]
    usual = [column for column in fields if column.name in _SHOWN[by]]
    if with_init:
        from scalecheck.measure.initial_scale import INIT

        fields[-1:-1] = usual[-1:-1] = INIT  # the flags stay last
    if by == "tensor":
        usual.append(BAR)
    if with_quantiles:
        fields.append(QUANTILES_COLUMN)
        usual.append(QUANTILES_COLUMN)
    return fields, usual


def quantiles(sketch: Sketch) -> dict[str, float | None]:
    return {str(q): sketch.quantile(q) for q in _QUANTILES}


def spread(columns: Sequence[Column]) -> list[Column]:
    """The columns of a table, quantiles spread out to one each."""
    own = [
        Column(str(q), f"{100 * q:g} %", "number", "", rank, cell=partial(_quantile, q))
        for q, rank in zip(_QUANTILES, (2, 10, 9, 1, 9, 10, 2), strict=True)
    ]
    return [c for column in columns for c in (own if column.unit == "quantiles" else [column])]


def _quantile(q: float, row: Row) -> float | None:
    value: float | None = row["quantiles"][str(q)]
    return value
