"""The scale of every tensor of a checkpoint, one by one or merged by layer, family or role."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.provenance import skipped, source
from scalecheck.checkpoint.selection import Selection, retied
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.measure.counting import NATIVE
from scalecheck.measure.flags import group_words, sentence, tensor_rows, tensor_words
from scalecheck.measure.groups import Groups, group_row, of_several
from scalecheck.measure.init_ratio import COLUMNS as INIT_COLUMNS
from scalecheck.measure.init_ratio import init_fields, silence
from scalecheck.measure.initial_scale import Model, Reference, scheme
from scalecheck.measure.measuring import measure
from scalecheck.measure.pipeline import Progress
from scalecheck.measure.sketch import Moments, Sketch
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.report.formatting import nbytes, number, plural, printable
from scalecheck.report.report import Column, Report, Row, Table
from scalecheck.settings import Settings

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

_NAME = Column("name", "name", "text", "the tensor's name as stored, or the group's")
_DTYPE = Column("dtype", "dtype", "text", "storage type by its safetensors name", 6)
_SHAPE = Column("shape", "shape", "shape", "sizes of the dimensions", 3)
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
    _NAME,
    _DTYPE,
    _SHAPE,
    Column("role", "role", "text", "embedding, matrix, conv, norm, bias, lora_a, lora_b, buffer"),
    Column("layer", "layer", "text", "module path up to and including the block index"),
    Column("family", "family", "text", "the name with every index replaced by N"),
    _NUMEL,
    *_FIGURES,
    Column("family_ratio", "× family", "number", "rms over the median rms of its family"),
    Column("tied_to", "tied to", "text", "the first tensor that is the same view of the storage"),
    _FLAGS,
)
GROUP_COLUMNS = (
    replace(
        _NAME,
        cell=lambda row: row["name"] if row["tensors"] == 1 else f"{row['tensors']}× {row['name']}",
    ),
    _DTYPE,
    _SHAPE,
    Column("tensors", "tensors", "count", "number of tensors merged"),
    _NUMEL,
    *(replace(column, rank=6) if column.name == "absmax" else column for column in _FIGURES),
    Column(
        "rms_min",
        "rms min",
        "number",
        "smallest rms of a tensor in the group",
        5,
        cell=of_several("rms_min"),
    ),
    Column(
        "rms_max",
        "rms max",
        "number",
        "largest rms of a tensor in the group",
        5,
        cell=of_several("rms_max"),
    ),
    Column("rms_by_tensor", "over depth", "spark", "rms of each tensor of the group, in order", 1),
    replace(_FLAGS, cell=group_words),
)
_LEADING = ("name", "dtype", "shape", "numel", "rms")
_TRAILING = ("absmax", "zeros", "flags")
_SHOWN = {
    "tensor": (*_LEADING, "std", "mean", *_TRAILING),
    "layer": (*_LEADING, "rms_min", "rms_max", *_TRAILING),
    "family": (*_LEADING, "rms_min", "rms_max", "rms_by_tensor", *_TRAILING),
    "role": (*_LEADING, "rms_min", "rms_max", *_TRAILING),
}


def inspect(checkpoint: Checkpoint | str | Path, settings: Settings, progress: Progress) -> Report:
    """The report of `inspect`. Raises UsageError, CheckpointError."""
    by = settings.by
    fields = TENSOR_COLUMNS if by == "tensor" else GROUP_COLUMNS
    usual = [column for column in fields if column.name in _SHOWN[by]]
    initialization = None if settings.init is None else scheme(settings.init)
    if initialization:
        fields = (*fields[:-1], *INIT_COLUMNS, fields[-1])  # the flags stay last
        usual[-1:-1] = INIT_COLUMNS
    if by == "tensor":
        usual.append(BAR)
    if settings.quantiles:
        fields = (*fields, QUANTILES_COLUMN)
        usual.append(QUANTILES_COLUMN)
    selection = Selection.of(settings)
    selection.check(fields)
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint)
    wanted = retied(selection.tensors(checkpoint.tensors))

    scales: list[TensorStats] = []
    percentiles: dict[str, dict[str, float | None]] = {}
    groups = Groups(by)
    total = _Total(checkpoint.non_model)
    readable = tuple(tensor for tensor in wanted if tensor.unmeasured is None)
    for tensor, sketch in measure(readable, settings.jobs, progress):
        scale = TensorStats.of(tensor, sketch)
        scales.append(scale)
        total.add(scale, sketch)
        if by != "tensor":
            groups.add(scale, sketch)
        elif settings.quantiles:
            percentiles[scale.name] = _quantiles(sketch)

    rows = tensor_rows(scales)
    flagged = sentence(rows)
    references: dict[str, Reference | None] = {}
    if initialization:
        model = Model({tensor.name: tensor.shape for tensor in checkpoint.tensors})
        for scale, row in zip(scales, rows, strict=True):
            reference = initialization.of(scale.name, scale.role, scale.shape, model)
            references[scale.name] = reference
            row |= init_fields([reference], row)
    if by != "tensor":
        flags = {row["name"]: row["flags"] for row in rows}
        rows = []
        for key, (members, sketch) in groups.sketches().items():
            rows.append(group_row(key, members, sketch, flags))
            if initialization:
                rows[-1] |= init_fields([references[scale.name] for scale in members], rows[-1])
            if settings.quantiles:
                percentiles[key] = _quantiles(sketch)
    for row in rows if settings.quantiles else ():
        row["quantiles"] = percentiles[row["name"]]
    chosen = selection.chosen(fields)
    return Report(
        kind="inspect",
        tables=[
            Table(
                "rows",
                columns=chosen or fields,
                shown=_shown([replace(column, rank=0) for column in chosen] or usual),
                rows=selection.rows(rows),
            )
        ],
        source=source(checkpoint),
        settings=settings.recorded(*([] if initialization else ["init"])),
        skipped=[
            skipped(tensor, tensor.unmeasured) for tensor in wanted if tensor.unmeasured is not None
        ],
        headline=_headline(checkpoint),
        totals=f"{total.sentence()}\n{flagged}",
        notes=[
            *_notes(checkpoint, len(wanted), len(rows), settings.top),
            *(silence(initialization.word, references.values()) if initialization else ()),
        ],
    )


class _Total:
    """The scale of all the model's parameters together, tied ones counted once."""

    def __init__(self, beside: frozenset[str]) -> None:
        self._names_beside = beside
        self.tensors = self.buffers = self.non_model = self.zeros = self.nan = self.inf = 0
        self.moments = Moments()
        self.absmax = 0.0

    def add(self, scale: TensorStats, sketch: Sketch) -> None:
        if scale.name in self._names_beside:
            self.non_model += 1
            return
        if scale.role == "buffer":
            self.buffers += 1
            return
        self.tensors += 1
        if scale.tied_to is None:
            self.moments += sketch.moments
            self.absmax = max(self.absmax, scale.absmax or 0.0)
            self.zeros += scale.zeros
            self.nan += scale.nan
            self.inf += scale.inf

    def sentence(self) -> str:
        """The totals in words."""
        numel = self.moments.count + self.nan + self.inf
        all_of_them = Sketch(wide=self.moments, exact=False, low=-self.absmax, high=self.absmax)
        rms = number(all_of_them.rms)
        parts = [f"{plural(numel, 'parameter')} in {plural(self.tensors, 'tensor')}"]
        parts += [f"rms {rms}"] if rms else []
        parts += [plural(self.zeros, "zero"), f"{self.nan:,} NaN", f"{self.inf:,} inf"]
        others = [plural(self.buffers, "buffer")] if self.buffers else []
        others += [plural(self.non_model, "tensor") + " beside the model"] if self.non_model else []
        return (
            "total: " + ", ".join(parts) + ("; not counted: " if others else "") + ", ".join(others)
        )


