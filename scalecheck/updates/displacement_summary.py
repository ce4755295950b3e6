"""What a diff comes to, in a few plain sentences with the numbers in them. They are about tensors,
however its rows are grouped."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from scalecheck.checkpoint.recorded import Recorded
from scalecheck.measure.change import Change
from scalecheck.measure.comparison import STATUSES, Side
from scalecheck.report.formatting import number, plural, printable
from scalecheck.updates.displacement import Displacement
from scalecheck.updates.forecast import NEXT_WITHIN, NOISE_RANGE


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
    yield from _beside_noise(tensors)
    yield from _ahead(tensors)


def figures(tensors: Sequence[Displacement]) -> dict[str, Any]:
    """The figures of the sentences on a run; none without --steps."""
    run = tensors[0].run if tensors else None
    if run is None:
        return {}
    matrices = [each for each in tensors if each.is_matrix]
    known = [x for each in matrices if (x := _over_noise(each)) is not None]
    ahead = [x for each in matrices if (x := each.next_change()) is not None]
    low, high = NOISE_RANGE
    found: dict[str, Any] = {
        "steps": run.steps,
        "next_matrices": len(ahead),
        "next_change_median": median(ahead) if ahead else None,
        "next_change_10_median": median(ahead) * 10**0.5 if ahead else None,
        "next_within": NEXT_WITHIN,
    }
    if run.plan is None:
        return found
    return found | {
        "noise_matrices": len(known),
        "noise_range": [low, high],
        "over_noise_median": median(known) if known else None,
        "in_noise_range": sum(low <= x <= high for x in known),
        "below_noise": sum(x < 1 for x in known),
    }


def _over_noise(each: Displacement) -> float | None:
    """Its change over what noise would have changed."""
    moved, walk = each.relative_change, each.expected_walk
    return moved / walk if moved is not None and walk else None


def _beside_noise(tensors: Sequence[Displacement]) -> Iterator[str]:
    """How far matrices moved beside noise, and which have no such figure."""
    found = figures(tensors)
    if not found or "noise_range" not in found:
        return
    if count := found["noise_matrices"]:
        low, high = found["noise_range"]
        yield (
            f"Matrices moved {found['over_noise_median']:.3g} times as far as noise would have "
            f"carried them (median of {count}; weight decay left out): {found['in_noise_range']} "
            f"lie within {low:g} to {high:g} times, as 9 of 10 tensors of AdamW runs do, and "
            f"{found['below_noise']} moved less far than noise."
        )
    reasons = Counter(each.reason for each in tensors if each.is_matrix and each.reason)
    for reason, n in reasons.items():
        yield f"No displacement by noise for {plural(n, 'tensor')} {reason}."


def _ahead(tensors: Sequence[Displacement]) -> Iterator[str]:
    """How far as many steps again and ten times as many will carry matrices."""
    found = figures(tensors)
    if found and found["next_matrices"]:
        steps, change = found["steps"], found["next_change_median"]
        yield (
            f"The next {steps:,} steps at the same lr will move a matrix by about {change:.3g} "
            f"times its norm, the next {10 * steps:,} by about "
            f"{found['next_change_10_median']:.3g} (median of {found['next_matrices']}). In test "
            f"runs 9 of 10 tensors were within a factor of {found['next_within']:g} of this "
            "forecast, the last displacement times √(steps/steps before)."
        )


def _left_out(tensors: Sequence[Displacement]) -> str:
    has_others = not all(each.is_of_model for each in tensors)
    return "buffers and what is no part of the model" if has_others else "buffers"


def notes(sides: Sequence[Side], total: Change) -> Iterator[str]:
    """What the figures leave out."""
    if total.non_finite:
        yield f"{total.non_finite:,} elements are NaN or inf on a side: counted, and in no norm"
    for side in sides:
        if isinstance(side, Recorded):
            yield printable(f"{side.path} is a report: figures are compared, and no elements")
        else:
            yield from (printable(f"{side.path}: {note}") for note in side.layout)
