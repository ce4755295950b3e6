"""What a history comes to: the figures, and the sentences that hold them."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from scalecheck.measure.tracks import Track
from scalecheck.report.finding import SEVERITIES, Finding
from scalecheck.report.formatting import figure, listed, plural, printable, step_percent
from scalecheck.updates.forecast import NOISE_RANGE
from scalecheck.updates.history.findings import resets
from scalecheck.updates.history.followed import Followed, Group
from scalecheck.updates.history.rows import GroupRow, moved
from scalecheck.updates.history.steps import Lrs, Snapshot

_LIKE = (  # the least exponent of each
    (0.85, "like drift"),
    (0.65, "between noise and drift"),
    (0.35, "like noise"),
    (float("-inf"), "slower than noise"),
)

_APART = 0.05  # exponents that differ by this are both told


def figures(
    run: Sequence[Snapshot],
    followed: Sequence[Followed],
    found: Sequence[Finding],
    lrs: Lrs,
) -> dict[str, Any]:
    """The figures of the sentences; about tensors, however rows are grouped."""
    model = [each for each in followed if each.is_of_model]
    whole = GroupRow(Group("model", model)) if model else None
    last = None if whole is None else whole.last
    power = None if whole is None else whole.power
    rows = [GroupRow(Group(each.name, [each])) for each in model]
    matrices = [row for row in rows if row.role not in ("bias", "norm")]
    over_noise = [
        x / walk
        for row in matrices
        if (x := moved(row.last.point.first)) and (walk := row.last.expected_walk_first)
    ]
    ratios = [x for row in matrices if (x := row.last.equilibrium_ratio) is not None]
    ahead = [x for row in matrices if (x := row.last.equilibrium_steps) is not None]
    updates = [x for row in matrices if (x := row.last.relative_update) is not None]
    exponents = [row.exponent for row in matrices if row.exponent is not None]
    stopped = [one.where for one in found if one.rule == "stopped"]
    return {
        "checkpoints": len(run),
        "first_step": run[0].step,
        "last_step": run[-1].step,
        "tensors": len(model),
        "averages": sum(each.kind.kind == "average" for each in followed),
        "relative_change": None if last is None else moved(last.point.first),
        "cosine": None if last is None or last.point.first is None else last.point.first.cosine,
        "last_change": None if last is None else moved(last.point.previous),
        "rms_first": None if whole is None else whole.points[0].rms,
        "rms_last": None if last is None else last.rms,
        "exponent": None if power is None else power.exponent,
        "exponent_error": None if power is None else power.error,
        "exponent_by_lr": None if whole is None else whole.exponent_by_lr,
        "exponents": [min(exponents), max(exponents)] if exponents else None,
        "lrs_by": lrs.by or None,
        "over_noise_median": median(over_noise) if over_noise else None,
        "noise_tensors": len(over_noise),
        "noise_range": [*NOISE_RANGE],
        "relative_update_median": median(updates) if updates else None,
        "measured_tensors": len(updates),
        "equilibrium_ratios": [min(ratios), max(ratios)] if ratios else None,
        "equilibrium_tensors": len(ratios),
        "at_equilibrium": sum(steps == 0 for steps in ahead),
        "equilibrium_steps_median": median(ahead) if ahead else None,
        "stopped": stopped,
        "resets": [run[number].name for number in resets(run)],
        **{f"{word}s": sum(one.severity == word for one in found) for word in SEVERITIES},
    }


def conclusion(summary: Mapping[str, Any]) -> Iterator[str]:
    """How far weights moved, and like what; what stopped and was reset."""
    first, last = summary["first_step"], summary["last_step"]
    steps = "" if first is None else f", steps {first:,} to {last:,}"
    words = f"{plural(summary['checkpoints'], 'checkpoint')}{steps}"
    if summary["relative_change"] is not None:
        words += f": weights moved {_share(summary['relative_change'])} from the start"
        if (exponent := summary["exponent"]) is not None:
            by_lr, error = summary["exponent_by_lr"], summary["exponent_error"]
            judged = exponent if by_lr is None else by_lr
            like = next(name for least, name in _LIKE if judged >= least)
            words += f", {like} (exponent {exponent:.2f} ± {error:.2f}"
            if by_lr is not None and abs(by_lr - exponent) >= _APART:
                words += f", {by_lr:.2f} with the lr's changes taken out"
            words += "; noise 0.5, drift 1)"
    told = []
    if stopped := summary["stopped"]:
        count = plural(len(stopped), "tensor")
        told.append(f"{count} stopped: {listed(stopped)}")
    if again := summary["resets"]:
        told.append(f"moments were reset before {listed(again)}")
    yield printable("; ".join([words, *told])) + "."
    if summary["errors"] or summary["warnings"]:
        yield (
            f"{plural(summary['errors'], 'error')}, {plural(summary['warnings'], 'warning')}, "
            f"{plural(summary['notes'], 'note')}: see Findings."
        )


def _share(x: float) -> str:
    """A relative change in words."""
    return f"{figure(x)} times their norm" if x >= 1 else f"{figure(100 * x)} %"


def sentences(summary: Mapping[str, Any]) -> Iterator[str]:
    """What the run is beside theory."""
    if (over := summary["over_noise_median"]) is not None:
        low, high = summary["noise_range"]
        yield (
            f"From the first checkpoint to the last tensors moved {figure(over)} times as far as "
            f"noise would have carried them (median of {summary['noise_tensors']}; {low:g} to "
            f"{high:g} times is usual), by {summary['lrs_by']}."
        )
    if (update := summary["relative_update_median"]) is not None:
        yield (
            f"The last update moves a tensor by {step_percent(update)} (median of "
            f"{summary['measured_tensors']}, by the optimizer state)."
        )
    if (ratios := summary["equilibrium_ratios"]) is not None:
        count = summary["equilibrium_tensors"]
        words = (
            f"Their rms is {figure(ratios[0])} to {figure(ratios[1])} times the one that weight "
            f"decay holds at this lr ({plural(count, 'tensor')})"
        )
        if (steps := summary["equilibrium_steps_median"]) is not None:
            there = f"{summary['at_equilibrium']} of them" if summary["at_equilibrium"] else "none"
            words += (
                f"; {there} within 10 % of it, and half will be after {figure(steps)} more steps"
            )
        yield f"{words}."


def notes(
    run: Sequence[Snapshot], lrs: Lrs, tracks: Sequence[Track], summary: Mapping[str, Any]
) -> Iterator[str]:
    """What is not known, and why."""
    if run[0].step is None:
        yield "steps are not known, so nothing is said of lrs, noise and the exponent"
    elif lrs.curve is None:
        yield (
            "the lrs of the run are not known: no trainer_state.json and no optimizer state has "
            "them; --lr and --schedule say them"
        )
    partial = [track.name for track in tracks if len(track.tensors) < len(run)]
    if partial:
        yield printable(
            f"{plural(len(partial), 'tensor')} not in all checkpoints under one shape: "
            f"{listed(partial)}"
        )
    if run[0].step is not None and summary["exponent"] is None and len(run) < 4:
        yield "an exponent takes 4 checkpoints or more"
    for one in run:
        if one.recorded.problem:
            yield printable(one.recorded.problem)
        if one.states.unread and one.states.notes:
            yield printable(f"{one.name}: {one.states.notes[-1]}")
