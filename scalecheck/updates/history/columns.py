"""The columns of a history: of a family at a checkpoint, of a family, and of a checkpoint."""

from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from typing import Any

from scalecheck.measure.groups import NAME, ROLE
from scalecheck.report.report import Column
from scalecheck.updates.history.rows import LEAST, GroupPoint, GroupRow


def _change(which: str, name: str) -> Callable[[GroupPoint], Any]:
    """A figure of the change since the checkpoint before, the first or the chosen one."""

    def read(point: GroupPoint) -> Any:
        change = getattr(point.point, which)
        return None if change is None else getattr(change, name)

    return read


_OF_LAST = "‖ΔW‖/‖W‖ since the checkpoint before, W before; in tables in %"
POINTS = (
    NAME,
    Column("checkpoint", "checkpoint", "text", "the checkpoint's name in the run"),
    Column("step", "step", "count", "the step it was saved at; null where that is not known"),
    Column("tensors", "tensors", "count", "number of tensors in the row"),
    Column("lr", "lr", "setting", "learning rate of that step, as recorded or given"),
    Column("rms", "rms", "number", "√mean(w²) of the finite elements"),
    Column("absmax", "absmax", "number", "largest |w|", get=attrgetter("point.absmax")),
    Column(
        "not_finite",
        "not finite",
        "count",
        "elements that are NaN or inf",
        get=lambda each: each.point.numel - each.point.finite,
    ),
    Column(
        "relative_change",
        "change %",
        "percent_of_norm",
        _OF_LAST,
        get=_change("previous", "relative_change"),
    ),
    Column(
        "cosine",
        "cosine",
        "number",
        "of the angle to the checkpoint before",
        get=_change("previous", "cosine"),
    ),
    Column(
        "changed",
        "changed %",
        "percent",
        "share of elements that differ from the checkpoint before",
        get=_change("previous", "changed_share"),
    ),
    Column(
        "relative_change_first",
        "from start %",
        "percent_of_norm",
        "‖ΔW‖/‖W‖ since the first checkpoint, W there",
        get=_change("first", "relative_change"),
    ),
    Column(
        "cosine_first",
        "cosine to start",
        "number",
        "of the angle to the first checkpoint",
        get=_change("first", "cosine"),
    ),
    Column(
        "relative_change_against",
        "from that %",
        "percent_of_norm",
        "‖ΔW‖/‖W‖ between it and the checkpoint of `--against`, W there",
        get=_change("chosen", "relative_change"),
    ),
    Column(
        "cosine_against",
        "cosine to that",
        "number",
        "of the angle to the checkpoint of `--against`",
        get=_change("chosen", "cosine"),
    ),
    Column(
        "expected_walk",
        "noise %",
        "percent_of_norm",
        "displacement over rms since the checkpoint before that the lrs give for gradients of "
        "--snr, by default noise",
    ),
    Column(
        "expected_drift",
        "drift %",
        "percent_of_norm",
        "the same for gradients that keep their sign: the bound",
    ),
    Column(
        "expected_walk_first", "noise %", "percent_of_norm", "expected_walk since the first one"
    ),
    Column(
        "expected_drift_first", "drift %", "percent_of_norm", "expected_drift since the first one"
    ),
    Column(
        "relative_update",
        "update % per step",
        "percent_per_step",
        "RMS of the last update over that of the weights, by the optimizer state saved with the "
        "checkpoint; null where none tells it",
    ),
    Column(
        "equilibrium_rms",
        "equilibrium",
        "number",
        "rms at which updates and weight decay hold it at this lr",
    ),
    Column("equilibrium_ratio", "of equilibrium", "number", "rms over equilibrium_rms"),
    Column(
        "equilibrium_steps",
        "steps to it",
        "count",
        "steps at this lr until its rms is within 10 % of equilibrium_rms; 0 where it is",
    ),
)


def _last(name: str) -> Callable[[GroupRow], Any]:
    """What the last point has by the column of this name."""
    read = next(column.read for column in POINTS if column.name == name)
    return lambda row: read(row.last)


def _of_last(name: str, rank: int, title: str = "") -> Column:
    column = next(column for column in POINTS if column.name == name)
    words = f"at the last checkpoint: {column.help}"
    return replace(column, get=_last(name), help=words, rank=rank, title=title or column.title)


GROUPS = (
    NAME,
    Column("status", "status", "sentence", "moves, stopped, or never moved", 8),
    ROLE,
    Column("tensors", "tensors", "count", "number of tensors in the row", 7),
    Column("numel", "numel", "count", "number of elements", 8),
    Column(
        "rms_by_checkpoint",
        "rms over steps",
        "spark",
        "rms at each checkpoint, in order; drawn on a logarithmic scale",
        1,
    ),
    _of_last("rms", 3, "rms"),
    Column("rms_ratio", "× rms", "number", "rms over that of the first checkpoint", 3),
    Column(
        "change_by_checkpoint",
        "change over steps",
        "spark",
        "relative_change at each checkpoint, in order; drawn on a logarithmic scale",
        2,
    ),
    _of_last("relative_change", 4, "last %"),
    _of_last("relative_change_first", 0),
    _of_last("cosine_first", 9),
    Column(
        "exponent",
        "exponent",
        "number",
        "p of ‖W − W first‖ ∝ steps^p by least squares of logarithms: 0.5 is noise, 1 is drift; "
        f"null of less than {LEAST} checkpoints",
        3,
    ),
    Column("exponent_error", "±", "number", "its standard error", 3),
    Column(
        "exponent_by_lr",
        "at one lr",
        "number",
        "the exponent with the changes of the lr taken out, so that √Σlr² is 0.5 and Σlr is 1; "
        "null where the lrs are not known",
        8,
    ),
    _of_last("expected_walk_first", 6),
    _of_last("expected_drift_first", 6),
    _of_last("relative_update", 5),
    _of_last("equilibrium_ratio", 7),
    _of_last("equilibrium_steps", 6),
)
_RANKS = {  # of the columns of a checkpoint, in their order
    "checkpoint": 0,
    "step": 0,
    "lr": 4,
    "rms": 2,
    "relative_change": 1,
    "relative_change_first": 3,
    "relative_update": 5,
    "cosine": 7,
    "cosine_first": 6,
    "expected_walk": 8,
    "expected_drift": 8,
    "absmax": 8,
    "not_finite": 8,
}
CHECKPOINTS = (
    *(
        replace(column, rank=rank)
        for name, rank in _RANKS.items()
        for column in POINTS
        if column.name == name
    ),
    Column(
        "state_step",
        "state's step",
        "count",
        "steps that the optimizer state has counted",
        10,
        get=lambda each: each.group.run[each.number].state_step,
    ),
    Column(
        "step_by",
        "step by",
        "sentence",
        "what says the step",
        11,
        get=lambda each: each.group.run[each.number].step_by or None,
    ),
)
