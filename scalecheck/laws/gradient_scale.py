"""The law of gradient scale: the streams g and k·g give updates of which one is k^degree times the
other; degree 0, the same updates, is what Adam and all have that normalise the gradient."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from scalecheck.laws.replay.claim import Claim, claims_table, reason, rows_of, times
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.laws.replay.gradients import deviation
from scalecheck.laws.replay.replay import HeldReplay, Replayed
from scalecheck.optimizers.contract import Hyperparameters
from scalecheck.optimizers.sgd import Optimizer as Sgd
from scalecheck.report.formatting import setting
from scalecheck.report.report import Table

LAW = "gradient scale"
ORDER = 1
WINDOW_STEPS = 50
WINDOW_SIZE = 4096  # elements at most
FIRST, LAST, RESOLUTION = 1e-3, 300.0, 1e-4  # decades
FINE = 1e-4  # of the decades found


def tables(experiment: Experiment, run: Replayed) -> Iterator[Table]:
    """The law and its contrast, with the window of k within which each holds."""
    found = [*claims(experiment, run)]
    share = f"{setting(100 * experiment.deviates)} %"
    notes = []
    if experiment.degree is None:
        notes.append(f"no law: {experiment.refusal}")
    else:
        low, high = window(experiment, experiment.optimizer, experiment.degree)
        notes.append(f"holds to {share} {_from(low, high)}")
    if experiment.name != "sgd" and experiment.degree == 0:
        low, high = window(experiment, Sgd(), 0)
        notes[-1] += f"; the same of sgd {_from(low, high)}"
    yield claims_table(found, f"1  Gradient scale: {_law(experiment)}", notes)


def answer(experiment: Experiment, tables: Sequence[Table]) -> str:
    """What gradients k times larger do to the updates, beside SGD's."""
    if experiment.degree is None:
        return f"Gradients: no law for {experiment.name}: {experiment.refusal}."
    rows = rows_of(tables, LAW)
    law, contrast = rows[0], rows[-1]
    k, larger, name = setting(experiment.k), times(experiment.k), experiment.name
    off = "not finite" if law["measured"] is None else f"{law['measured']:.2g}"
    if not law["holds"]:
        return f"Gradients {larger}: the law breaks for {name} (difference {off})."
    if experiment.degree:
        power = setting(experiment.k**experiment.degree)
        return f"Gradients {larger}: {name}'s updates grow {power} times."
    words = f"Gradients {larger}: {name}'s updates do not change (difference {off})"
    return f"{words}{'' if contrast['holds'] else f'; SGD{chr(39)}s grow {k} times'}."


def claims(experiment: Experiment, replayed: Replayed) -> Iterator[Claim]:
    """The law where there is one, and one contrast."""
    name, allowed = experiment.name, experiment.deviates
    law = _law(experiment)
    if replayed.in_proportion is not None:
        why = reason(experiment, {"g": 1.0, "k·g": experiment.k})
        yield Claim.of(experiment, LAW, law, replayed.in_proportion, 0.0, allowed, why)
    measured, why = replayed.alike, "it has no law" if experiment.refusal else law
    if experiment.degree == 0:
        name, measured = "sgd", replayed.sgd_alike
        why = f"SGD's updates grow {setting(experiment.k)} times with its gradients"
    words = f"contrast: {name}'s updates for k·g equal those for g"
    yield Claim(LAW, words, name, experiment.k, measured, 0.0, allowed, True, why)


def window(experiment: Experiment, optimizer: Hyperparameters, degree: int) -> tuple[float, float]:
    """The smallest and the largest k up to which the law holds over the first steps of an
    optimizer: by steps outwards from k = 1, each twice the one before, and bisection of the last.
    """
    small = replace(
        experiment,
        steps=min(experiment.steps, WINDOW_STEPS),
        size=min(experiment.size, WINDOW_SIZE),
    )
    own = None if optimizer is experiment.optimizer else optimizer
    base = HeldReplay(small, optimizer=own)
    steps = [(gradient, base.update(gradient)) for gradient in small.stream()]

    def holds(decades: float) -> bool:
        k = 10.0**decades
        held = HeldReplay(small, k, own)
        return all(
            deviation(held.update(gradient), k**degree * update) <= small.deviates
            for gradient, update in steps
        )

    return 10.0 ** -_edge(lambda x: holds(-x)), 10.0 ** _edge(holds)


def _edge(holds: Callable[[float], bool]) -> float:
    """The largest x up to LAST for which it holds, as far as doubling x from FIRST and bisection
    find it; 0 where it does not hold at FIRST."""
    inside, outside = 0.0, FIRST
    while holds(outside):
        if outside == LAST:
            return LAST
        inside, outside = outside, min(2 * outside, LAST)
    while outside - inside > max(RESOLUTION, FINE * inside):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if holds(middle) else (inside, middle)
    return inside


def _from(low: float, high: float) -> str:
    if -math.log10(low) >= LAST and math.log10(high) >= LAST:
        return f"for every k tried, {low:.2g} to {high:.2g}"
    if not low < 1 < high:
        return "for no other k than 1"
    return f"for k from {_digits(low)} to {_digits(high)}"


def _digits(k: float) -> str:
    """Two digits, of which the second depends on the gradients drawn; three beside 1."""
    return f"{k:.3g}" if 0.1 < k < 10 else f"{k:.2g}"


def _law(experiment: Experiment) -> str:
    """The law in words."""
    updates = f"{experiment.name}'s updates for k·g"
    match experiment.degree:
        case None:
            return f"{updates} follow no law"
        case 0:
            return f"{updates} equal those for g"
        case 1:
            return f"{updates} are k times those for g"
        case degree:
            return f"{updates} are k^{degree} times those for g"
