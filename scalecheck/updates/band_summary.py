"""What a translation says of its updates beside the bands that were given."""

from collections.abc import Sequence
from statistics import median

from scalecheck.recipes.placement import percent
from scalecheck.report.formatting import plural, rate
from scalecheck.report.part import Part
from scalecheck.updates.bands import Bands
from scalecheck.updates.tensor_forecast import TensorForecast, different_lrs


def banded(forecasts: Sequence[TensorForecast], bands: Bands) -> Part:
    """How many matrices are outside of the typical band, and which lr brings them inside."""
    matrices = [e for e in forecasts if e.has_band and e.relative_update is not None]
    low, high = bands.typical
    updates = [each.relative_update or 0.0 for each in matrices]
    if not updates:
        return Part()
    out = sum(not low <= update < high for update in updates)
    figures = {"typical": [low, high], "matrices": len(updates), "outside": out}
    lrs = {"lr_min": None, "lr_max": None, "lr_median": None} | _lrs(matrices, low, high)
    count, span = len(updates), f"{percent(low)} to {percent(high)} % per step"
    if not out:
        every = f"All {count} matrices are" if count > 1 else "The only matrix is"
        words = f"{every} inside {span}"
    else:
        words = f"{out} of {_matrices(count)} {'is' if out == 1 else 'are'} outside {span}"
        if lrs["lr_min"] is not None and lrs["lr_max"] is not None:
            words += f"; all are inside for lr {rate(lrs['lr_min'])} to {rate(lrs['lr_max'])}"
        elif lrs["lr_median"] is not None:
            words += f"; no single lr brings all inside, lr {rate(lrs['lr_median'])} centres them"
    worst = {bands.of(update) for update in updates}
    tone = "error" if "very high" in worst else "warning" if out else "ok"
    return Part(summary={"bands": {**figures, **lrs}}, conclusion=[f"{words}."], tone=tone)


def _matrices(count: int) -> str:
    return plural(count, "matrix") if count == 1 else f"{count:,} matrices"


def _lrs(matrices: Sequence[TensorForecast], low: float, high: float) -> dict[str, float]:
    """The lrs that bring every matrix inside, or where none does the one that puts the median in
    the middle; none where tensors have several lrs."""
    moving = [each.relative_update for each in matrices if each.relative_update]
    lrs = different_lrs(matrices)
    if not moving or len(lrs) != 1:
        return {}
    (lr,) = lrs
    floor, ceiling = lr * low / min(moving), lr * high / max(moving)
    if floor < ceiling:
        return {"lr_min": floor, "lr_max": ceiling}
    return {"lr_median": lr * (low * high) ** 0.5 / median(moving)}
