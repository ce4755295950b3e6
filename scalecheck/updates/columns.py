"""The fields of a translation: how a TensorForecast has them, how they merge over a group, and what
a table shows."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from scalecheck.measure.groups import (
    FAMILY,
    LAYER,
    NAME,
    ROLE,
    largest,
    listed,
    mean,
    mean_square,
    of_several,
    smallest,
    total,
)
from scalecheck.report.formatting import number
from scalecheck.report.report import Column
from scalecheck.updates.tensor_forecast import WITHOUT_RATIO, TensorForecast

Forecasts = Sequence[TensorForecast]


def _merged(
    merge: Callable[[str], Any], name: str, title: str, unit: str, help: str, rank: int = 0
) -> Column:
    """A column that merges by what a function makes of its name."""
    return Column(name, title, unit, help, rank, merge=merge(name))


def _extreme(merge: Callable[[str], Any], name: str, title: str, help: str) -> Column:
    """The relative update of a tensor that is the smallest or the largest of a group."""
    one, several = attrgetter("relative_update"), merge("relative_update")
    unit = "percent_per_step"
    return Column(name, title, unit, help, 2, one, several, of_several(name))


def _moving(name: str) -> Callable[[Forecasts], float | None]:
    """The root mean square over those that have a relative update."""
    over = mean_square(name)
    return lambda forecasts: over([e for e in forecasts if e.relative_update is not None])


def _over_rms(name: str) -> Callable[[Forecasts], float | None]:
    return lambda forecasts: _over(_moving(name)(forecasts), _moving("rms")(forecasts))


def _over(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None


def _band(forecasts: Forecasts) -> str | None:
    relative = _over_rms("absolute_update")(forecasts)
    if relative is None or not all(each.has_band for each in forecasts):
        return None
    return forecasts[0].bands.of(relative)


def _first(name: str) -> Callable[[TensorForecast], Any]:
    """Of the place of a step among published ones; None where it has none."""
    read = attrgetter(name)
    return lambda each: read(each.placements[0]) if each.placements else None


def _place(forecasts: Forecasts) -> str | None:
    """Inside where all are, else the place of one that is not."""
    found = [each.placements[0].place for each in forecasts if each.placements]
    return next((place for place in found if place != "inside"), found[0] if found else None)


COLUMNS = (
    NAME,
    _merged(listed, "dtype", "dtype", "text", "storage type by its safetensors name", 9),
    Column(
        "shape",
        "shape",
        "shape",
        "sizes of the dimensions; null where a group's differ",
        8,
        lambda each: [*each.shape],
    ),
    ROLE,
    LAYER,
    FAMILY,
    Column("tensors", "tensors", "count", "number of tensors in the row", 6, lambda each: 1, len),
    _merged(total, "numel", "numel", "count", "number of elements"),
    _merged(mean_square, "rms", "rms", "number", "root mean square of the weights"),
    Column(
        "optimizer",
        "optimizer",
        "text",
        "the optimizer that trains it",
        get=attrgetter("training.name"),
    ),
    Column("lr", "lr", "setting", "its learning rate", 3),
    Column(
        "weight_decay",
        "decay",
        "setting",
        "its weight decay",
    ),
    Column(
        "update_rms",
        "measured × lr",
        "number",
        "RMS of the last update at lr 1, by the optimizer state; null where none was measured",
        1,
        merge=_moving("update_rms"),
    ),
    Column(
        "update_rms_measured",
        "measured × lr",
        "number",
        "update_rms of the measured tensors of the row alone; null where none was measured",
        get=attrgetter("update_rms"),
        merge=_moving("update_rms"),
    ),
    Column(
        "tensors_measured",
        "of which measured",
        "count",
        "number of tensors in the row whose last update the optimizer state tells",
        6,
        lambda each: int(each.measured),
        lambda forecasts: sum(each.measured for each in forecasts),
    ),
    _merged(
        _moving,
        "update_rms_expected",
        "theory × lr",
        "number",
        "RMS of an update at lr 1 by theory, at expected_step; null where it has none",
        2,
    ),
    Column(
        "expected_step",
        "step meant",
        "count",
        "the step that update_rms_expected is of; null for the steady state",
        9,
    ),
    Column(
        "expected_step_by",
        "step by",
        "text",
        "what says it: --step, state, --steps, first step, steady state, or assumed, step 1,000 "
        "of an optimizer that does not settle before it",
        9,
    ),
    _merged(
        _moving,
        "update_rms_next",
        "next × lr",
        "number",
        "RMS at lr 1 to expect of each of the next 20 steps",
        3,
    ),
    Column(
        "next_by",
        "next by",
        "sentence",
        "what says update_rms_next: measured, the last update; family, those of small tensors of "
        "one family together; states of its shape, their median where it is not certain which is "
        "the tensor's; buffer, the momentum that nesterov looks ahead of; theory",
        9,
    ),
    Column(
        "measured",
        "measured",
        "sentence",
        "relative_update is of update_rms, of the last step; else of update_rms_next",
        merge=lambda forecasts: all(each.measured for each in forecasts),
    ),
    _merged(
        _moving, "absolute_update", "moved", "number", "RMS of the change of a step, lr included"
    ),
    Column(
        "relative_update",
        "% per step",
        "percent_per_step",
        "the change of a step over rms: lr·u/rms, u as `measured` says",
        merge=_over_rms("absolute_update"),
    ),
    _extreme(smallest, "relative_update_min", "least %", "the smallest of a tensor in the group"),
    _extreme(largest, "relative_update_max", "most %", "the largest of a tensor in the group"),
    Column(
        "nominal_relative_update",
        "nominal %",
        "percent_per_step",
        "lr/rms: the change where the update is 1, as in a first step",
        3,
        merge=_over_rms("lr"),
    ),
    Column(
        "band",
        "band",
        "text",
        "of a matrix, by --bands; zero-init, not finite or empty where there is no ratio",
        merge=_band,
    ),
    Column(
        "published",
        "published",
        "text",
        "inside, above or below what is published for it; null where nothing is",
        get=_first("place"),
        merge=_place,
        cell=lambda row: row["published"] or (row["band"] if row["band"] in WITHOUT_RATIO else ""),
    ),
    Column(
        "published_quantity",
        "published of",
        "text",
        "what is compared: start, residual_start, mid, adapter_half",
        get=_first("range.quantity"),
    ),
    Column(
        "published_low",
        "from %",
        "percent_per_step",
        "the least relative update that is usual among published recipes",
        get=_first("range.low"),
    ),
    Column(
        "published_high",
        "to %",
        "percent_per_step",
        "the largest that is",
        get=_first("range.high"),
    ),
    Column(
        "decay_pull",
        "decay % per step",
        "percent_per_step",
        "share of the weights that weight decay takes a step: lr·weight_decay",
        7,
    ),
    _merged(
        mean,
        "stalled",
        "unchanged %",
        "percent",
        "share of the elements that the update is too small to move; in tables in %",
        4,
    ),
    Column(
        "stalled_measured",
        "unchanged by",
        "sentence",
        "stalled is counted element by element from the state; else it is by the update's RMS",
        merge=lambda forecasts: all(each.stalled_measured for each in forecasts),
    ),
    _merged(
        largest,
        "rare_row_update",
        "rare row",
        "number",
        "of an embedding: relative change of a row by one gradient after none for long, of a rare "
        "row by its own second moment where the state has it, else of one that was never seen",
        6,
    ),
    Column("reason", "reason", "sentence", "why there is no relative update"),
)
"""Fields of every row; others come with an optimizer state, a schedule and what is asked back."""

STATE = (
    Column("step", "step", "count", "steps of the optimizer state", 10),
    _merged(mean_square, "grad_rms", "grad rms", "number", "RMS of the gradients, by the state", 6),
    Column(
        "snr",
        "persistence",
        "written",
        "mean/std of an element's gradient averaged over the 1/(1−beta1) steps of m, by the state: "
        "how far gradients keep their sign over these steps, not the signal-to-noise ratio of one "
        "batch, which is several times larger; null at the noise floor",
        6,
        cell=lambda row: "floor" if row["at_noise_floor"] else number(row["snr"]),
    ),
    Column("at_noise_floor", "floor", "sentence", "the estimate of persistence² is not above 0", 9),
    _merged(
        mean,
        "eps_share",
        "in eps %",
        "percent",
        "share of the elements with √v̂ below eps; in tables in %",
        5,
    ),
    _merged(mean, "eps_near_share", "near eps", "percent", "the same below 100 eps", 8),
    _merged(total, "v_zeros", "v = 0", "count", "elements whose √v̂ is 0", 8),
    _merged(
        total, "v_not_finite", "v broken", "count", "elements whose v is NaN, inf or negative", 8
    ),
    _merged(total, "m_not_finite", "m broken", "count", "elements whose m is NaN or inf", 8),
    Column(
        "state_reason",
        "state reason",
        "sentence",
        "why the state does not tell the last update, where the expected one stands in",
    ),
)
SCHEDULE = (
    _merged(
        mean_square,
        "largest_change",
        "at most",
        "number",
        "the most that the run can change it, over rms: drift, or Σ lr times the largest update",
    ),
    _merged(
        smallest,
        "turnover_steps",
        "turnover",
        "count",
        "steps at the peak lr after which the largest change reaches rms",
        5,
    ),
    _merged(
        smallest,
        "turnover_steps_scheduled",
        "scheduled",
        "count",
        "the same by the schedule; null where it ends before",
    ),
    Column("first_lr", "first lr", "setting", "the lr of the first step"),
    _merged(
        mean_square,
        "first_relative_update",
        "first %",
        "percent_per_step",
        "relative update of the first step: by the optimizer state where it tells one, else by "
        "theory",
        4,
    ),
    Column("final_lr", "final lr", "setting", "the lr of the last step"),
    _merged(
        mean_square,
        "final_relative_update",
        "final %",
        "percent_per_step",
        "relative update of the last step, of today's rms, by theory",
        4,
    ),
    _merged(
        mean_square,
        "drift",
        "drift",
        "number",
        "displacement of the schedule over rms for gradients that keep their sign: the bound",
        1,
    ),
    _merged(
        mean_square,
        "random_walk",
        "noise",
        "number",
        "displacement of the schedule over rms for gradients of --snr: by default noise, of which "
        "9 of 10 tensors of AdamW runs moved 0.3 to 4 times as far",
        1,
    ),
    Column("displacement_reason", "not told", "sentence", "why noise has no figure"),
    Column(
        "equilibrium_rms",
        "equilibrium",
        "number",
        "rms at which updates and weight decay hold the weights at this lr, by noise; real runs "
        "reach 0.26 to 3.8 times it",
        2,
    ),
    Column("equilibrium_ratio", "× equilibrium", "number", "rms over that", 2),
    Column(
        "equilibrium_reason", "no equilibrium", "sentence", "why there is none despite weight decay"
    ),
    Column(
        "memory_steps",
        "time scale",
        "number",
        "steps of the time scale of weight decay: 1/(lr·weight_decay)",
        3,
    ),
    Column(
        "decay_sum",
        "lr·decay",
        "number",
        "over the schedule: its length in time scales of weight decay",
        3,
    ),
)
STATES = (
    Column("name", "state", "text", "the number of the state, and the shape of its parameter"),
    Column("shape", "shape", "shape", "sizes of the dimensions; null where it does not say", 8),
    Column("lr", "lr", "setting", "the lr of its group", 3),
    Column("weight_decay", "decay", "setting", "the weight decay of its group", 4),
    Column("update_rms", "measured × lr", "number", "RMS of its last update at lr 1"),
    *STATE,
)
TARGET = (
    Column("target_lr", "lr for it", "number", "the lr of the relative update asked for"),
    Column("target_factor", "× lr", "number", "over the lr it has"),
)
LIKE = (
    Column(
        "like_relative_update",
        "there %",
        "percent_per_step",
        "relative update of the other's tensor",
        2,
    ),
    Column("like_by", "matched by", "text", "name, or family where the other has no such name", 3),
    *TARGET,
)
TO = (
    _merged(
        mean_square,
        "to_update",
        "its update × lr",
        "number",
        "RMS of Δw at lr 1 of the other optimizer",
        1,
    ),
    Column(
        "to_lr",
        "its lr",
        "number",
        "the other optimizer's lr of the same Δw",
        get=lambda each: _over(each.absolute_update, each.to_update),
        merge=lambda each: _over(_moving("absolute_update")(each), mean_square("to_update")(each)),
    ),
)
RESCALED = (
    Column("setting", "setting", "text", "its name"),
    Column("exponent", "power of K", "power", "the setting is multiplied by K to this power"),
    Column("now", "now", "setting", "what it is; null where it is not known, as gradient clipping"),
    Column("scaled", "at K", "setting", "what it has to be"),
)
