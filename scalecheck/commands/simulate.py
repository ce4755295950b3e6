"""The laws that an optimizer is tuned by, replayed on synthetic gradients beside what theory
expects."""

from collections.abc import Callable, Sequence
from typing import Any

from scalecheck import registry
from scalecheck.errors import UsageError
from scalecheck.laws.contract import Law
from scalecheck.laws.replay import overview
from scalecheck.laws.replay.claim import claims, totals
from scalecheck.laws.replay.experiment import ALL, Experiment, headline, optimizers, recorded
from scalecheck.laws.replay.gradients import noise_law
from scalecheck.laws.replay.replay import few_threads, replayed
from scalecheck.laws.replay.second_seed import Decided, decided
from scalecheck.report.report import Report, Row, Table
from scalecheck.settings import Settings

Progress = Callable[[int, int], None]

_SHARED = ("k", "steps", "size", "lr", "snr", "grad_scale", "clip", "dtype", "seed", "tolerance")


def simulate(settings: Settings, progress: Progress) -> Report:
    """The report of `simulate`. Raises UsageError."""
    own = optimizers(settings.optimizer, settings.hyperparameters, settings.dtype)
    if settings.sweep and len(own) > 1:
        raise UsageError(f"--sweep: of one optimizer, not of {settings.optimizer}")
    law = noise_law(settings.noise)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, settings.steps * len(own))

    shared = {name: getattr(settings, name) for name in _SHARED}
    experiments = [
        Experiment(name, one, noise=law, tick=tick, **shared) for name, one in own.items()
    ]
    try:
        with few_threads(settings.size):
            if settings.optimizer == ALL:
                tables, seen = overview.tables(experiments)
                outcomes: list[Decided[Any]] = [*seen]
            else:
                laws = _laws(settings.sweep)
                outcome = decided(experiments[0], lambda one: _held(laws, one))
                tables, outcomes, experiments = outcome.found, [outcome], [outcome.experiment]
    except RuntimeError as error:  # torch, of a setting that its types cannot hold
        raise UsageError(f"--optimizer {settings.optimizer}: {error}") from error
    again = [one.figures for one in outcomes if one.first is not None]
    return Report(
        kind="simulate",
        tables=tables,
        source={
            "optimizer": settings.optimizer,
            "hyperparameters": recorded(own, settings.optimizer, settings.hyperparameters),
        },
        settings=settings.recorded("optimizer", "hyperparameters"),
        summary={"seeds": again} if again else {},
        headline=headline(experiments, settings.optimizer, settings.noise),
        totals=totals(tables),
        notes=[one.note for one in outcomes if one.first is not None],
        failed=any(not row["holds"] and not row["contrast"] for row in claims(tables)),
    )


def _held(laws: Sequence[Law], experiment: Experiment) -> tuple[list[Table], list[Row]]:
    """What the laws give of a replay, and the rows of their claims."""
    run = replayed(experiment)
    tables = [table for law in laws for table in law.tables(experiment, run)]
    return tables, claims(tables)


def _laws(sweep: bool) -> list[Law]:
    """The sweep, or all the laws in their order."""
    if sweep:
        return [registry.load("law", "sweep")]
    laws: list[Law] = [registry.load("law", name) for name in registry.names("law")]
    ordered = [(law.ORDER, law) for law in laws if law.ORDER is not None]
    return [law for _, law in sorted(ordered, key=lambda one: one[0])]
