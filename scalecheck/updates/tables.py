"""The rows and tables of a translation: matrices apart from what the bands do not speak of, the lrs
that are asked back, the states whose tensor is not certain, and the settings for weights K times
larger."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

from scalecheck.checkpoint.keys import text_key
from scalecheck.checkpoint.naming import MATRICES
from scalecheck.checkpoint.selection import Selection
from scalecheck.errors import UsageError
from scalecheck.measure.groups import grouped, row
from scalecheck.optimizers.contract import NoFormula
from scalecheck.report.formatting import plural, setting
from scalecheck.report.report import Column, Row, Rows, Table
from scalecheck.settings import DEFAULT, Settings
from scalecheck.theory.schedule import Schedule
from scalecheck.updates.assumed import ASSUMED
from scalecheck.updates.columns import (
    COLUMNS,
    LIKE,
    RESCALED,
    SCHEDULE,
    STATE,
    STATES,
    TARGET,
    TO,
)
from scalecheck.updates.like import Others
from scalecheck.updates.precision import COLUMNS as PRECISION
from scalecheck.updates.precision import MOST, SHOWN
from scalecheck.updates.saved_state import States
from scalecheck.updates.target import towards
from scalecheck.updates.tensor_forecast import Forecaster, TensorForecast
from scalecheck.updates.training import Training

_HIDDEN = {
    *("layer", "family", "tensors", "numel", "optimizer", "weight_decay", "measured"),
    *("absolute_update", "relative_update_min", "relative_update_max", "rare_row_update", "reason"),
    *("at_noise_floor", "eps_near_share", "v_zeros", "v_not_finite", "m_not_finite"),
    *("state_reason", "module", "published_quantity", "published_low", "published_high"),
    *("update_rms_measured", "tensors_measured", "next_by", "expected_step", "expected_step_by"),
    "stalled_measured",
    *("state_reason", "module", "largest_change", "turnover_steps_scheduled", "first_lr"),
    *("final_lr", "displacement_reason", "equilibrium_reason"),
}
_SPREAD = {"tensors", "tensors_measured", "relative_update_min", "relative_update_max"}
"""Fields of groups."""
_OF_VERDICT = {"name", "relative_update", "published", "band"}
_STATE_SHOWN = ("name", "lr", "weight_decay", "update_rms", "step", "grad_rms", "snr", "eps_share")


def columns_for(settings: Settings, states: States, plan: Schedule | None) -> list[Column]:
    """The fields of every row, and those of what was found and asked for."""
    return [
        *COLUMNS[:-1],
        *(_of_adapters() if settings.base is not None else ()),
        COLUMNS[-1],
        *(STATE if states.path else ()),
        *(SCHEDULE if plan else ()),
        *(PRECISION if settings.cast is not None else ()),
        *(TARGET if settings.target is not None else ()),
        *(LIKE if settings.like is not None else ()),
        *(TO if settings.to is not None else ()),
        *(ASSUMED if settings.assume is not None else ()),
    ]


def _of_adapters() -> Sequence[Column]:
    from scalecheck.updates.adapted import ADAPTED

    return ADAPTED


def rows(
    forecasts: Sequence[TensorForecast],
    columns: Sequence[Column],
    settings: Settings,
    others: Others | None,
) -> Rows:
    """A row a tensor or a group, with the lr that was asked back for, and its forecasts."""
    own = [column for column in columns if column not in LIKE]

    def made(name: str, members: Sequence[TensorForecast]) -> Row:
        fields = row(own, name, members) | {"members": members}
        if settings.target is not None:
            fields |= towards(fields, members, settings.target)
        if others is not None:
            fields |= others.towards(fields, members)
        return fields

    if settings.by == "tensor":
        return Rows(forecasts, lambda one: made(one.name, [one]))
    groups = grouped(forecasts, settings.by)
    return Rows([*groups.items()], lambda group: made(*group))


def row_tables(
    rows: Rows, columns: Sequence[Column], selection: Selection, settings: Settings
) -> list[Table]:
    """Matrices apart from norms, biases and embeddings, of which the bands do not speak."""
    hidden = _HIDDEN - (_SPREAD if settings.by != "tensor" else set())
    is_banded = settings.sources["bands"] != DEFAULT
    hidden |= {"published" if is_banded else "band"}
    if STATE[0] not in columns:
        hidden |= {"update_rms", "update_rms_next", "tensors_measured"}
    fields = selection.fields(columns)
    shown = selection.shown(columns, [each for each in columns if each.name not in hidden])
    rows = selection.rows(rows)
    are_matrices = [row["role"] in MATRICES for row in rows]
    if not selection.is_whole or len({*are_matrices}) < 2:
        return [_seen(selection, fields, shown, rows)]
    matrices = rows.at(place for place, is_one in enumerate(are_matrices) if is_one)
    others = rows.at(place for place, is_one in enumerate(are_matrices) if not is_one)
    has_band = any(row["band"] for row in others)
    rest = [one for one in shown if one.name not in ("band", "published") or has_band]
    if any(row["rare_row_update"] is not None for row in others):
        rest.append(next(column for column in fields if column.name == "rare_row_update"))
    return [
        _seen(selection, fields, shown, matrices, "Matrices"),
        _seen(selection, fields, rest, others, "Norms, biases and embeddings"),
    ]


def _seen(
    selection: Selection,
    fields: Sequence[Column],
    shown: Sequence[Column],
    rows: Rows,
    title: str = "",
) -> Table:
    """The table as people see it: the fastest first where no other order is asked for, and machines
    in the order of the checkpoint."""
    is_free = selection.sort is None and selection.top is None
    return Table(
        "rows",
        fields,
        _told(selection, shown, rows),
        rows,
        title,
        mark=Marks(rows),
        order=_slowest_first if selection.reverse else _fastest_first if is_free else None,
    )


def _fastest_first(row: Row) -> tuple[bool, float]:
    """The place of a row by its relative update; rows without one come last."""
    update = row["relative_update"]
    return update is None, -(update or 0.0)


def _slowest_first(row: Row) -> tuple[bool, float]:
    update = row["relative_update"]
    return update is None, update or 0.0


@dataclass(frozen=True)
class Marks:
    """What the cells of a row mean: how far its update lies outside of what is published, that it
    is the fastest or the slowest, and that most of it rounds away."""

    rows: Rows

    def __call__(self, row: Row, column: str) -> str:
        if column in _OF_VERDICT and (severity := _severity(row["members"])):
            return severity
        if column == "stalled" and (row["stalled"] or 0.0) > MOST:
            return "warning"
        is_extreme = column in ("name", "relative_update")
        return "strong" if is_extreme and row["relative_update"] in self._extremes else ""

    @cached_property
    def _extremes(self) -> tuple[float, ...]:
        known = [x for row in self.rows if (x := row["relative_update"]) is not None]
        return (max(known), min(known)) if len(known) > 2 else ()


def _severity(members: Sequence[TensorForecast]) -> str:
    """The gravest of the places of the members' updates; empty inside."""
    found = {one.severity for each in members for one in each.placements}
    return next((word for word in ("error", "warning", "note") if word in found), "")


