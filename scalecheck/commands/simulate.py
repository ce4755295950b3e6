"""The laws that an optimizer is tuned by, replayed on synthetic gradients beside what theory
expects."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from scalecheck import registry
from scalecheck.dtypes import BY_TORCH_NAME, FLOAT_TYPES
from scalecheck.errors import UsageError
from scalecheck.laws.contract import Law
from scalecheck.laws.replay import overview
from scalecheck.laws.replay.claim import COLUMNS
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.laws.replay.gradients import noise_law
from scalecheck.laws.replay.lanes import replayed
from scalecheck.laws.replay.running_optimizer import few_threads
from scalecheck.optimizers.contract import Hyperparameters
from scalecheck.report.formatting import setting
from scalecheck.report.report import Report, Row, Table
from scalecheck.settings import Settings

ALL = "all"
LARGEST = 1e100  # of a hyperparameter: its cube is still a float64 number

Progress = Callable[[int, int], None]


def simulate(settings: Settings, progress: Progress) -> Report:
    """The report of `simulate`. Raises UsageError."""
    own = _hyperparameters(settings.optimizer, settings.hyperparameters, settings.dtype)
    if settings.sweep and len(own) > 1:
        raise UsageError(f"--sweep: of one optimizer, not of {settings.optimizer}")
    law = noise_law(settings.noise)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, settings.steps * len(own))

    experiments = [
        Experiment(
            name,
            one,
            settings.k,
            settings.steps,
            settings.size,
            settings.lr,
            law,
            settings.snr,
            settings.grad_scale,
            settings.clip,
            settings.dtype,
            settings.seed,
            settings.tolerance,
            tick,
        )
        for name, one in own.items()
    ]
    try:
        with few_threads(settings.size):
            if settings.optimizer == ALL:
                tables = [*_overview(experiments)]
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
            "hyperparameters": _given(own, settings.optimizer, settings.hyperparameters),
        },
        settings=settings.recorded("optimizer", "hyperparameters"),
        headline=_headline(experiments, settings.optimizer, settings.noise),
        totals=_totals(tables),
    )


def failures(report: Report) -> int:
    """How many laws a simulation found broken; contrasts are none."""
    return sum(not row["holds"] and not row["contrast"] for row in _claims(report.tables))


def _laws(sweep: bool) -> list[Law]:
    """The sweep, or all the laws in their order."""
    if sweep:
        return [registry.load("law", "sweep")]
    laws: list[Law] = [registry.load("law", name) for name in registry.names("law")]
    ordered = [(law.ORDER, law) for law in laws if law.ORDER is not None]
    return [law for _, law in sorted(ordered, key=lambda one: one[0])]


def _overview(experiments: list[Experiment]) -> Iterator[Table]:
    rows, claims = [], []
    for experiment in experiments:
        row, found = overview.row(experiment)
        rows.append(row)
        claims += found
    refusals = [f"no p: {one.name}: {one.refusal}" for one in experiments if one.refusal]
    yield overview.table(rows, claims, refusals)
    yield Table("claims", COLUMNS, (), [claim.row() for claim in claims])


def _hyperparameters(
    optimizer: str, given: Mapping[str, Any], dtype: str
) -> dict[str, Hyperparameters]:
    """The optimizer of a name, or all of them, with the settings given where they have them."""
    known = registry.names("optimizer")
    found: dict[str, Hyperparameters] = {}
    nowhere = set(given)
    precision = FLOAT_TYPES[BY_TORCH_NAME[dtype].name]
    for word, value in given.items():
        if isinstance(value, float) and abs(value) > LARGEST:
            raise UsageError(f"--optimizer {optimizer}: {word} {value} is above {LARGEST:g}")
    for name in known if optimizer == ALL else [optimizer]:
        family: type[Hyperparameters] = registry.load("optimizer", name).Optimizer
        has = [field.name for field in fields(family)]
        if optimizer != ALL and (lacking := [word for word in given if word not in has]):
            raise UsageError(f"--optimizer {name}: has no {lacking[0]}; it has {', '.join(has)}")
        try:
            one = family(**{word: given[word] for word in given if word in has})
            found[name] = one.at_precision(precision.epsilon)
        except (TypeError, ValueError) as error:
            raise UsageError(f"--optimizer {name}: {error}") from error
        nowhere -= set(has)
    if nowhere:
        raise UsageError(f"--optimizer {optimizer}: none has {', '.join(sorted(nowhere))}")
    return found


def _given(
    own: Mapping[str, Hyperparameters], optimizer: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Every hyperparameter of the one optimizer; of all, those that were given."""
    return dict(given) if optimizer == ALL else asdict(own[optimizer])


def _headline(experiments: list[Experiment], optimizer: str, noise: str) -> str:
    one = experiments[0]
    words = [f"k = {setting(one.k)}", f"{one.steps} steps of {one.size} gradients"]
    if noise != "gaussian" or one.snr:
        words.append(f"{noise} noise of snr {setting(one.snr)}")
    words += [f"rms(g) {setting(one.grad_scale)}", f"lr {setting(one.lr)}"]
    if one.clip is not None:
        words.append(f"clipped to {setting(one.clip)}")
    words += [one.dtype, f"seed {one.seed}"]
    own = "" if optimizer == ALL else _settings(one.optimizer)
    name = f"{len(experiments)} optimizers" if optimizer == ALL else optimizer
    return f"{name}{own}\n{', '.join(words)}"


def _settings(optimizer: Hyperparameters) -> str:
    """The settings that are numbers, such as beta1 0.9, eps 1e-08."""
    numbers = [
        f"{name} {setting(value)}"
        for name, value in asdict(optimizer).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and value
    ]
    return f" ({', '.join(numbers)})" if numbers else ""


def _claims(tables: Iterable[Table]) -> list[Row]:
    return [row for table in tables if table.name == "claims" for row in table.rows]


def _totals(tables: Iterable[Table]) -> str:
    rows = _claims(tables)
    laws = [row for row in rows if not row["contrast"]]
    holding = sum(row["holds"] for row in laws)
    contrasts = len(rows) - len(laws)
    words = f"laws: {holding} hold, {len(laws) - holding} break"
    return words + (f"; contrasts, not counted: {contrasts}" if contrasts else "")
