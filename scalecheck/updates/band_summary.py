"""What a translation says of its updates beside the bands that were given."""

from collections.abc import Iterator, Sequence
from statistics import median

from scalecheck.report.formatting import number, setting
from scalecheck.updates.bands import Bands
from scalecheck.updates.tensor_forecast import TensorForecast, different_lrs


def out_of_band(forecasts: Sequence[TensorForecast], bands: Bands) -> Iterator[str]:
    """How many matrices are out of the typical band, and which lr brings them in."""
    matrices = [e for e in forecasts if e.has_band and e.relative_update is not None]
    low, high = bands.typical
    updates = [each.relative_update or 0.0 for each in matrices]
    if not updates:
        return
    out = sum(not low <= update < high for update in updates)
    span = f"{setting(low)} to {setting(high)}"
    if not out:
        yield f"all are in the typical band, {span}"
        return
    words = f"{out} of {len(updates)} are out of the typical band, {span}"
    moving = [update for update in updates if update]
    lrs = different_lrs(matrices)
    if moving and len(lrs) == 1:
        (lr,) = lrs
        floor, ceiling = lr * low / min(moving), lr * high / max(moving)
        if floor < ceiling:
            words += f": an lr from {number(floor)} to {number(ceiling)} brings every tensor in"
        else:
            middle = lr * (low * high) ** 0.5 / median(moving)
            words += f": no single lr brings all in; {number(middle)} puts the median in its middle"
    yield words
