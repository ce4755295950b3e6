"""The laws that an optimizer is tuned by, replayed on synthetic gradients beside what theory
expects."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from typing import Any

from scalecheck import registry
from scalecheck.dtypes import BY_TORCH_NAME, FLOAT_TYPES
from scalecheck.errors import UsageError, unknown
from scalecheck.laws.contract import Law
from scalecheck.laws.replay import overview
from scalecheck.laws.replay.claim import COLUMNS
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.laws.replay.gradients import noise_law
from scalecheck.laws.replay.lanes import replayed
from scalecheck.laws.replay.running_optimizer import DTYPES, few_threads
from scalecheck.optimizers.contract import Hyperparameters
from scalecheck.report.formatting import setting
from scalecheck.report.report import Report, Row, Table

ALL = "all"
MAX_SIZE, MAX_STEPS = 10**7, 10**7
SMALLEST, LARGEST = 1e-100, 1e100  # of a scale: its cube and its inverse are still float64 numbers

Progress = Callable[[int, int], None]


def simulate(
    optimizer: str = "adam",
    *,
    k: float = 10.0,
    steps: int = 1000,
    size: int = 4096,
    lr: float = 1e-3,
    snr: float = 0.0,
    noise: str = "gaussian",
    grad_scale: float = 1.0,
    clip: float | None = None,
    dtype: str = "float64",
    seed: int = 0,
    tolerance: float = 0.01,
    sweep: bool = False,
    progress: Progress = lambda done, total: None,
    **hyperparameters: Any,
) -> Report:
    """Replays the real optimizer, or "all" of them, and claims what theory says of it.

    k: factor of the gradients and of the weights. size: elements of the replayed tensor. lr: the
    nominal one of the laws that need one; update sizes are at lr 1. Gradients have RMS grad_scale,
    a mean of snr standard deviations, the noise gaussian, student-t:DOF, sparse:DENSITY or
    ar1:RHO, and are clipped to the norm clip. dtype: one of float64, float32, bfloat16, float16.
    tolerance: relative. sweep: instead of the other laws, the updates at k from 1e-12 to 1e12.
    hyperparameters: the optimizer's own, such as beta1 or eps.

    The report's claims say whether they hold; one that breaks and is no contrast is a failure.
    Raises UsageError for an unknown word and a setting outside its domain.
    """
    _check(k, steps, size, lr, snr, grad_scale, clip, dtype, seed, tolerance)
    own = _hyperparameters(optimizer, hyperparameters, dtype)
    if sweep and len(own) > 1:
        raise UsageError(f"--sweep: of one optimizer, not of {optimizer}")
    law = noise_law(noise)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(done, steps * len(own))

    experiments = [
        Experiment(
            name, one, k, steps, size, lr, law, snr, grad_scale, clip, dtype, seed, tolerance, tick
        )
        for name, one in own.items()
    ]
    try:
        with few_threads(size):
            if optimizer == ALL:
                tables = [*_overview(experiments)]
            else:
                run = replayed(experiments[0])
                tables = [
                    table for law in _laws(sweep) for table in law.tables(experiments[0], run)
                ]
    except RuntimeError as error:  # torch, of a setting that its types cannot hold
        raise UsageError(f"--optimizer {optimizer}: {error}") from error
    return Report(
        kind="simulate",
        tables=tables,
        source={"optimizer": optimizer, "hyperparameters": _given(own, optimizer, hyperparameters)},
        settings={
            "k": k,
            "steps": steps,
            "size": size,
            "lr": lr,
            "snr": snr,
            "noise": noise,
            "grad_scale": grad_scale,
            "clip": clip,
            "dtype": dtype,
            "seed": seed,
            "tolerance": tolerance,
            "sweep": sweep,
        },
        headline=_headline(experiments, optimizer, noise),
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
    if optimizer not in (ALL, *known):
        raise unknown("--optimizer", optimizer, [*known, ALL])
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


def _check(
    k: float,
    steps: int,
    size: int,
    lr: float,
    snr: float,
    grad_scale: float,
    clip: float | None,
    dtype: str,
    seed: int,
    tolerance: float,
) -> None:
    """Raises UsageError for a setting outside its domain."""
    for name, scale in (("k", k), ("grad-scale", grad_scale), ("lr", lr), ("clip", clip)):
        if scale is not None and not SMALLEST <= scale <= LARGEST:
            raise UsageError(f"--{name} {scale}: a number from {SMALLEST:g} to {LARGEST:g}")
    if k == 1:
        raise UsageError("--k 1: shows nothing; a factor other than 1")
    for name, number, most in (("steps", steps, MAX_STEPS), ("size", size, MAX_SIZE)):
        if not 1 <= number <= most:
            raise UsageError(f"--{name} {number}: a number from 1 to {most}")
    if seed < 0:
        raise UsageError(f"--seed {seed}: a number from 0 up")
    if not math.isfinite(snr):
        raise UsageError(f"--snr {snr}: a finite number")
    if not 0 < tolerance < 1:
        raise UsageError(f"--tolerance {tolerance}: a number between 0 and 1")
    if dtype not in DTYPES:
        raise unknown("--dtype", dtype, DTYPES)


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
