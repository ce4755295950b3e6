"""What a diff comes to, in a few plain sentences with the numbers in them. They are about tensors,
however its rows are grouped."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from scalecheck.checkpoint.recorded import Recorded
from scalecheck.measure.change import Change
from scalecheck.measure.comparison import STATUSES, Side
from scalecheck.report.formatting import figure, plural, printable
from scalecheck.updates.displacement import Displacement
from scalecheck.updates.forecast import NEXT_WITHIN, NOISE_RANGE

_BECAME = {
    "identical": "are identical",
    "alike": "have equal figures",
    "changed": "changed",
    "retyped": "changed type",
    "reshaped": "changed shape",
    "added": "were added",
    "removed": "were removed",
}


def conclusion(tensors: Sequence[Displacement], found: Mapping[str, Any]) -> Iterator[str]:
    """How many tensors changed, by how much together, and which most and least; found: the
    figures."""
    counts = found["statuses"]
    count = plural(len(tensors), "tensor")
    if not tensors:
        return
    if counts == {"identical": len(tensors)}:
        yield f"Nothing changed: {count} with {plural(found['elements'], 'element')} are identical."
        return
    order = [*STATUSES[2:], *STATUSES[:2]]  # what differs before what does not
    became = [
        f"{n:,} {_BECAME[status] if n > 1 else _singular(_BECAME[status])}"
        for status in order
        if (n := counts.get(status, 0))
    ]
    if not became:
        yield f"None of {count} can be compared."
        return
    of_all = f"{became[0].replace(' ', f' of {count} ', 1)}"
    words = ", ".join([of_all, *became[1:]])
    if (change := found["relative_change"]) is not None:
        cosine = "" if found["cosine"] is None else f", cosine {found['cosine']:.3g}"
        words += f": together by {_of(change, 'their norm')}{cosine}"
    yield f"{words}."
    if found["most_changed"] != found["least_changed"]:
        yield (
            f"Most: {printable(found['most_changed'])}, {_of(found['most_change'], 'its norm')}. "
            f"Least: {printable(found['least_changed'])}, {_of(found['least_change'], 'its norm')}."
        )


def _singular(words: str) -> str:
    """What one tensor became: was added, is identical."""
    verb, _, rest = words.partition(" ")
    return f"{ {'are': 'is', 'were': 'was', 'have': 'has'}.get(verb, verb) } {rest}".strip()


def sentences(tensors: Sequence[Displacement], found: Mapping[str, Any]) -> Iterator[str]:
    """How the change is beside noise, and how far the next steps go; found: the figures."""
    if found["relative_change"] is not None and (left_out := _left_out(tensors)):
        yield f"Norms leave out {left_out}."
    yield from _beside_noise(tensors, found)
    yield from _ahead(found)


def _of(change: float, whole: str) -> str:
    """A relative change in words."""
    if change >= 1:
        return f"{figure(change)} times {whole}"
    return f"{figure(100 * change)} % of {whole}"


def figures(tensors: Sequence[Displacement], total: Change) -> dict[str, Any]:
    """The figures of the sentences."""
    counts = Counter(each.status for each in tensors)
    compared = [one for each in tensors for one in each.comparisons if not one.is_copy]
    moved = {
        each.name: x
        for each in tensors
        if each.is_of_model and (x := each.relative_change) is not None
    }
    most = max(moved, key=moved.__getitem__, default=None)
    least = min(moved, key=moved.__getitem__, default=None)
    return {
        "statuses": {status: counts[status] for status in STATUSES if counts[status]},
        "elements": sum(one.numel for one in compared),
        "relative_change": total.relative_change,
        "cosine": total.cosine,
        "most_changed": most,
        "most_change": None if most is None else moved[most],
        "least_changed": least,
        "least_change": None if least is None else moved[least],
        **_run_figures(tensors),
    }


def _run_figures(tensors: Sequence[Displacement]) -> dict[str, Any]:
    """The figures on the run between both sides and the next; none without --steps."""
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


def _beside_noise(tensors: Sequence[Displacement], found: Mapping[str, Any]) -> Iterator[str]:
    """How far matrices moved beside noise, and which have no such figure."""
    if count := found.get("noise_matrices"):
        (low, high), inside = found["noise_range"], found["in_noise_range"]
        yield (
            f"Matrices moved {figure(found['over_noise_median'])} times as far as noise would have "
            f"carried them (median of {count}; weight decay left out): {inside} "
            f"{'lies' if inside == 1 else 'lie'} within {low:g} to {high:g} times, as 9 of 10 "
            f"tensors of AdamW runs do, and {found['below_noise']} moved less far than noise."
        )
    reasons = Counter(each.reason for each in tensors if each.is_matrix and each.reason)
    for reason, n in reasons.items():
        yield f"No displacement by noise for {plural(n, 'tensor')} {reason}."


def _ahead(found: Mapping[str, Any]) -> Iterator[str]:
    """How far as many steps again and ten times as many will carry matrices."""
    if count := found.get("next_matrices"):
        steps, change = found["steps"], _of(found["next_change_median"], "its norm")
        ahead = "step" if steps == 1 else f"{steps:,} steps"
        yield (
            f"The next {ahead} at the same lr will move a matrix by about {change}, the "
            f"next {10 * steps:,} by about {_of(found['next_change_10_median'], 'its norm')} "
            f"(median of {count} matrices, each by itself). In test runs 9 of 10 tensors were "
            f"within a factor of {found['next_within']:g} of this forecast, the last "
            "displacement times √(steps/steps before)."
        )


def _left_out(tensors: Sequence[Displacement]) -> str:
    """What norms do not count, as it is compared by itself."""
    has_buffers = any(each.role == "buffer" for each in tensors)
    has_others = not all(each.is_of_model for each in tensors)
    words = ["buffers"] * has_buffers + ["what is no part of the model"] * has_others
    return " and ".join(words)


def notes(sides: Sequence[Side], total: Change) -> Iterator[str]:
    """What the figures leave out."""
    if total.non_finite:
        yield f"{total.non_finite:,} elements are NaN or inf on a side, and left out of norms"
    for side in sides:
        if isinstance(side, Recorded):
            yield printable(f"{side.path} is a report: its figures are compared, elements are not")
        else:
            yield from (printable(f"{side.path}: {note}") for note in side.layout)