def _quantiles(sketch: Sketch) -> dict[str, float | None]:
    return {str(q): sketch.quantile(q) for q in QUANTILES}


def _shown(columns: Sequence[Column]) -> list[Column]:
    """The columns of a table, quantiles spread out to one each."""
    spread = [
        Column(str(q), f"{100 * q:g} %", "number", "", rank, get=partial(_quantile, q))
        for q, rank in zip(QUANTILES, (2, 10, 9, 1, 9, 10, 2), strict=True)
    ]
    return [c for column in columns for c in (spread if column.unit == "quantiles" else [column])]


def _quantile(q: float, row: Row) -> float | None:
    value: float | None = row["quantiles"][str(q)]
    return value


def _headline(checkpoint: Checkpoint) -> str:
    dtypes = sorted({tensor.dtype.name for tensor in checkpoint.tensors})
    types = f" of {dtypes[0]}" if len(dtypes) == 1 else ""
    return (
        f"{printable(str(checkpoint.path))}: {checkpoint.format}, "
        f"{plural(len(checkpoint.tensors), 'tensor')}{types}, "
        f"{plural(checkpoint.parameters, 'parameter')}, {nbytes(checkpoint.nbytes)}"
    )


def _notes(checkpoint: Checkpoint, wanted: int, rows: int, top: int | None) -> list[str]:
    notes = []
    if wanted < len(checkpoint.tensors):
        notes.append(f"{wanted} of {plural(len(checkpoint.tensors), 'tensor')} selected")
    if top is not None and top < rows:
        notes.append(f"{top} of {rows} rows shown")
    notes += checkpoint.notes
    if not NATIVE:
        notes.append("measured by the numpy kernel: this copy of scalecheck has no compiled one")
    return [printable(note) for note in notes]
