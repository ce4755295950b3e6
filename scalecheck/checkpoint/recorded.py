"""What `inspect --format json` recorded of a checkpoint: the figures without the elements."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any

from scalecheck.checkpoint.evidence.inventory import Description
from scalecheck.checkpoint.files import strict_json
from scalecheck.checkpoint.files.weight_files import is_weights
from scalecheck.checkpoint.kinds import LONE, TensorKind, kinds
from scalecheck.checkpoint.tensor import MAX_DIMENSIONS, MAX_NAME
from scalecheck.dtypes import DTYPES
from scalecheck.errors import CheckpointError, Fix, reason
from scalecheck.report.formatting import excerpt

SCHEMA = "scalecheck.inspect/1"
MAX_NBYTES = 128 << 20  # a row takes some 500 bytes: a quarter of a million tensors
_HEAD_NBYTES = 512
_HOW = "write it with scalecheck inspect MODEL --format json --output FILE"
_ALONE = f"{_HOW}, and no other option"
FIGURES = ("rms", "std", "mean", "absmax", "min", "max")
_PARTS = {"settings": dict, "rows": list, "skipped": list}
COUNTS = ("zeros", "nan", "inf")
_FACTOR = TensorKind("buffer", "buffer", "recorded as a buffer beside quantised weights")


@dataclass(frozen=True)
class RecordedStats:
    """The recorded figures of one tensor; None where there was no finite element, the report leaves
    the column out, or the tensor could not be measured: `unmeasured` says why."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    rms: float | None
    std: float | None = None
    mean: float | None = None
    absmax: float | None = None
    min: float | None = None
    max: float | None = None
    zeros: int | None = None
    nan: int | None = None
    inf: int | None = None
    unmeasured: str | None = None
    kind: TensorKind = LONE

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Recorded:
    """A report of inspect. rows: by the tensor's name, in its order. unmeasured: the tensors that
    it skipped, without figures. match, exclude: the globs that chose them. source: what it says of
    the checkpoint."""

    path: Path
    rows: Mapping[str, RecordedStats]
    unmeasured: Mapping[str, RecordedStats]
    match: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def every(self) -> Mapping[str, RecordedStats]:
        """The rows, and the tensors that were not measured."""
        return {**self.rows, **self.unmeasured}


def recorded_schema(path: Path) -> str | None:
    """What a file that begins as a report does says that it is; None for any other."""
    try:
        with path.open("rb") as file:
            found = re.match(rb'\s*\{\s*"schema"\s*:\s*"([\w./]*)"', file.read(_HEAD_NBYTES))
    except OSError:
        return None
    return found[1].decode() if found else None


def is_recorded(path: Path) -> bool:
    """Whether the file begins as a report does, which no checkpoint does. A pipe is read once, and
    can bring nothing but a report."""
    try:
        if path.is_fifo():
            return True
        with path.open("rb") as file:
            return re.match(rb'\s*\{\s*"schema"', file.read(_HEAD_NBYTES)) is not None
    except (OSError, ValueError):
        return False


def _no_report(path: Path, why: str) -> CheckpointError:
    """The error of a file that is no report; of a model, with how to write its report."""
    problem = f"is no report of scalecheck: {why}"
    if not is_weights(path.name):
        return CheckpointError(path, problem, _HOW)
    new = f"{path}.json"
    before = f"scalecheck inspect {quote(str(path))} --format json --output {quote(new)}"
    return CheckpointError(path, problem, "", Fix(new, str(path), "--baseline", before))


