"""The law of gradient scale over every scale: update RMS against k, from gradients so small that
eps or the storage type swallow them to such as overflow it."""

from collections.abc import Iterator, Sequence
from typing import Any

from scalecheck.laws import gradient_scale
from scalecheck.laws.replay.claim import LARGEST, storage_limits
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.laws.replay.replay import HeldReplay, Replayed, Size
from scalecheck.laws.update_size import tolerance
from scalecheck.optimizers.contract import Gradient
from scalecheck.report.formatting import finite
from scalecheck.report.report import Column, Table

ORDER = None  # `simulate --sweep` shows it
EXPONENTS = range(-12, 13)
STEPS = 100
FAR = 1e12  # a gradient's RMS beside which no eps counts

COLUMNS = (
    Column("k", "k", "setting", "factor of the gradients"),
    Column("grad_rms", "gradient rms", "number", "RMS of k·g"),
    Column(
        "update_rms",
        "update",
        "measured",
        "RMS of the update at lr 1, replayed; null where not finite",
    ),
    Column("update_rms_expected", "expected", "number", "by theory; null where it has none"),
    Column(
        "region",
        "region",
        "sentence",
        "plateau: as without eps; eps shoulder: eps shortens the update; underflow cliff, "
        "overflow: the storage type loses g or its square; proportional: to k",
    ),
)
CHART = Column(
    "chart", "", "chart", "the update on a logarithmic scale", cell=lambda row: row["update_rms"]
)
SHOWN = (*(column for column in COLUMNS if column.name != "grad_rms"), CHART)


def tables(experiment: Experiment, run: Replayed) -> Iterator[Table]:
    """The law, then a row a decade of k."""
    yield from gradient_scale.tables(experiment, run)
    rows = [_row(experiment, 10.0**exponent) for exponent in EXPONENTS]
    yield Table("sweep", COLUMNS, SHOWN, rows, "Sweep: the RMS of the updates of k·g at lr 1")


def answer(experiment: Experiment, tables: Sequence[Table]) -> str:
    """That of the law of gradient scale."""
    return gradient_scale.answer(experiment, tables)


def _row(experiment: Experiment, k: float) -> dict[str, Any]:
    held = HeldReplay(experiment, k)
    for _, gradient in zip(range(STEPS), experiment.stream(), strict=False):
        update = held.update(gradient)
    size = Size.of(held.steps, update)
    expected = experiment.expected(held.steps, experiment.gradient(k))[0]
    return {
        "k": k,
        "grad_rms": experiment.grad_scale * k,
        "update_rms": finite(size.rms),
        "update_rms_expected": expected,
        "region": _region(experiment, k, size, expected),
    }


def _region(experiment: Experiment, k: float, size: Size, expected: float | None) -> str:
    """What rules the update there; empty where theory does not say."""
    far = Gradient(FAR, experiment.snr, experiment.noise)
    plateau = experiment.expected(size.step, far)[0] if experiment.degree == 0 else None
    vanishing, overflowing = storage_limits(experiment)
    scale = experiment.grad_scale * k
    if expected is not None and _is(experiment, size, expected):
        if plateau is None:
            return "proportional" if experiment.degree == 1 else ""
        return "plateau" if _is(experiment, size, plateau) else "eps shoulder"
    if scale > overflowing / LARGEST:
        return "overflow"
    return "underflow cliff" if vanishing > experiment.tolerance**2 * scale else ""


def _is(experiment: Experiment, size: Size, expected: float) -> bool:
    allowed = tolerance(experiment, size, expected)
    return allowed is not None and abs(size.rms - expected) <= allowed
