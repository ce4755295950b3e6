"""The laws that an optimizer is tuned by, replayed on synthetic gradients beside what theory
expects."""

from collections.abc import Callable

from scalecheck import registry
from scalecheck.errors import UsageError
from scalecheck.laws.contract import Law
from scalecheck.laws.replay import overview
from scalecheck.laws.replay.claim import claims, totals
from scalecheck.laws.replay.experiment import ALL, Experiment, headline, optimizers, recorded
from scalecheck.laws.replay.gradients import noise_law
from scalecheck.laws.replay.replay import few_threads, replayed
from scalecheck.report.report import Report
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
                tables = [*overview.tables(experiments)]
            else:
                run = replayed(experiments[0])
                tables = [
                    table
                    for law in _laws(settings.sweep)
                    for table in law.tables(experiments[0], run)
                ]
    except RuntimeError as error:  # torch, of a setting that its types cannot hold
        raise UsageError(f"--optimizer {settings.optimizer}: {error}") from error
    return Report(
        kind="simulate",
        tables=tables,
        source={
            "optimizer": settings.optimizer,
            "hyperparameters": recorded(own, settings.optimizer, settings.hyperparameters),
        },
        settings=settings.recorded("optimizer", "hyperparameters"),
        headline=headline(experiments, settings.optimizer, settings.noise),
        totals=totals(tables),
        failed=any(not row["holds"] and not row["contrast"] for row in claims(tables)),
    )


def _laws(sweep: bool) -> list[Law]:
    """The sweep, or all the laws in their order."""
    if sweep:
        return [registry.load("law", "sweep")]
    laws: list[Law] = [registry.load("law", name) for name in registry.names("law")]
    ordered = [(law.ORDER, law) for law in laws if law.ORDER is not None]
    return [law for _, law in sorted(ordered, key=lambda one: one[0])]