def _told(selection: Selection, shown: Sequence[Column], rows: Rows) -> list[Column]:
    """The columns without that of the next updates where these are the measured ones; that of what
    rounds away has to be there where some does."""
    if selection.columns:
        return [*shown]
    is_news = any(row["update_rms_next"] not in (None, row["update_rms"]) for row in rows)
    rounds = any((row["stalled"] or 0.0) >= SHOWN for row in rows)
    return [
        replace(column, rank=0) if column.name == "stalled" and rounds else column
        for column in shown
        if is_news or column.name != "update_rms_next"
    ]


def factor_tables(halves: Sequence[TensorForecast], states: States) -> list[Table]:
    """The halves of adapters, where rows are of the matrices that they add to: for machines."""
    columns = [*COLUMNS, *(STATE if states.path else ())]
    made = Rows(halves, lambda half: row(columns, half.name, [half]))
    return [Table("factors", columns, (), made)] if halves else []


class UncertainStates:
    """The states that are not certain to be a tensor's. People see those of the shapes of the
    tensors at hand, where these have a row each; machine formats have them all."""

    def __init__(
        self,
        forecaster: Forecaster,
        forecasts: Sequence[TensorForecast],
        selection: Selection,
        settings: Settings,
    ) -> None:
        shapes = {text_key(None), *(text_key(each.shape) for each in forecasts)}
        self._some = "--match" if selection.match else "--exclude" if selection.exclude else ""
        self._hiding = "--by" if settings.by != "tensor" else "--top" if selection.top else ""
        self._selection = replace(selection, top=None)
        self._rows: list[Row] = []
        self._others: list[Row] = []
        for state in forecaster.states.unnamed:
            is_near = not self._some or text_key(state.shape) in shapes
            (self._rows if is_near else self._others).append(forecaster.unnamed.row(state))

    def tables(self) -> list[Table]:
        """One of those that people see, and one of the others."""
        selection, names = self._selection, [column.name for column in STATES]
        is_sorted = selection.sort in (None, *names)
        made = Rows(self._rows, lambda row: row)
        rows = selection.rows(made) if is_sorted else made
        shown: Sequence[Column] = [column for column in STATES if column.name in _STATE_SHOWN]
        if selection.columns:
            asked = ["name", *(name for name in selection.columns if name in names)]
            shown = replace(selection, columns=asked).shown(STATES, shown)
        title = "States whose tensor is not certain"
        tables = [
            Table("states", STATES, () if self._hiding else shown, rows, title),
            Table("states", STATES, (), self._others),
        ]
        return [table for table in tables if table.rows]

    def notes(self) -> Iterator[str]:
        """How many people do not see, and what hides them."""
        hidden = (
            (len(self._rows) if self._hiding else 0, "whose tensor is not certain", self._hiding),
            (len(self._others), "of other shapes", self._some),
        )
        for count, which, option in hidden:
            if count:
                states = plural(count, "optimizer state")
                yield f"not shown: {states} {which}; leave out {option} to list all"


