"""From an lr to the relative update that each tensor will feel, and back."""

from pathlib import Path

from scalecheck.checkpoint.provenance import not_read, skipped, source
from scalecheck.checkpoint.selection import Selection
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import OptionError, UsageError
from scalecheck.measure.adapted import asked_adapters
from scalecheck.measure.measuring import measure
from scalecheck.measure.pipeline import Progress
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.optimizers.contract import Gradient
from scalecheck.report.formatting import printable
from scalecheck.report.report import Report
from scalecheck.settings import Settings
from scalecheck.updates import adapted, summary
from scalecheck.updates.assumed import Assumption, opened
from scalecheck.updates.bands import Bands
from scalecheck.updates.forecast import planned
from scalecheck.updates.precision import Ledger, cast_type, stalled_figures
from scalecheck.updates.saved_state import asked_states
from scalecheck.updates.tables import (
    Others,
    UncertainStates,
    columns_for,
    factor_tables,
    rescaled_tables,
    row_tables,
    rows,
)
from scalecheck.updates.tensor_forecast import Forecaster, require_updates
from scalecheck.updates.training import Trainings, default_optimizer, doubts, param_dtype, untrained


def translate(
    checkpoint: Checkpoint | str | Path | None, settings: Settings, progress: Progress
) -> Report:
    """The report of `translate`. Raises UsageError, CheckpointError."""
    bands = Bands(tuple(settings.bands))
    trainings, plan = Trainings.asked(settings), planned(settings)
    checkpoint = opened(checkpoint, settings)
    states = asked_states(checkpoint, settings)
    columns = columns_for(settings, states, plan)
    selection = Selection.of(settings)
    selection.check(columns)
    wanted = selection.tensors(checkpoint.tensors, checkpoint.unread)
    trainings.check([tensor.name for tensor in wanted])
    if settings.shape and settings.base is not None:
        raise OptionError("base", "needs an adapter, and --shape names tensors without elements")
    asked = asked_adapters(checkpoint, () if settings.shape else wanted, settings)
    others = _others(settings, progress)
    forecaster = Forecaster(
        trainings,
        states,
        Gradient(settings.grad_rms, settings.snr),
        settings.step,
        plan,
        param_dtype(settings.param_dtype),
        bands,
        None if settings.to is None else default_optimizer(settings.to, "to"),
        None if settings.assume is None else Assumption(settings.assume, checkpoint),
        cast_type(settings.cast),
    )
    left_out = {t: why for t in wanted if (why := untrained(t, states)) is not None}
    trained = tuple(checkpoint.trained(tensor) for tensor in wanted if tensor not in left_out)
    if settings.shape and forecaster.assumption is not None:
        measured = forecaster.assumption.stats(trained)
    else:
        sketches = measure(trained, settings.jobs, progress)
        measured = ((TensorStats.of(tensor, sketch), sketch) for tensor, sketch in sketches)
    try:
        forecasts = [forecaster.of(stats, sketch) for stats, sketch in measured]
    except OptionError as error:
        if not states.unread:
            raise
        raise OptionError(error.option, f"{error.problem}; {states.notes[-1]}") from error
    require_updates(forecasts, left_out.values(), settings, states.path is not None)
    adapters = adapted.adapter_forecasts(asked, forecaster, forecasts)
    shown, halves = adapters.rows(forecasts)
    uncertain = UncertainStates(forecaster, forecasts, selection, settings)
    tables = [
        *row_tables(rows(shown, columns, settings, others), columns, selection, settings),
        *adapted.tables(adapters, selection),
        *factor_tables(halves, states),
        *uncertain.tables(),
        *rescaled_tables((each.training for each in forecasts), settings.scale_by),
    ]
    ledger = Ledger.of(forecaster.cast, forecasts)
    unsure = [*uncertain.notes(), *doubts(trainings, states, wanted)]
    return Report(
        kind="translate",
        tables=tables,
        source={
            **source(checkpoint),
            **asked.source,
            "state": None if states.path is None else str(states.path),
        },
        settings={
            **settings.recorded("state"),
            "param_dtype": forecaster.param_dtype,
            "cast": forecaster.cast,
        },
        skipped=[
            *(skipped(tensor, why) for tensor, why in left_out.items()),
            *adapters.skipped,
            *not_read(selection.folders(checkpoint.unread), "translate"),
        ],
        summary={
            **adapted.summary(adapters),
            **stalled_figures(forecasts),
            **({"precision": ledger.figures} if ledger else {}),
        },
        headline=summary.headline(checkpoint, forecasts, states),
        totals="\n".join(
            [
                *adapted.sentences(adapters),
                *summary.sentences(shown, forecasts, bands, plan, forecaster.assumption),
                *(ledger.sentences() if ledger else ()),
            ]
        ),
        notes=[
            *summary.notes(forecasts, bands, states, unsure, settings.lr),
            *adapted.notes(adapters),
            *summary.masters_note(checkpoint, trained),
            *map(printable, checkpoint.layout),
        ],
    )


def _others(settings: Settings, progress: Progress) -> Others | None:
    """The relative updates of the checkpoint of --like. Raises UsageError, CheckpointError."""
    if settings.like is None:
        return None
    if settings.target is not None:
        raise UsageError("--like and --target: each asks for an lr, give one")
    if settings.lr is None:
        raise UsageError("--like: needs --lr, the lr that is right for the other checkpoint")
    same = (
        "recursive",
        "raw",
        "lr",
        "optimizer",
        "hyperparameters",
        "snr",
        "grad_rms",
        "step",
        "by",
        "jobs",
    )
    there = translate(settings.like, settings.only(*same, state="none"), progress)
    return Others(there.rows)
