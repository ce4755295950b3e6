"""How far what adapters add to the matrices of a model lies apart in two checkpoints."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from statistics import median
from typing import Any

import numpy as np

from scalecheck.checkpoint.adapters.pairs import Adapters, Pair, adapters, without_pairs
from scalecheck.checkpoint.selection import Selection
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import UsageError
from scalecheck.measure import adapted
from scalecheck.measure.adapted import AdaptedMatrix, AskedAdapters, counted, made_of
from scalecheck.measure.comparison import Side
from scalecheck.measure.low_rank import FloatArray, gram, product_norm
from scalecheck.report.formatting import number, percent, printable
from scalecheck.report.report import Column, Table
from scalecheck.settings import Settings

OTHER_SIZES = "its halves have other sizes before and after"


@dataclass(frozen=True)
class AdaptedChange:
    """What became of the product that is added to a matrix. added_rms_before, added_rms_after: RMS
    of ΔW, 0 where a side has no adapter of it; change_rms: RMS of their difference. None where
    `reason` says why."""

    matrix: AdaptedMatrix
    added_rms_before: float | None
    added_rms_after: float | None
    change_rms: float | None
    reason: str = ""

    @property
    def name(self) -> str:
        return self.matrix.name

    @property
    def rms(self) -> float | None:
        return self.matrix.rms

    @property
    def relative_change(self) -> float | None:
        """change_rms over the rms of the matrix."""
        return self.matrix.relative(self.change_rms)


def asked_changes(
    sides: tuple[Side, Side],
    wanted: Iterable[str],
    renamed: Mapping[str, str],
    settings: Settings,
) -> tuple[AskedAdapters, list[AdaptedChange]]:
    """The adapters of both checkpoints beside the base that was given, and what became of them;
    none of reports, which hold no elements. wanted: names of tensors, renamed: those of the later
    side by which it calls them. Raises UsageError where a base is given and neither side has an
    adapter, CheckpointError."""
    names = {*wanted}
    base = adapted.opened_base(settings)
    found = []
    for side in sides:
        own = adapters(side) if isinstance(side, Checkpoint) else Adapters()
        tensors = side.tensors if isinstance(side, Checkpoint) else ()
        found.append(own.of(t for t in tensors if {t.name, renamed.get(t.name)} & names))
    before, after = ({pair.name: pair for pair in own.pairs} for own in found)
    both = Adapters(
        [*{**before, **after}.values()],
        {**found[0].others, **found[1].others},
        notes=[*dict.fromkeys([*found[0].notes, *found[1].notes])],
    )
    if base is not None and not both.pairs:
        paths = f"{sides[0].path} and {sides[1].path}"
        raise UsageError(f"--base {base.path}: neither of {paths} {without_pairs(both)}")
    asked = adapted.matched(both, base, settings.jobs)
    changes = [
        _change(matrix, before.get(name := matrix.pair.name), after.get(name), both.others)
        for matrix in asked.matrices
    ]
    return asked, changes


def _change(
    matrix: AdaptedMatrix, before: Pair | None, after: Pair | None, others: Mapping[str, str]
) -> AdaptedChange:
    there = [pair for pair in (before, after) if pair is not None]
    reason = next((pair.scale.reason for pair in there if pair.scale.reason), "")
    reason = others.get(matrix.pair.name, "") or reason
    if not reason and before and after and _sizes(before) != _sizes(after):
        reason = OTHER_SIZES
    if reason:
        return AdaptedChange(matrix, None, None, None, matrix.unmatched or reason)
    was, now = (0.0 if pair is None else adapted.added_rms(pair) for pair in (before, after))
    moved = now if before is None else was
    if before is not None and after is not None:
        moved = _difference(before, after)
    unknown = adapted.NOT_FINITE if moved is None else ""
    return AdaptedChange(matrix, was, now, moved, matrix.unmatched or unknown)


def _sizes(pair: Pair) -> str:
    return f"{pair.down.shape[1:]} {pair.up.shape[1:]}"


def _difference(before: Pair, after: Pair) -> float | None:
    """RMS of B₂·A₂ − B₁·A₁, scales in B, as (B₂ − B₁)·A₂ + B₁·(A₂ − A₁): what the halves have in
    common does not cancel in a sum of squares."""
    rank = max(before.rank, after.rank)
    scales = [after.scale.factor or 0.0, before.scale.factor or 0.0]

    def of_up(parts: Sequence[FloatArray]) -> Sequence[FloatArray]:
        now, was = (scale * _padded(x, rank) for scale, x in zip(scales, parts, strict=True))
        return [now - was, was]

    def of_down(parts: Sequence[FloatArray]) -> Sequence[FloatArray]:
        now, was = (_padded(x, rank) for x in parts)
        return [now, now - was]

    up = gram([after.up, before.up], of_up)
    down = gram([after.down, before.down], of_down)
    norm = product_norm(up, down)
    return norm / math.sqrt(math.prod(after.shape)) if math.isfinite(norm) else None


def _padded(rows: FloatArray, rank: int) -> FloatArray:
    return np.pad(rows, ((0, rank - len(rows)), (0, 0)))


def summary(changes: Sequence[AdaptedChange]) -> dict[str, Any]:
    """The figures of the sentence."""
    if not changes:
        return {}
    moved = [each.change_rms for each in changes if each.change_rms is not None]
    shares = [each.relative_change for each in changes if each.relative_change is not None]
    return {
        "adapted_matrices": len(changes),
        "adapted_change_rms_median": median(moved) if moved else None,
        "adapted_change_median": median(shares) if shares else None,
        "adapted_change_max": max(shares, default=None),
    }


def sentences(changes: Sequence[AdaptedChange]) -> Iterator[str]:
    """How far the adapters moved their matrices between both."""
    found = summary(changes)
    if not found:
        return
    of = counted(len(changes))
    if (share := found["adapted_change_median"]) is not None:
        most = percent(found["adapted_change_max"])
        yield f"W + ΔW moved by {percent(share)} % of W (median of {of}; at most {most} %)"
    elif (moved := found["adapted_change_rms_median"]) is not None:
        yield f"ΔW moved by RMS {number(moved)} (median of {of}); --base MODEL sets it beside W"


def notes(changes: Sequence[AdaptedChange], asked: AskedAdapters) -> Iterator[str]:
    """Why a change is not known."""
    for reason in dict.fromkeys(each.reason for each in changes if each.change_rms is None):
        yield printable(f"the change of ΔW is not known: {reason}")
    yield from map(printable, asked.found.notes if changes else ())


def _plain(column: Column) -> Column:
    return replace(column, get=column.get or attrgetter(column.name))


COLUMNS = (
    *(_plain(c) for c in adapted.COLUMNS if c.name in ("name", "module", "shape", "rank", "rms")),
    Column("added_rms_before", "ΔW before", "number", "RMS of ΔW before; 0 without an adapter", 2),
    Column("added_rms_after", "ΔW after", "number", "the same after", 3),
    Column("change_rms", "ΔW moved", "number", "RMS of the difference of both"),
    Column(
        "relative_change",
        "moved %",
        "percent",
        "that over rms of the matrix in the base; in tables in %",
    ),
    adapted.COLUMNS[-1],
)
"""The fields of `adapted`, the adapted matrices of a comparison."""


def tables(changes: Sequence[AdaptedChange], selection: Selection) -> list[Table]:
    """The adapted matrices, if there are some; people see them beside all rows as they come."""
    if not changes:
        return []
    left_out = {"module", "shape", "reason"}
    left_out |= set() if any(each.matrix.base for each in changes) else {"rms", "relative_change"}
    shown = [c for c in COLUMNS if c.name not in left_out] if selection.is_whole else []
    return [Table("adapted", COLUMNS, shown, made_of(changes, COLUMNS), adapted.TITLE)]
