"""The lr of a relative update that is asked for: of a row, and in a sentence on all tensors."""

import math
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from scalecheck.report.formatting import rate, step_percent
from scalecheck.report.report import Row
from scalecheck.updates.tensor_forecast import TensorForecast

Forecasts = Sequence[TensorForecast]


def towards(row: Row, members: Forecasts, relative_update: float | None) -> dict[str, float | None]:
    """target_lr and target_factor of a row: its update is in proportion to its lr. None where there
    is no update, and where the optimizer caps its lr below what it takes."""
    own, lr = row["relative_update"], row["lr"]
    unit = _unit(members) if lr is None and own is None else None
    if relative_update is None or not (own or unit):
        return {"target_lr": None, "target_factor": None}
    if unit:
        lr = relative_update / unit
        return {"target_lr": lr if _reached(members, lr) else None, "target_factor": None}
    factor = relative_update / own
    if lr is None:
        return {"target_lr": None, "target_factor": factor}
    wanted = _effective(members[0], lr) * factor
    if not _reached(members, wanted):
        return {"target_lr": None, "target_factor": None}
    return {"target_lr": wanted, "target_factor": wanted / lr}


def _unit(members: Forecasts) -> float | None:
    """The relative update at an lr of 1 of the members whose lr is not known."""
    known = [
        (each.numel, each.unit_update, each.rms)
        for each in members
        if each.unit_update is not None and each.rms and each.is_finite and each.lr is None
    ]
    moved = math.hypot(*(math.sqrt(n) * update for n, update, _ in known))
    scale = math.hypot(*(math.sqrt(n) * rms for n, _, rms in known))
    return moved / scale if scale else None


def _effective(member: TensorForecast, lr: float) -> float:
    return member.training.optimizer.effective_lr(lr, member.expected_step)


def _reached(members: Forecasts, lr: float) -> bool:
    return all(math.isclose(_effective(each, lr), lr) for each in members)


def summary(forecasts: Forecasts, relative_update: float | None) -> dict[str, Any]:
    """The figures of the sentence: the lrs of the matrices, or of all tensors where the checkpoint
    has no matrix of which an update is usual."""
    if relative_update is None:
        return {}
    matrices = [each for each in forecasts if each.has_band]
    found = _lrs(matrices, relative_update)
    are_matrices = bool(found)
    found = found or _lrs(forecasts, relative_update)
    return {
        "target": {
            "relative_update": relative_update,
            "lr_min": min(found, default=None),
            "lr_median": median(found) if found else None,
            "lr_max": max(found, default=None),
            "matrices" if are_matrices else "tensors": len(found),
        }
    }


def _lrs(forecasts: Forecasts, relative_update: float) -> list[float]:
    lrs = (
        towards({"relative_update": each.relative_update, "lr": each.lr}, [each], relative_update)[
            "target_lr"
        ]
        for each in forecasts
    )
    return [lr for lr in lrs if lr is not None and math.isfinite(lr)]


def sentence(forecasts: Forecasts, figures: dict[str, Any]) -> Iterator[str]:
    """Which lr the target takes, for the figures of `summary`; none without a target."""
    if not figures:
        return
    target = figures["target"]
    words = step_percent(target["relative_update"])
    if target["lr_median"] is None:
        yield f"No lr is known for {words}: no tensor has both a scale and an update."
        return
    optimizers = " and ".join(sorted({each.training.name for each in forecasts}))
    one, several = ("matrix", "matrices") if "matrices" in target else ("tensor", "tensors")
    low, middle, high = (rate(target[name]) for name in ("lr_min", "lr_median", "lr_max"))
    if low == high:
        of = f"1 {one}" if (n := target[several]) == 1 else f"{n} {several}"
        yield f"For {words}, {optimizers} takes lr {middle} ({of})."
    else:
        yield (
            f"For {words}, {optimizers} takes lr {low} to {high} (median {middle} of "
            f"{target[several]} {several}); --emit torch writes them."
        )