def recorded(path: str | Path) -> Recorded:
    """Reads a report. Raises CheckpointError where it cannot be read, is none, or leaves tensors or
    columns out."""
    path = Path(path)
    try:
        text = strict_json.text_of(path, MAX_NBYTES)
        if text is None:
            raise CheckpointError(path, f"is larger than {MAX_NBYTES} bytes, and no report")
        report = strict_json.parsed(text)
    except OSError as error:
        raise CheckpointError(path, reason(error)) from error
    except ValueError as error:
        raise _no_report(path, str(error)) from error
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        schema = strict_json.in_words(report.get("schema")) if isinstance(report, dict) else "none"
        raise _no_report(path, f"its schema is {schema[:80]}, not {SCHEMA}")
    for key, kind in _PARTS.items():
        if not isinstance(report.get(key), kind):
            raise CheckpointError(path, f"has no {key}", _HOW)
    settings = report["settings"]
    for option in ("top", "columns"):
        if settings.get(option) is not None:
            raise CheckpointError(path, f"was written with --{option}", _ALONE)
    if settings.get("by") != "tensor":
        raise CheckpointError(path, "is not of tensors one by one", _ALONE)
    source = report.get("source")
    rows = _scales(path, "row", report["rows"])
    of_tensors = [s for s in report["skipped"] if not _is_folder(s)]
    skipped = _scales(path, "skipped", of_tensors)
    found = kinds(
        Description(s.name, DTYPES.get(s.dtype, DTYPES["F32"]), s.shape)
        for s in {**rows, **skipped}.values()
    )
    if any(scale.dtype not in DTYPES for scale in rows.values()):  # decoded from codes and factors
        found |= {row["name"]: _FACTOR for row in report["rows"] if row.get("kind") == "buffer"}
    return Recorded(
        path,
        _with_kinds(rows, found),
        _with_kinds(skipped, found),
        _globs(path, settings, "match"),
        _globs(path, settings, "exclude"),
        source if isinstance(source, dict) else {},
    )


def _is_folder(entry: object) -> bool:
    """It is a folder that was not read, which has no type."""
    return isinstance(entry, dict) and {"dtype": None, "shape": None}.items() <= entry.items()


def _with_kinds(
    entries: Mapping[str, RecordedStats], found: Mapping[str, TensorKind]
) -> dict[str, RecordedStats]:
    """The entries with their kinds. An earlier version recorded figures of codes, too."""
    known = {}
    for name, entry in entries.items():
        kind = found[name]
        is_code = kind.kind == "code" and entry.unmeasured is None
        known[name] = replace(
            entry, kind=kind, unmeasured=kind.reason if is_code else entry.unmeasured
        )
    return known


def _scales(path: Path, what: str, entries: Sequence[object]) -> dict[str, RecordedStats]:
    scales: dict[str, RecordedStats] = {}
    for number, entry in enumerate(entries, 1):
        scale = _scale(path, f"{what} {number}", entry)
        if scale.name in scales:
            raise CheckpointError(path, f"{what} {number}: {excerpt(scale.name)} is there twice")
        scales[scale.name] = scale
    return scales


def _scale(path: Path, at: str, row: object) -> RecordedStats:
    """The figures of a row, each of its type."""

    def refused(key: str) -> CheckpointError:
        value = strict_json.in_words(row.get(key)) if isinstance(row, dict) else "nothing"
        return CheckpointError(path, f"{at}: {key} is {value[:80]}")

    if not isinstance(row, dict):
        raise refused("name")
    shape = row.get("shape")
    for key in ("name", "dtype"):
        if not isinstance(row.get(key), str):
            raise refused(key)
    if len(row["name"]) > MAX_NAME:
        raise refused("name")
    if not isinstance(shape, list) or not all(_is_count(n) for n in shape):
        raise refused("shape")
    if len(shape) > MAX_DIMENSIONS or not _is_count(numel := math.prod(shape)):
        raise refused("shape")
    if not isinstance(row.get("reason"), str | None):
        raise refused("reason")
    if "reason" not in row and "rms" not in row:
        raise refused("rms")
    figures: dict[str, Any] = {}
    for key in FIGURES:
        figures[key] = row.get(key)
        if figures[key] is not None:
            if isinstance(figures[key], bool) or not isinstance(figures[key], int | float):
                raise refused(key)
            try:
                figures[key] = float(figures[key])
            except OverflowError:
                figures[key] = math.inf
            is_negative = figures[key] < 0 and key in ("rms", "std", "absmax")
            if not math.isfinite(figures[key]) or is_negative:
                raise refused(key)
    for key in COUNTS:
        figures[key] = row.get(key)
        if figures[key] is not None and not _is_count(figures[key]):
            raise refused(key)
    if (counted := sum(figures[key] or 0 for key in COUNTS)) > numel:
        raise CheckpointError(path, f"{at}: {counted} zeros, NaN and inf among {numel} elements")
    return RecordedStats(
        row["name"], row["dtype"], tuple(shape), **figures, unmeasured=row.get("reason")
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


def _globs(path: Path, settings: Mapping[str, Any], option: str) -> tuple[str, ...]:
    globs = settings.get(option, [])
    if not isinstance(globs, list) or not all(isinstance(glob, str) for glob in globs):
        raise CheckpointError(path, f"settings: {option} is no list of globs")
    return tuple(globs)
