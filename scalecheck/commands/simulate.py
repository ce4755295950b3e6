"""The laws that an optimizer is tuned by, replayed on synthetic gradients beside what theory
expects."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from scalecheck import registry
from scalecheck.errors import UsageError
from scalecheck.laws.contract import Law
from scalecheck.laws.replay import overview
from scalecheck.laws.replay.claim import claims, counts, reasons, verdict_of
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

    def tick(steps: int = 1) -> None:
        """What the laws replay beside the steps takes about as long as these."""
        nonlocal done
        done += steps
        progress(done, 2 * settings.steps * len(own))

    shared = {name: getattr(settings, name) for name in _SHARED}
    experiments = [
        Experiment(name, one, noise=law, tick=tick, **shared) for name, one in own.items()
    ]
    try:
        with few_threads(settings.size):
            if settings.optimizer == ALL:
                tables, seen = overview.tables(experiments, lambda: tick(settings.steps))
                outcomes: list[Decided[Any]] = [*seen]
                answers: list[str] = []
            else:
                laws = _laws(settings.sweep)
                outcome = decided(experiments[0], lambda one: _held(laws, one))
                (tables, answers), outcomes = outcome.found, [outcome]
                experiments = [outcome.experiment]
                tick(settings.steps)
    except RuntimeError as error:  # torch, of a setting that its types cannot hold
        raise UsageError(f"--optimizer {settings.optimizer}: {error}") from error
    counted = counts(tables)
    name = f"{len(own)} optimizers" if settings.optimizer == ALL else settings.optimizer
    again = [one.figures for one in outcomes if one.first is not None]
    return Report(
        kind="simulate",
        tables=tables,
        source={
            "optimizer": settings.optimizer,
            "hyperparameters": recorded(own, settings.optimizer, settings.hyperparameters),
        },
        settings=settings.recorded("optimizer", "hyperparameters"),
        summary={**counted, **({"seeds": again} if again else {})},
        conclusion=[verdict_of(name, counted, reasons(tables)), *answers],
        tone="error" if counted["break"] else "ok",
        headline=headline(experiments, settings.optimizer, settings.noise),
        notes=[one.note for one in outcomes if one.first is not None],
        failed=counted["break"] > 0,
    )


def _held(
    laws: Sequence[Law], experiment: Experiment
) -> tuple[tuple[list[Table], list[str]], list[Row]]:
    """What the laws give of a replay and answer, and the rows of their claims."""
    run = replayed(experiment)
    tables: list[Table] = []
    answers: list[str] = []
    for law in laws:
        own = [*law.tables(experiment, run)]
        answers.append(law.answer(experiment, own))
        tables += [replace(table, is_detail=table.name != "sweep") for table in own]
    return (tables, [*filter(None, answers)]), claims(tables)


def _laws(sweep: bool) -> list[Law]:
    """The sweep, or all the laws in their order."""
    if sweep:
        return [registry.load("law", "sweep")]
    laws: list[Law] = [registry.load("law", name) for name in registry.names("law")]
    ordered = [(law.ORDER, law) for law in laws if law.ORDER is not None]
    return [law for _, law in sorted(ordered, key=lambda one: one[0])]
