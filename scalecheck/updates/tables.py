"""The tables of a translation: matrices apart from what the bands do not speak of, and the states
whose tensor is not certain."""

from collections.abc import Sequence

from scalecheck.measure.groups import By
from scalecheck.report.report import Column, Row, Table
from scalecheck.updates.bands import ROLES
from scalecheck.updates.columns import COLUMNS, STATES
from scalecheck.updates.tensor_forecast import ADDED

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
_SPREAD = ("tensors", "relative_update_min", "relative_update_max")


def tables(
    rows: Sequence[Row],
    fields: Sequence[Column],
    shown: Sequence[Column],
    split: bool,
    whole: bool,
    unnamed: Sequence[Row],
) -> list[Table]:
    """Matrices apart from norms, biases and embeddings, of which the bands do not speak; and the
    states without a name."""
    apart = [row for row in rows if row["role"] not in ROLES]
    if not split or not apart or len(apart) == len(rows):
        tables = [Table("rows", fields, shown, rows)]
    else:
        inner = [row for row in rows if row["role"] in ROLES]
        has_band = any(row["band"] for row in apart)
        rest = [c for c in shown if c.name != "band" or has_band]
        if any(row["rare_row_update"] is not None for row in apart):
            rest.append(next(c for c in fields if c.name == "rare_row_update"))
        tables = [
            Table("rows", fields, shown, inner, "Matrices"),
            Table("rows", fields, rest, apart, "Norms, biases and embeddings"),
        ]
    if unnamed:
        columns = [c for c in STATES if c.name in _STATE_SHOWN] if whole else []
        title = "States whose tensor is not certain" if whole else ""
        tables.append(Table("states", STATES, columns, unnamed, title))
    return tables


def usual(by: By, asked: Sequence[Column], has_state: bool) -> list[Column]:
    """The columns that are shown where none were chosen: asked are those of what was asked for."""
    names = {*_SHOWN, *(_SPREAD if by != "tensor" else ()), *(column.name for column in asked)}
    names -= {"at_noise_floor", "eps_near_share", *ADDED}
    names -= set() if has_state else {"update_rms"}
    return [column for column in (*COLUMNS, *asked) if column.name in names]
