"""What a diff comes to, in a few plain sentences with the numbers in them. They are about tensors,
however its rows are grouped."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from scalecheck.checkpoint.recorded import Recorded
from scalecheck.measure.change import Change
from scalecheck.measure.comparison import STATUSES, Side
from scalecheck.report.formatting import number, printable
from scalecheck.updates.displacement import Displacement, Run


def sentences(tensors: Sequence[Displacement], total: Change) -> Iterator[str]:
    """How many tensors changed, by how much together, which most and least, and how many as far as
    a run would carry them; total: the change of the model."""
    counts = Counter(each.status for each in tensors)
    if counts.keys() == {"identical"}:
        compared = [one for each in tensors for one in each.comparisons if not one.is_copy]
        numel = sum(one.numel for one in compared)
        yield f"no tensor differs: zero change in {numel:,} elements of {len(tensors)} tensors"
        return
    words = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
    yield f"of {len(tensors)} tensors {words or 'none could be compared'}"
    if total.relative_change is not None:
        beside = "" if total.cosine is None else f", at a cosine of {number(total.cosine)}"
        yield (
            f"together, {_left_out(tensors)} left out, they changed by "
            f"{number(total.relative_change)} of their norm{beside}"
        )
    moved = {
        each.name: x
        for each in tensors
        if each.is_of_model and (x := each.relative_change) is not None
    }
    if len(moved) > 1:
        most, least = max(moved, key=moved.__getitem__), min(moved, key=moved.__getitem__)
        yield (
            f"{printable(most)} changed most, by {number(moved[most])} of its norm, "
            f"{printable(least)} least, by {number(moved[least])}"
        )
    positions = [x for t in tensors if t.is_matrix and (x := t.drift_position) is not None]
    if positions:
        below, above = sum(x < 0 for x in positions), sum(x > 1 for x in positions)
        yield (
            f"{len(positions) - below - above} of {len(positions)} matrices moved further than "
            f"noise and less far than drift would carry them, {below} less far, {above} further; "
            f"the median lies at {number(median(positions))}, where noise is 0 and drift 1"
        )


def _left_out(tensors: Sequence[Displacement]) -> str:
    has_others = not all(each.is_of_model for each in tensors)
    return "buffers and what is no part of the model" if has_others else "buffers"


def notes(sides: Sequence[Side], total: Change, run: Run | None) -> Iterator[str]:
    """What the figures leave out."""
    if total.non_finite:
        yield f"{total.non_finite:,} elements are NaN or inf on a side: counted, and in no norm"
    for side in sides:
        if isinstance(side, Recorded):
            yield printable(f"{side.path} is a report: figures are compared, and no elements")
        else:
            yield from (printable(f"{side.path}: {note}") for note in side.layout)
    if run is not None:
        name = run.trainings.of("").name
        yield f"noise and drift are those of {name} without weight decay, which pulls back"
