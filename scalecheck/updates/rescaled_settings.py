"""The settings that train weights K times larger as those at hand, y = (w'/K)·x."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from scalecheck.errors import UsageError
from scalecheck.optimizers.contract import NoFormula
from scalecheck.report.formatting import setting
from scalecheck.report.report import Column, Table
from scalecheck.updates.training import Training

COLUMNS = (
    Column("setting", "setting", "text", "its name"),
    Column("exponent", "power of K", "power", "the setting is multiplied by K to this power"),
    Column("now", "now", "setting", "what it is; null of gradient clipping, which is not known"),
    Column("scaled", "at K", "setting", "what it has to be"),
)


def scaled_tables(trainings: Iterable[Training], k: float | None) -> list[Table]:
    """One for each way of training, none where K is None. Raises UsageError where an optimizer has
    no such law, or K is no positive number."""
    return [] if k is None else [_table(training, k) for training in dict.fromkeys(trainings)]


def _table(training: Training, k: float) -> Table:
    """Every setting that moves, and what gradients are clipped to."""
    optimizer = training.optimizer
    try:
        law = optimizer.reparameterization()
        scaled = optimizer.rescaled(k)
    except (NoFormula, ValueError, OverflowError) as error:
        raise UsageError(f"--scale-by {setting(k)}: {training.name}: {error}") from error
    rows: list[dict[str, Any]] = [
        _row("lr", law.lr_exponent, training.lr, training.lr * k**law.lr_exponent)
    ]
    own, new = asdict(optimizer), asdict(scaled)
    rows += [_row(name, power, own[name], new[name]) for name, power in law.exponents.items()]
    rows.append(_row("clipping norm", -1, None, None))
    title = f"Weights {setting(k)} times larger, divided by {setting(k)} where they are used"
    return Table("scaled", COLUMNS, COLUMNS, rows, f"{title}: {training.name}")


def _row(name: str, exponent: int, now: float | None, scaled: float | None) -> dict[str, Any]:
    return {"setting": name, "exponent": exponent, "now": now, "scaled": scaled}