def rescaled_tables(trainings: Iterable[Training], k: float | None) -> list[Table]:
    """The settings that train weights k times larger as those at hand, y = (w'/k)·x: a table for
    each way of training, none where k is None. Raises UsageError where an optimizer has no such
    law, or k is no positive number."""
    different = {text_key(training): training for training in trainings}.values()
    return [] if k is None else [_rescaled(training, k) for training in different]


def _rescaled(training: Training, k: float) -> Table:
    """Every setting that moves, and what gradients are clipped to."""
    optimizer = training.optimizer
    try:
        law = optimizer.reparameterization()
        new = asdict(optimizer.rescaled(k))
    except (NoFormula, ValueError, OverflowError) as error:
        raise UsageError(f"--scale-by {setting(k)}: {training.name}: {error}") from error
    p, unknown = law.lr_exponent, dict.fromkeys(training.uncertain)
    unknown |= {} if training.has_lr else {"lr": None}
    now = {"lr": training.lr, **asdict(optimizer), **unknown}
    scaled = {"lr": training.lr * k**p, **new, **unknown}
    powers = [("lr", p), *law.exponents.items()]
    rows = [
        *((name, power, now[name], scaled[name]) for name, power in powers),
        ("clipping norm", -1, None, None),
    ]
    fields = [column.name for column in RESCALED]
    title = f"Weights {setting(k)} times larger, divided by {setting(k)} where they are used"
    items = [dict(zip(fields, row, strict=True)) for row in rows]
    return Table("scaled", RESCALED, RESCALED, items, f"{title}: {training.name}")
