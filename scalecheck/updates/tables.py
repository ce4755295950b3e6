"""The tables of a translation: matrices apart from what the bands do not speak of, and the states
whose tensor is not certain."""

from collections.abc import Sequence
from typing import Any

from scalecheck.checkpoint.naming import MATRICES
from scalecheck.checkpoint.selection import Selection
from scalecheck.measure.groups import By, grouped, row
from scalecheck.report.report import Column, Row, Table
from scalecheck.settings import Settings
from scalecheck.theory.schedule import Schedule
from scalecheck.updates.assumed import COLUMNS as ASSUMED
from scalecheck.updates.columns import COLUMNS, SCHEDULE, STATE, STATES
from scalecheck.updates.lr_for import LIKE, TARGET, TO, Others, towards
from scalecheck.updates.saved_state import States
from scalecheck.updates.tensor_forecast import Forecaster, TensorForecast

_SHOWN = (
    "name",
    "dtype",
    "shape",
    "role",
    "rms",
    "lr",
    "update_rms",
    "update_rms_expected",
    "relative_update",
    "nominal_relative_update",
    "band",
    "decay_pull",
    "stalled",
)
_STATE_SHOWN = ("name", "lr", "weight_decay", "update_rms", "step", "grad_rms", "snr", "eps_share")
_NOT_SHOWN = {"at_noise_floor", "eps_near_share", "v_zeros", "v_not_finite", "m_not_finite"}
_SPREAD = ("tensors", "relative_update_min", "relative_update_max")


def columns_for(settings: Settings, states: States, plan: Schedule | None) -> list[Column]:
    """The fields of every row, and those of what was found and asked for."""
    return [
        *COLUMNS,
        *(STATE if states.path else ()),
        *(SCHEDULE if plan else ()),
        *(TARGET if settings.target is not None else ()),
        *(LIKE if settings.like is not None else ()),
        *(TO if settings.to is not None else ()),
        *(ASSUMED if settings.assume is not None else ()),
    ]


def rows(
    forecasts: Sequence[TensorForecast],
    columns: Sequence[Column],
    settings: Settings,
    others: Others | None,
) -> list[dict[str, Any]]:
    """A row a tensor or a group, with the lr that was asked back for, and its forecasts."""
    own = [column for column in columns if column not in LIKE]
    groups = grouped(forecasts, settings.by)
    rows = [row(own, name, group) | {"members": group} for name, group in groups.items()]
    for fields in rows:
        if settings.target is not None:
            fields |= towards(fields, settings.target)
        if others is not None:
            fields |= others.towards(fields)
    return rows


def row_tables(
    rows: Sequence[Row], columns: Sequence[Column], selection: Selection, by: By
) -> list[Table]:
    """Matrices apart from norms, biases and embeddings, of which the bands do not speak."""
    fields = selection.fields(columns)
    shown = selection.shown(columns, _usual(columns, by))
    rows = selection.rows(rows)
    matrices = [row for row in rows if row["role"] in MATRICES]
    others = [row for row in rows if row["role"] not in MATRICES]
    if not selection.is_whole or not matrices or not others:
        return [Table("rows", fields, shown, rows)]
    has_band = any(row["band"] for row in others)
    rest = [column for column in shown if column.name != "band" or has_band]
    if any(row["rare_row_update"] is not None for row in others):
        rest.append(next(column for column in fields if column.name == "rare_row_update"))
    return [
        Table("rows", fields, shown, matrices, "Matrices"),
        Table("rows", fields, rest, others, "Norms, biases and embeddings"),
    ]


def state_tables(
    forecaster: Forecaster, forecasts: Sequence[TensorForecast], selection: Selection, by: By
) -> list[Table]:
    """The states that are not certain to be a tensor's; of some tensors, those of their shapes."""
    shapes = {each.shape for each in forecasts}
    rows = [
        forecaster.unnamed(state)
        for state in forecaster.states.unnamed
        if not (selection.match or selection.exclude) or state.shape in shapes
    ]
    if not rows:
        return []
    if by != "tensor" or not selection.is_whole:
        return [Table("states", STATES, (), rows)]
    shown = [column for column in STATES if column.name in _STATE_SHOWN]
    return [Table("states", STATES, shown, rows, "States whose tensor is not certain")]


def _usual(columns: Sequence[Column], by: By) -> list[Column]:
    """The columns that are shown where none were asked for."""
    hidden = {column.name for column in COLUMNS} - {*_SHOWN, *(_SPREAD if by != "tensor" else ())}
    hidden |= _NOT_SHOWN
    if STATE[0] not in columns:
        hidden.add("update_rms")
    return [column for column in columns if column.name not in hidden]
