"""What a simulation is of and what it comes to, in a line each."""

from collections.abc import Iterable
from dataclasses import asdict

from scalecheck.laws.replay.chosen import ALL
from scalecheck.laws.replay.experiment import Experiment
from scalecheck.optimizers.contract import Hyperparameters
from scalecheck.report.formatting import setting
from scalecheck.report.report import Row, Table


def headline(experiments: list[Experiment], optimizer: str, noise: str) -> str:
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


def totals(tables: Iterable[Table]) -> str:
    rows = claims(tables)
    laws = [row for row in rows if not row["contrast"]]
    holding = sum(row["holds"] for row in laws)
    contrasts = len(rows) - len(laws)
    words = f"laws: {holding} hold, {len(laws) - holding} break"
    return words + (f"; contrasts, not counted: {contrasts}" if contrasts else "")


def claims(tables: Iterable[Table]) -> list[Row]:
    return [row for table in tables if table.name == "claims" for row in table.rows]
