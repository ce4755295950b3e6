"""From an lr to the relative update that each tensor will feel, and back."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from scalecheck.checkpoint.provenance import not_read, skipped, source
from scalecheck.checkpoint.selection import Selection
from scalecheck.checkpoint.tensor import Checkpoint
from scalecheck.errors import Fix, OptionError, UsageError
from scalecheck.measure.measuring import measure
from scalecheck.measure.pipeline import Progress
from scalecheck.measure.tensor_stats import TensorStats
from scalecheck.optimizers.contract import Gradient
from scalecheck.report.formatting import printable
from scalecheck.report.part import Part, together
from scalecheck.report.report import Report
from scalecheck.settings import DEFAULT, Settings
from scalecheck.updates import (
    like,
    next_summary,
    precision,
    published_summary,
    run_summary,
    summary,
    target,
)
from scalecheck.updates.assumed import Assumption, opened, stats_of_shapes
from scalecheck.updates.bands import Bands
from scalecheck.updates.forecast import planned
from scalecheck.updates.headline import headline
from scalecheck.updates.like import Others
from scalecheck.updates.next_steps import with_next_steps
from scalecheck.updates.placed import placed
from scalecheck.updates.saved_state import asked_states
from scalecheck.updates.situation import situation
from scalecheck.updates.tables import (
    UncertainStates,
    columns_for,
    factor_tables,
    rescaled_tables,
    row_tables,
    rows,
)
from scalecheck.updates.tensor_forecast import Forecaster, TensorForecast, require_updates
from scalecheck.updates.training import Trainings, default_optimizer, doubts, param_dtype, untrained

if TYPE_CHECKING:
    from scalecheck.updates.adapter_steps import AdapterStep


def translate(
    checkpoint: Checkpoint | str | Path | None, settings: Settings, progress: Progress
) -> Report:
    """The report of `translate`. Raises UsageError, CheckpointError."""
    bands = Bands(tuple(settings.bands))
    trainings = Trainings.asked(settings, needs_lr=settings.target is None and not settings.suggest)
    plan = planned(settings)
    checkpoint = opened(checkpoint, settings)
    states = asked_states(checkpoint, settings)
    columns = columns_for(settings, states, plan)
    selection = Selection.of(settings)
    selection.check(columns)
    wanted = selection.tensors(checkpoint.tensors, checkpoint.unread)
    trainings.check([tensor.name for tensor in wanted])
    if settings.shape and settings.base is not None:
        raise OptionError("base", "needs an adapter, and --shape names tensors without elements")
    asked = None
    if settings.base is not None or checkpoint.may_have_adapters:
        from scalecheck.measure.adapted import asked_adapters

        asked = asked_adapters(checkpoint, () if settings.shape else wanted, settings)
    others = _others(settings, settings.by, progress)
    by_tensor = others if settings.by == "tensor" else _others(settings, "tensor", progress)
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
        precision.cast_type(settings.cast),
    )
    left_out = {t: why for t in wanted if (why := untrained(t, states)) is not None}
    trained = tuple(checkpoint.trained(tensor) for tensor in wanted if tensor not in left_out)
    if settings.shape:
        measured = stats_of_shapes(trained, forecaster.assumption)
    else:
        sketches = measure(trained, settings.jobs, progress)
        measured = ((TensorStats.of(tensor, sketch), sketch) for tensor, sketch in sketches)
    try:
        forecasts = with_next_steps([forecaster.of(stats, sketch) for stats, sketch in measured])
    except OptionError as error:
        if not states.unread:
            raise
        problem = f"{error.problem}; {states.notes[-1]}"
        raise OptionError(error.option, problem, help=error.help, new=error.new) from error
    elements = None if settings.shape else {tensor.name: tensor for tensor in trained}
    found = situation(settings, plan, forecasts, elements)
    for n, each in enumerate(forecasts):  # in place, as there may be very many
        forecasts[n] = placed(each, found)
    require_updates(forecasts, left_out.values(), settings, states.path is not None)
    shown: Sequence[TensorForecast] = forecasts
    halves: Sequence[TensorForecast] = ()
    fresh: Sequence[AdapterStep] = ()
    adapted = Part()
    if asked is not None:
        from scalecheck.updates.adapted import adapter_forecasts, part

        adapters = adapter_forecasts(asked, forecaster, forecasts)
        adapters = replace(adapters, on_base=[placed(each, found) for each in adapters.on_base])
        shown, halves = adapters.rows(forecasts)
        fresh = () if adapters.is_on_base else adapters.steps
        adapted = part(adapters, selection)
    uncertain = UncertainStates(forecaster, forecasts, selection, settings)
    tables = [
        *row_tables(rows(shown, columns, settings, others), columns, selection, settings),
        *adapted.tables,
        *factor_tables(halves, states),
        *uncertain.tables(),
        *rescaled_tables((each.training for each in forecasts), settings.scale_by),
    ]
    is_banded = settings.sources["bands"] != DEFAULT
    figures = target.summary(shown, settings.target)
    told = together(
        [
            summary.to_part(shown, settings.to),
            like.part(shown, by_tensor, settings.like),
            adapted,
            precision.ledger_part(forecasts, forecaster.cast),
            precision.stalled_part(forecasts, forecaster.cast),
            summary.speeds(shown),
            published_summary.part(shown, fresh, found, bands if is_banded else None),
            run_summary.part(forecasts, plan, settings.snr),
            next_summary.part(forecasts),
            summary.eps(forecasts),
            summary.rest(forecasts, forecaster.assumption),
            Part(notes=[*published_summary.details(shown, fresh, found, is_banded)]),
        ]
    )
    unsure = [*uncertain.notes(), *doubts(trainings, states, wanted)]
    report = Report(
        kind="translate",
        tables=tables,
        source={
            **source(checkpoint),
            **told.source,
            "state": None if states.path is None else str(states.path),
        },
        settings={
            **settings.recorded("state"),
            "param_dtype": forecaster.param_dtype,
            "cast": forecaster.cast,
        },
        skipped=[
            *(skipped(tensor, why) for tensor, why in left_out.items()),
            *told.skipped,
            *not_read(selection.folders(checkpoint.unread), "translate"),
        ],
        summary={**told.summary, **figures},
        conclusion=[*target.sentence(shown, figures), *told.conclusion],
        tone=told.tone,
        headline=headline(checkpoint, forecasts, states, settings),
        in_headline=("lr", "step", "optimizer"),
        totals="\n".join(told.sentences),
        notes=[
            *map(printable, checkpoint.layout),
            *summary.notes(forecasts, states, unsure, settings.lr),
            *told.notes,
            *summary.masters_note(checkpoint, trained),
        ],
    )
    if not settings.suggest:
        return report
    from scalecheck.updates.suggest import suggestions
    from scalecheck.updates.suggest_report import with_suggestions

    is_default = settings.optimizer is None and states.path is None
    pairs = asked.found.pairs if asked else ()
    suggested = suggestions(checkpoint, forecasts, pairs, elements, found, is_default)
    return with_suggestions(report, suggested, settings.lr)


def _others(settings: Settings, by: str, progress: Progress) -> Others | None:
    """The relative updates of the checkpoint of --like. Raises UsageError, CheckpointError."""
    if settings.like is None:
        return None
    if settings.target is not None:
        raise UsageError("--like and --target: give one of the two, as each asks for an lr")
    if settings.lr is None:
        problem = "--like: needs --lr, the lr that is right for the other checkpoint"
        raise UsageError(problem, "for example", Fix("3e-4", flag="--lr"))
    same = (
        "recursive",
        "raw",
        "lr",
        "optimizer",
        "hyperparameters",
        "snr",
        "grad_rms",
        "step",
        "jobs",
    )
    there = translate(settings.like, settings.only(*same, by=by, state="none"), progress)
    return Others(there.rows)
