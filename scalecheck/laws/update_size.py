"""The law of update size: an update's RMS at lr 1 is what theory gives for the optimizer, the step
and the law of the gradient, whatever the gradient's scale."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scalecheck.laws.replay.claim import HOLDS, Claim, claims_table, reason
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.laws.replay.replay import Replayed, Size
from scalecheck.optimizers.contract import Gradient
from scalecheck.report.formatting import figure, finite, setting
from scalecheck.report.report import Column, Table
from scalecheck.theory.noise import StudentT

LAW = "update size"
ORDER = 2
ERRORS = 4  # standard errors of the mean square over the elements that a replay may stray
WIDEST = 0.2  # tolerance, relative, beyond which there is no verdict
FEWEST = 16  # elements from which on their spread says how far they stray
FEW_STEPS = 10
CONSTANT = 1e6  # an snr that is as good as a constant gradient

COLUMNS = (
    Column("step", "step", "count", "updates done, from 1"),
    Column(
        "update_rms_replayed",
        "replayed",
        "measured",
        "RMS of the updates at lr 1; null where not finite",
    ),
    Column("update_rms_expected", "expected", "number", "by theory; null where it has none"),
    Column(
        "tolerance",
        "tolerance",
        "setting",
        "what the two may differ by: the greater of --tolerance and four standard errors, and the "
        "error of the optimizer's formula",
    ),
    replace(HOLDS, help="the two differ by no more than the tolerance; null where one is null"),
)


def tables(experiment: Experiment, run: Replayed) -> Iterator[Table]:
    """Replayed beside expected over the steps, then what is claimed of it."""
    gradient = experiment.gradient()
    expected = [experiment.expected(size.step, gradient) for size in run.sizes]
    rows = [_row(experiment, size, u) for size, (u, _) in zip(run.sizes, expected, strict=True)]
    silent = dict.fromkeys(why for size, why in expected if size is None)
    notes = [f"no expectation: {why}" for why in silent]
    if any(row["update_rms_expected"] is not None and row["tolerance"] is None for row in rows):
        notes.append("no verdict where too few elements carry the RMS; a larger --size may do")
    title = "2  Update size: the RMS of the updates at lr 1"
    yield Table("replay", COLUMNS, COLUMNS, rows, title, notes)
    yield claims_table([*claims(experiment, run)], notes=_sentences(experiment))


def answer(experiment: Experiment, tables: Sequence[Table]) -> str:
    """The size of the first and the last update at lr 1, beside theory."""
    rows = next(table.rows for table in tables if table.name == "replay")
    first, last = rows[0], rows[-1]
    steps = [f"{_size(first)} at step 1"]
    steps += [f"{_size(last)} at step {last['step']:,}"] if len(rows) > 1 else []
    return f"Update size of {experiment.name}: {', '.join(steps)}."


def _size(row: Mapping[str, Any]) -> str:
    replayed, expected = row["update_rms_replayed"], row["update_rms_expected"]
    if replayed is None:
        return "not finite"
    theory = "" if expected is None else f" (theory {figure(expected)})"
    return f"{figure(replayed)} × lr{theory}"


def claims(experiment: Experiment, replayed: Replayed) -> Iterator[Claim]:
    """The step that strays the most of its tolerance, and the limits that theory has: the last
    update of noise, of a constant gradient, and of noise that is not averaged."""
    gradient = experiment.gradient()
    steps = [
        claim
        for size in replayed.sizes
        for claim in _claim(experiment, size, gradient, f" at step {size.step}, farthest off")
    ]
    if steps:
        yield max(steps, key=_strays)
    noise, constant = (Gradient(experiment.rms(), snr) for snr in (0.0, CONSTANT))
    beta1 = getattr(experiment.optimizer, "beta1", None)
    averaged = "" if beta1 is None else f", beta1 {setting(beta1)}"
    if replayed.unaveraged and experiment.unaveraged:
        without = replace(experiment, optimizer=experiment.unaveraged)
        yield from _claim(without, replayed.unaveraged, noise, ", Gaussian noise, beta1 0")
    yield from _claim(experiment, replayed.constant, constant, ", a constant gradient")
    yield from _claim(experiment, replayed.noise, noise, f", Gaussian noise{averaged}")


def _claim(experiment: Experiment, size: Size, gradient: Gradient, words: str) -> Iterator[Claim]:
    """What is claimed of a size; nothing where theory has none to compare with."""
    expected = experiment.expected(size.step, gradient)[0]
    allowed = None if expected is None else tolerance(experiment, size, expected)
    if expected is not None and allowed is not None:
        why = reason(experiment, {"g": 1.0})
        yield Claim.of(experiment, LAW, f"update RMS{words}", size.rms, expected, allowed, why)


def _strays(claim: Claim) -> float:
    off = abs(claim.measured - claim.expected)
    return math.inf if math.isnan(off) else off / (claim.tolerance or math.inf)


def tolerance(experiment: Experiment, size: Size, expected: float) -> float | None:
    """What a replayed size may be off by: the experiment's tolerance, or what so few elements stray
    by if that is more, and the error of the formula. None where that is too wide for a verdict."""
    if _has_no_spread(experiment, size):
        return None
    strays = max(experiment.tolerance, ERRORS * size.error)
    allowed = strays + experiment.optimizer.formula_error(size.step)
    return expected * allowed if strays <= max(WIDEST, experiment.tolerance) else None


def _has_no_spread(experiment: Experiment, size: Size) -> bool:
    """A replay that tells nothing of how far it strays: of too few elements, of none that moved, or
    of updates whose fourth moment has no limit or comes from a few."""
    heavy = isinstance(experiment.noise, StudentT) and experiment.noise.dof <= 4
    few = experiment.optimizer.heavy_tailed_updates and size.step > FEW_STEPS
    return experiment.size < FEWEST or size.rms == 0 or few or (heavy and experiment.degree != 0)


def _row(experiment: Experiment, size: Size, expected: float | None) -> dict[str, Any]:
    allowed = holds = None
    if expected is not None and (allowed := tolerance(experiment, size, expected)) is not None:
        holds = abs(size.rms - expected) <= allowed
    return {
        "step": size.step,
        "update_rms_replayed": finite(size.rms),
        "update_rms_expected": expected,
        "tolerance": allowed,
        "holds": holds,
    }


def _sentences(experiment: Experiment) -> list[str]:
    """Why "about 1" and what noise leaves of it are both true."""
    beta1 = getattr(experiment.optimizer, "beta1", 0.0)
    if experiment.degree != 0 or not beta1:
        return []
    left = math.sqrt((1 - beta1) / (1 + beta1))
    return [
        '"about 1" and less are both true: a gradient over the root of its own mean square is '
        f"about 1, and averaging noise over beta1 {setting(beta1)} leaves "
        f"√((1 − beta1)/(1 + beta1)) = {left:.4f} of it; a gradient that keeps its sign is not "
        "averaged away"
    ]
