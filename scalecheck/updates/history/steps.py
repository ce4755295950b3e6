"""The step at which each checkpoint of a run was saved, by what its files record of it, and the lr
of each step between."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from scalecheck.checkpoint.run.opened import RunCheckpoint
from scalecheck.checkpoint.run.recorded import RecordedRun
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import CheckpointError, UsageError
from scalecheck.report.formatting import plural
from scalecheck.settings import Settings
from scalecheck.theory.lr_curve import LrCurve, PlannedLrs, RecordedLrs
from scalecheck.updates.forecast import planned
from scalecheck.updates.saved_state import UNCERTAIN, States, states_of

BY_NAME, BY_STATE = "its name", "the optimizer state"


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint of a run with the optimizer state that was saved with it. step: None where it is
    not known; step_by: what says it. named_step: the number in its name where that is another."""

    name: str
    checkpoint: Checkpoint
    recorded: RecordedRun
    states: States
    step: int | None = None
    step_by: str = ""
    named_step: int | None = None

    @property
    def label(self) -> str:
        """step 500, or its name."""
        return self.name if self.step is None else f"step {self.step:,}"

    @property
    def state_step(self) -> int | None:
        """How many steps its optimizer state has counted."""
        return self.states.step

    @cached_property
    def saved_lrs(self) -> set[float]:
        """The lrs of its tensors in the state."""
        lrs = {saved_lr(self, tensor.name, tensor.shape) for tensor in self.checkpoint.tensors}
        return {lr for lr in lrs if lr is not None}

    @property
    def has_several_lrs(self) -> bool:
        return len(self.saved_lrs) > 1


def snapshots(found: Sequence[RunCheckpoint]) -> list[Snapshot]:
    """The checkpoints in the order of their steps, where all are known; else as they are given.

    A step that is recorded goes before the number in a name. The optimizer's own count goes before
    it too where all have one, it rises, and none is that of the name: one that falls was reset.
    """
    states = [_states(one.checkpoint) for one in found]
    counted = [state.step for state in states]
    named = [one.number if one.unit != "epoch" else None for one in found]
    is_rising = all(a is not None and b is not None and a < b for a, b in pairwise(counted))
    by_state = is_rising and not any(
        n is not None and n == step for n, step in zip(named, counted, strict=True)
    )
    made = []
    for one, state, number in zip(found, states, named, strict=True):
        step, by = number, BY_NAME
        if one.recorded.step is not None:
            step, by = one.recorded.step, one.recorded.by
        elif by_state and state.step is not None:
            step, by = state.step, BY_STATE
        differs = number is not None and number != step
        made.append(
            Snapshot(
                one.name,
                one.checkpoint,
                one.recorded,
                state,
                step,
                by if step is not None else "",
                number if differs else None,
            )
        )
    if any(one.step is None for one in made):
        return [replace(one, step=None, step_by="") for one in made]
    return sorted(made, key=lambda one: one.step or 0)


def _states(checkpoint: Checkpoint) -> States:
    """The state that was saved with a checkpoint; none where it cannot be read."""
    try:
        return states_of(checkpoint, None)
    except (CheckpointError, UsageError):
        return States(None, checkpoint)


@dataclass(frozen=True)
class Lrs:
    """The lr of each step of a run, None where it is not known, and by what it is."""

    curve: LrCurve | None
    by: str


def lrs_of(run: Sequence[Snapshot], settings: Settings) -> Lrs:
    """By --lr and its schedule, else the lrs that a trainer logged, else those of the states, a
    line between two checkpoints. Raises UsageError where the schedule's options do not fit."""
    last = max((one.step or 0 for one in run), default=0)
    if settings.lr is not None:
        plan = planned(settings, max(1, last, planned_end(run) or 0))
        assert plan is not None
        return Lrs(PlannedLrs(plan, settings.lr), "--lr")
    if settings.schedule != "constant" or settings.warmup or settings.final:
        raise UsageError("--schedule, --warmup and --final: need --lr, the peak lr of the run")
    logged: dict[int, float] = {}
    for one in run:
        logged |= one.recorded.lrs
    if logged:
        count = plural(len(logged), "logged lr")
        return Lrs(RecordedLrs(logged), f"{count} of trainer_state.json")
    saved = {
        one.step: min(one.saved_lrs)
        for one in run
        if one.step is not None and len(one.saved_lrs) == 1
    }
    if saved:
        count = plural(len(saved), "optimizer state")
        return Lrs(RecordedLrs(saved), f"the lrs of {count}, in a line between them")
    return Lrs(None, "")


def planned_end(run: Sequence[Snapshot]) -> int | None:
    """The last step of the run by its trainer; None where that is not recorded."""
    return max((one.recorded.last_step or 0 for one in run), default=0) or None


def saved_lr(one: Snapshot, name: str, shape: tuple[int, ...]) -> float | None:
    """The lr of a tensor in the state; None where it is not certain."""
    lr = one.states.settings(name, shape).get("lr")
    is_number = isinstance(lr, int | float) and lr is not UNCERTAIN and not isinstance(lr, bool)
    return float(lr) if is_number and lr > 0 else None  # type: ignore[operator, arg-type] # a number
