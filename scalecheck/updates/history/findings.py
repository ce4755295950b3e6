"""What is wrong with a run, as findings with a severity and a name."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import median

from scalecheck.checkpoint.run.opened import Unopened
from scalecheck.report.finding import SEVERITIES, Finding, Severity
from scalecheck.report.formatting import figure, printable, rate
from scalecheck.report.report import Column
from scalecheck.theory.lr_curve import lr_sums
from scalecheck.updates.history.followed import Followed, Group
from scalecheck.updates.history.growth import growth, reached
from scalecheck.updates.history.rows import STOPPED, GroupPoint, GroupRow, rates
from scalecheck.updates.history.steps import BY_STATE, Snapshot

LAG = 0.1  # share of a run's steps that a state's own count may lack: steps without a gradient
JUMP = 2.0  # times by which the rate of two stretches differs where the lr was changed
AGREE = 0.8  # share of the tensors whose rates change in the same way then
DECAYED = 0.9  # of an average's rms beside the model's at the start
FASTER = 1.25  # pace from which on growth is more than that of noise
_MOST = 3  # changes of the lr that are told


def findings(
    run: Sequence[Snapshot],
    unread: Sequence[Unopened],
    followed: Sequence[Followed],
    last_step: int | None,
) -> list[Finding]:
    """All of them, the most severe first. last_step: the planned end of the run."""
    model = [each for each in followed if each.is_of_model]
    found = [
        *_unread(unread),
        *_not_finite(followed),
        *_resets(run),
        *_stopped(model),
        *_averages(followed, model),
        *_grown(model, last_step),
        *_lr_changes(run, model),
        *_names(run),
    ]
    return sorted(found, key=lambda one: SEVERITIES.index(one.severity or "note"))


def _found(
    severity: Severity,
    rule: str,
    message: str,
    each: Followed | None = None,
    value: float | None = None,
) -> Finding:
    where, group = ("", "") if each is None else (each.name, each.family)
    return Finding(where, group, message, value, severity=severity, rule=rule)


@dataclass(frozen=True)
class Told:
    """What people see of a finding, or of one of several of a family: its place says how many."""

    severity: str
    rule: str
    where: str
    tensors: int
    message: str

    @property
    def line(self) -> str:
        """warning[stopped] w.3, and 2 more of its family: it does not change after step 500."""
        more = f", and {self.tensors - 1} more of its family" if self.tensors > 1 else ""
        where = f" {self.where}{more}:" if self.where else ":"
        return printable(f"{self.severity}[{self.rule}]{where} {self.message}")


TOLD = (
    Column("severity", "severity", "sentence", "error, warning or note"),
    Column("rule", "rule", "text", "the name of what was found"),
    Column("where", "where", "text", "the tensor's name; empty for the run as a whole"),
    Column("tensors", "tensors", "count", "tensors of its family of which the same is found", 1),
    Column("message", "message", "sentence", "what was found, of the first of them"),
)


def told(found: Sequence[Finding]) -> list[Told]:
    """The findings, of one kind and family the first."""
    of_family: dict[tuple[str, str, str], list[Finding]] = {}
    for place, one in enumerate(found):
        key = (one.severity, one.rule, one.group or f"{place}")
        of_family.setdefault(key, []).append(one)
    return [
        Told(some[0].severity, some[0].rule, some[0].where, len(some), some[0].message)
        for some in of_family.values()
    ]


def _unread(unread: Sequence[Unopened]) -> Iterator[Finding]:
    for one in unread:
        yield _found("error", "not-read", printable(f"{one.name} cannot be read: {one.problem}"))


def _not_finite(followed: Sequence[Followed]) -> Iterator[Finding]:
    """The first checkpoint at which a tensor is not finite."""
    for each in followed:
        for number, point in each.points.items():
            if count := point.numel - point.finite:
                label = each.expectation.run[number].label
                elements = "element is" if count == 1 else "elements are"
                message = f"{count:,} {elements} NaN or inf at {label}, for the first time"
                yield _found("error", "not-finite", message, each, count)
                break


def resets(run: Sequence[Snapshot]) -> list[int]:
    """The checkpoints before which the optimizer state was begun anew: its count is lower than at
    the checkpoint before, or no higher than the steps since it. Before the first one, if it counts
    as many steps less than the run at the next one too. A count that is one share of the run's
    steps throughout, as each of two optimizers has half of them, was not."""
    found = []
    for number, (before, one) in enumerate(pairwise(run), 1):
        count, last = one.state_step, before.state_step
        if count is None or last is None:
            continue
        if count < last:
            found.append(number)
        if not (one.step and before.step) or BY_STATE in (one.step_by, before.step_by):
            continue
        lag, lag_before, since = one.step - count, before.step - last, one.step - before.step
        if number == 1 and lag_before > LAG * before.step and abs(lag - lag_before) < LAG * since:
            found.append(0)
        is_share = abs(count / one.step - last / before.step) <= LAG * last / before.step
        if last <= count <= since and not is_share:
            found.append(number)
    return sorted(found)


def _resets(run: Sequence[Snapshot]) -> Iterator[Finding]:
    for number in resets(run):
        one, count = run[number], run[number].state_step or 0
        if number:
            before = run[number - 1]
            message = (
                f"moments were reset before {one.label}: its optimizer state has counted {count:,} "
                f"steps, that of {before.label} had counted {before.state_step:,}"
            )
        else:
            message = (
                f"moments were reset before {one.label}: its optimizer state has counted {count:,} "
                "steps"
            )
        yield _found("warning", "moments-reset", message, value=count)


def _stopped(model: Sequence[Followed]) -> Iterator[Finding]:
    """Tensors that do not move while others do."""
    whole = rates(GroupRow(Group("model", model)).points) if model else {}
    for each in model:
        row = GroupRow(Group(each.name, [each]))
        still = [
            point.number
            for point in row.points
            if (change := point.point.previous) is not None
            if not change.changed and whole.get(point.number)
        ]
        moving = len(row.points) - 1 - len(still)
        if row.status == "never moved":
            if still:
                yield _found("note", "never-moved", "does not change in the whole run", each)
        elif row.status == "stopped" and still:
            number = _since(still)
            label = each.expectation.run[number - 1].label
            message = f"does not change after {label}, while the model does"
            yield _found("warning", "stopped", message, each)
        elif still and moving:
            run = each.expectation.run
            first = still[0]
            message = (
                f"does not change between {run[first - 1].label} and {run[first].label}, while the "
                "model does"
            )
            yield _found("warning", "did-not-move", message, each, len(still))
        elif share := _slowed(rates(row.points), whole):
            label = each.expectation.run[row.last.number - 1].label
            message = (
                f"hardly changes after {label}: it moves {figure(1 / share)} times less than "
                "usual, beside the rest of the model"
            )
            yield _found("warning", "stopped", message, each, share)


def _since(still: Sequence[int]) -> int:
    """The first of the numbers at the end that follow each other."""
    first = still[-1]
    for number in reversed(still[:-1]):
        if number != first - 1:
            break
        first = number
    return first


def _slowed(own: dict[int, float], whole: dict[int, float]) -> float | None:
    """The rate of the last stretch beside the usual one, over the same of the model, where that
    share is below STOPPED."""
    if len(own) < 3 or not whole or max(own) != max(whole):
        return None
    last, usual = own[max(own)], median(own.values())
    of_model = whole[max(whole)] / median(whole.values())
    share = last / usual / of_model if usual and of_model else 1.0
    return share if 0 < share < STOPPED else None


def _averages(followed: Sequence[Followed], model: Sequence[Followed]) -> Iterator[Finding]:
    """An average of the model that does not move, or shrinks beside it."""
    averages = [each for each in followed if each.kind.kind == "average"]
    if not averages or not model:
        return
    own, whole = GroupRow(Group("average", averages)), GroupRow(Group("model", model))
    names = f"{len(averages)} tensors" if len(averages) > 1 else averages[0].name
    if own.status == "never moved" and whole.status != "never moved":
        message = f"the average of the model ({names}) does not change, while the model does"
        yield _found("warning", "average-still", message, averages[0])
        return
    scale = {point.number: point.rms for point in whole.points}
    ratios = [
        point.rms / beside
        for point in own.points
        if point.rms is not None and (beside := scale.get(point.number))
    ]
    is_falling = all(b < a for a, b in pairwise(ratios))
    if len(ratios) > 2 and is_falling and ratios[-1] < DECAYED * ratios[0]:
        message = (
            f"the average of the model ({names}) decays: its rms is {figure(ratios[-1])} times the "
            f"model's, {figure(ratios[0])} times at the start"
        )
        yield _found("warning", "average-decays", message, averages[0], ratios[-1])


def _sizes(each: Followed, name: str) -> tuple[list[int], list[float]]:
    """The steps at which a tensor has a size, and the sizes."""
    run = each.expectation.run
    known = [
        (step, size)
        for number, point in each.points.items()
        if (step := run[number].step) is not None
        if (size := getattr(point, name)) is not None and point.finite == point.numel
    ]
    return [step for step, _ in known], [size for _, size in known]


def _grown(model: Sequence[Followed], last_step: int | None) -> Iterator[Finding]:
    """Norms that grow without an end in sight, and those that leave their type before the end."""
    for each in model:
        dtype = each.track.last.dtype
        steps, tops = _sizes(each, "absmax")
        step = reached(steps, tops, dtype.largest)
        if step is not None and last_step is not None and step <= last_step:
            message = (
                f"its largest |w|, {figure(tops[-1])}, grows: at this rate it is over "
                f"{dtype.name}'s {figure(dtype.largest)} by step {math.ceil(step):,} of "
                f"{last_step:,}"
            )
            yield _found("error", "overflow", message, each, step)
            continue
        steps, sizes = _sizes(each, "rms")
        found = growth(steps, sizes)
        if found is None or not found.is_unbounded:
            continue
        point = GroupPoint(Group(each.name, [each]), max(each.points))
        if point.equilibrium_ratio is not None and point.equilibrium_ratio < 1:
            continue  # weight decay bounds it
        by_lr = growth(_noise_times(each, steps), sizes)
        pace = found.pace if by_lr is None else min(found.pace, by_lr.pace)
        message = (
            f"its rms grew {figure(found.ratio)} times, {figure(found.pace)} times as fast in the "
            "second half of the run as in the first: nothing bounds it"
        )
        severity: Severity = "warning" if pace > FASTER else "note"
        yield _found(severity, "growth", message, each, found.ratio)


def _noise_times(each: Followed, steps: Sequence[int]) -> list[float]:
    """Σlr² from the first of the steps to each, as noise makes squares grow; none where the lrs are
    not known."""
    curve = each.curve(max(each.points))
    if curve is None:
        return []
    sums = [lr_sums(curve, a, b).second for a, b in pairwise(steps)]
    return [*accumulate(sums, initial=0.0)]


def _lr_changes(run: Sequence[Snapshot], model: Sequence[Followed]) -> Iterator[Finding]:
    """Checkpoints after which nearly all tensors move by another rate a step."""
    if any(one.step is None for one in run):
        return
    whole = Group("model", model)
    of_model = rates(GroupRow(whole).points) if model else {}
    of_each = [rates(GroupRow(Group(each.name, [each])).points) for each in model]
    jumps = []
    for before, number in pairwise(sorted(of_model)):
        if not of_model[before] or not of_model[number]:
            continue
        factor = of_model[number] / of_model[before]
        own = [
            each[number] / each[before] for each in of_each if each.get(before) and number in each
        ]
        agree = sum((x > 1.5) if factor > 1 else (x < 1 / 1.5) for x in own)
        if max(factor, 1 / factor) >= JUMP and own and agree >= AGREE * len(own):
            jumps.append((abs(math.log(factor)), before, number, factor))
    for _, before, number, factor in sorted(jumps, reverse=True)[:_MOST]:
        at, words = run[before].label, "less" if factor < 1 else "more"
        message = (
            f"after {at} weights move {figure(max(factor, 1 / factor))} times {words} per step "
            f"than before it: {_recorded(whole, before - 1, before, number)}"
        )
        yield _found("note", "lr-change", message, value=factor)


def _recorded(model: Group, *numbers: int) -> str:
    """What the recorded lrs say of two stretches."""
    before, after = (model.mean_lr(a, b) for a, b in pairwise(numbers))
    if before is None or after is None:
        return "the lr was changed, or the gradients did"
    if before and max(before, after) > 1.2 * min(before, after):
        return f"the lr goes from {rate(before)} to {rate(after)} (means)"
    return f"the recorded lr stays at {rate(after)}"


def _names(run: Sequence[Snapshot]) -> Iterator[Finding]:
    """Names that count other steps than the files record."""
    differ = [one for one in run if one.named_step is not None]
    if differ:
        one = differ[0]
        more = f"; so in {len(differ)} of {len(run)}" if len(differ) > 1 else ""
        message = printable(
            f"{one.name} is of step {one.step:,} by {one.step_by}, its name says "
            f"{one.named_step:,}{more}"
        )
        yield _found("note", "step-name", message, value=len(differ))
