"""The forecast of a matrix that an adapter adds to: what a step of the adapter's halves is of the
matrix itself."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from statistics import median
from typing import Any

from scalecheck.checkpoint.selection import Selection
from scalecheck.measure import adapted as inspected
from scalecheck.measure.adapted import (
    ADDED_RMS,
    MODULE,
    RANK,
    SCALE,
    SHARE,
    AskedAdapters,
    base_hint,
    counted,
    made_of,
)
from scalecheck.measure.groups import Merge, mean_square
from scalecheck.report.formatting import figure, percent, printable, rate
from scalecheck.report.part import Part
from scalecheck.report.report import Column, Table
from scalecheck.updates.adapter_steps import AdapterStep, adapter_step
from scalecheck.updates.tensor_forecast import Forecaster, TensorForecast

NEITHER = "neither half of its adapter is trained"
NOT_CARRIED = "no formula is known for how far many steps of both halves move B·A"


@dataclass(frozen=True, kw_only=True)
class AdaptedForecast(TensorForecast):
    """The forecast of a matrix of the base: its update is the step of ΔW, and stands over its own
    rms. What follows the elements of a tensor that is trained itself, as rounding and decay, is not
    said of it."""

    adapter: AdapterStep = field(repr=False)

    @property
    def is_on_base(self) -> bool:
        return True

    @property
    def lr(self) -> float | None:
        """None where it is not known, or that of the halves differs."""
        return self.adapter.lr

    @property
    def trained(self) -> Sequence[TensorForecast]:
        """Those of the halves."""
        return self.adapter.halves

    @property
    def module(self) -> str:
        return self.adapter.matrix.pair.module

    @property
    def rank(self) -> int:
        return self.adapter.matrix.pair.rank

    @property
    def scale(self) -> float | None:
        return self.adapter.matrix.pair.scale.factor

    @property
    def added_rms(self) -> float | None:
        return self.adapter.added_rms

    @property
    def added_relative(self) -> float | None:
        return self.adapter.added_relative

    @property
    def full_lr(self) -> float | None:
        return self.adapter.full_lr


@dataclass(frozen=True)
class AdapterForecasts:
    """The steps of all adapters that are trained. on_base: the forecasts of the matrices of a base
    that was given. still: why the others have none."""

    asked: AskedAdapters
    steps: Sequence[AdapterStep]
    on_base: Sequence[AdaptedForecast]
    still: Mapping[str, str]

    @property
    def is_on_base(self) -> bool:
        return self.asked.base is not None

    def rows(
        self, forecasts: Sequence[TensorForecast]
    ) -> tuple[Sequence[TensorForecast], Sequence[TensorForecast]]:
        """What rows are of, and the halves that they stand for: with a base its matrices and the
        tensors that are trained themselves, without one every tensor of the checkpoint."""
        if not self.is_on_base:
            return forecasts, ()
        names = {half.name for pair in self.asked.found.pairs for half in pair.halves}
        halves = [each for each in forecasts if each.name in names]
        return [*self.on_base, *(each for each in forecasts if each.name not in names)], halves

    @property
    def skipped(self) -> list[dict[str, Any]]:
        """The modules of which no update is known, as a report lists what was not analysed."""
        missing = {**self.asked.missing, **(self.still if self.is_on_base else {})}
        return [
            {"name": name, "dtype": None, "shape": None, "reason": why}
            for name, why in missing.items()
        ]


def adapter_forecasts(
    asked: AskedAdapters, forecaster: Forecaster, forecasts: Sequence[TensorForecast]
) -> AdapterForecasts:
    """Of the adapters of a checkpoint, by the forecasts of its tensors. Raises CheckpointError."""
    by_name = {each.name: each for each in forecasts}
    steps: list[AdapterStep] = []
    still: dict[str, str] = {}
    for matrix in asked.matrices:
        if any(half.name in by_name for half in matrix.pair.halves):
            steps.append(adapter_step(matrix, forecaster, by_name))
        elif matrix.pair.name not in asked.missing:
            still[matrix.pair.name] = NEITHER
    on_base = [found for step in steps if (found := _on_base(step, forecaster)) is not None]
    return AdapterForecasts(asked, steps, on_base, still)


def _on_base(step: AdapterStep, forecaster: Forecaster) -> AdaptedForecast | None:
    """The forecast of the matrix in the base; None without one."""
    base, training = step.matrix.base, step.training
    if base is None or training is None:
        return None
    absolute, expected, lr = step.absolute_update, step.expected_update, step.lr
    relative = None
    if absolute is not None and base.rms and base.is_finite:
        relative = absolute / base.rms
    last = step.halves[-1]
    return AdaptedForecast(
        **base.fields(),
        adapter=step,
        training=training,
        bands=forecaster.bands,
        trained_in=last.trained_in,
        update_rms=absolute / lr if step.measured and absolute is not None and lr else None,
        update_rms_expected=expected / lr if expected is not None and lr else None,
        measured=step.measured,
        absolute_update=absolute,
        unit_update=step.unit_update,
        relative_update=relative,
        nominal_relative_update=None,
        stalled=None,
        rare_row_update=None,
        decay_pull=None,
        reason=(step.reason or None) if absolute is None else None,
        is_certain=step.is_certain,
        has_state=any(half.has_state for half in step.halves),
        to_update=step.to_update,
        step=last.step,
        state_reason=step.state_reason,
        displacement_reason=None if forecaster.plan is None else NOT_CARRIED,
    )


def part(found: AdapterForecasts, selection: Selection) -> Part:
    """What a translation says of them."""
    return Part(
        tables(found, selection),
        found.asked.source,
        found.skipped,
        summary(found),
        [*sentences(found)],
        [*notes(found)],
    )


def summary(found: AdapterForecasts) -> dict[str, Any]:
    """The figures of the sentences."""
    if not found.steps:
        return {}
    full = [step.full_lr for step in found.steps if step.full_lr is not None]
    relative = [e.relative_update for e in found.on_base if e.relative_update is not None]
    return {
        **inspected.summary(found.steps),
        "full_lr_median": median(full) if full else None,
        "relative_update_median": median(relative) if relative else None,
        "absolute_update_median": _median_update(found.steps),
        "steps_measured": sum(step.measured for step in found.steps),
    }


def _median_update(steps: Sequence[AdapterStep]) -> float | None:
    moved = [step.absolute_update for step in steps if step.absolute_update is not None]
    return median(moved) if moved else None


def sentences(found: AdapterForecasts) -> Iterator[str]:
    """What a step does to the matrices, beside training them in full."""
    steps = found.steps
    if not steps:
        return
    figures = summary(found)
    are = counted(len(steps))
    if (full := figures["full_lr_median"]) is not None:
        is_measured = figures["steps_measured"] == len(steps)
        moves = "The last step moved" if is_measured else "A step moves"
        yield f"{moves} W like full fine-tuning at lr {rate(full)} (median of {are})."
    if any(step.is_first for step in steps):
        n = sum(step.is_first for step in steps)
        yield f"B·A is zero in {n} of {are}, as before the first step; figures are of that step."
    if (share := figures["added_relative_median"]) is not None:
        most = percent(figures["added_relative_max"])
        yield f"The adapter adds {percent(share)} % to W (median; at most {most} %)."
    if not found.is_on_base:
        if (middle := figures["absolute_update_median"]) is not None:
            yield f"A step changes ΔW by RMS {figure(middle)} (median of {are})."
        hint = printable(base_hint(found.asked.found))
        yield f"The relative update of W is not known without its weights. Pass --base {hint}."


def notes(found: AdapterForecasts) -> Iterator[str]:
    """Why a figure of adapted matrices is not known, or not measured."""
    yield from inspected.notes(found.steps, found.asked)
    words = [s.state_reason for s in found.steps if s.state_reason and not s.measured]
    for reason in dict.fromkeys(words):
        yield printable(f"The step of ΔW is expected, not measured: {reason}.")


def _adapted(name: str) -> Callable[[Any], Any]:
    """An attribute of adapted matrices; None of other rows."""
    return lambda each: getattr(each, name) if isinstance(each, AdaptedForecast) else None


def _merged(merge: Merge) -> Merge:
    return lambda items: merge([one for one in items if isinstance(one, AdaptedForecast)])


def _share(items: Sequence[Any]) -> float | None:
    over, of = mean_square("added_rms")(items), mean_square("rms")(items)
    return over / of if over is not None and of else None


def _column(column: Column, merge: Merge | None = None, rank: int | None = None) -> Column:
    return replace(
        column,
        get=_adapted(column.name),
        merge=None if merge is None else _merged(merge),
        rank=column.rank if rank is None else rank,
    )


FULL_LR = Column(
    "full_lr",
    "as full lr",
    "number",
    "the lr at which full fine-tuning with the same optimizer would move the matrix as much",
)
ADAPTED = (
    _column(MODULE),
    _column(RANK),
    _column(SCALE),
    _column(ADDED_RMS, mean_square("added_rms"), 2),
    _column(SHARE(), _share),
    _column(FULL_LR, mean_square("full_lr")),
)
"""The fields that --base adds to rows."""

STEPS = (
    *inspected.COLUMNS[:-1],
    replace(inspected.LR, get=attrgetter("lr")),
    Column("measured", "measured", "sentence", "the step is the last one, by the optimizer state"),
    Column(
        "absolute_update",
        "ΔW moves",
        "number",
        "RMS of the change of ΔW of a step, lr included",
    ),
    FULL_LR,
    inspected.COLUMNS[-1],
)
"""The fields of `adapted`, the adapted matrices of a translation without a base."""


def tables(found: AdapterForecasts, selection: Selection) -> list[Table]:
    """Without a base, the adapted matrices beside the rows of their halves."""
    if found.is_on_base or not found.steps:
        return []
    names = ("name", "rank", "scale", "added_rms", "absolute_update", "full_lr")
    shown = [column for column in STEPS if column.name in names] if selection.is_whole else []
    return [Table("adapted", STEPS, shown, made_of(found.steps, STEPS), inspected.TITLE)]
