"""The lrs at which updates lie among published ones, and the lr as a width scales it."""

import math
from collections.abc import Sequence

from scalecheck.report.formatting import rate
from scalecheck.updates.placed import family_of, starts_large
from scalecheck.updates.situation import Situation
from scalecheck.updates.tensor_forecast import TensorForecast

Forecasts = Sequence[TensorForecast]

PROPORTIONAL = ("start", "residual_start", "mid")
"""The quantities that are in proportion to the lr."""


def lr_bounds(forecasts: Forecasts) -> tuple[float, float] | None:
    """The least and the largest lr at which every step lies inside its range; None where tensors
    have several lrs, nothing is judged, or float64 does not hold them."""
    lrs = {each.lr for each in forecasts if each.lr is not None and each.placements}
    judged = [
        (one, starts_large(each))
        for each in forecasts
        for one in each.placements[:1]
        if one.range.quantity in PROPORTIONAL and one.value
    ]
    if len(lrs) != 1 or not judged:
        return None
    (lr,) = lrs
    floors = [one.range.low / one.value for one, is_large in judged if not is_large]
    low, high = lr * max(floors, default=0.0), lr * min(o.range.high / o.value for o, _ in judged)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def width_lr(forecasts: Forecasts, situation: Situation) -> float | None:
    """lr·√width at the start of a language model's pretraining by Adam."""
    lrs = {each.lr for each in forecasts if each.has_band and each.lr is not None}
    families = {family_of(each.training) for each in forecasts if each.has_band}
    is_known = situation.phase == "pretrain" and situation.is_peak and situation.width is not None
    if not is_known or len(lrs) != 1 or families != {"adam"} or situation.width is None:
        return None
    return lrs.pop() * math.sqrt(situation.width)


def span_of_lrs(bounds: tuple[float, float]) -> str:
    """8e-4 to 0.004, or up to 0.004."""
    low, high = bounds
    return f"{rate(low)} to {rate(high)}" if low else f"up to {rate(high)}"
