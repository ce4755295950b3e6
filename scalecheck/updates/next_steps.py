"""What the next steps of a tensor are expected to be: its own last update, where one tensor's is
more than chance; else that of its family, of states of its shape, or theory's."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from scalecheck.updates.tensor_forecast import OWN, THEORY, TensorForecast

FAMILY = "family"
LARGE = 1000  # elements from which on a tensor's own last update says its next ones
FEW = 100  # elements below which even a family's last update is chance


def with_next_steps(forecasts: Sequence[TensorForecast]) -> list[TensorForecast]:
    """The forecasts, those of small tensors with the measured update of their whole family."""
    small: dict[str, list[TensorForecast]] = defaultdict(list)
    for each in forecasts:
        if each.measured and each.numel < LARGE:
            small[each.family].append(each)
    return [
        _pooled(each, small[each.family]) if each.measured and each.numel < LARGE else each
        for each in forecasts
    ]


def _pooled(own: TensorForecast, family: Sequence[TensorForecast]) -> TensorForecast:
    """A small tensor's forecast, by all small ones of its family that were measured."""
    numel = sum(each.numel for each in family)
    if numel < FEW:
        if own.update_rms_expected is None:
            return own
        return replace(own, update_rms_next=own.update_rms_expected, next_by=THEORY)
    square = math.fsum((each.update_rms or 0.0) ** 2 * each.numel for each in family)
    by = OWN if len(family) == 1 else FAMILY
    return replace(own, update_rms_next=math.sqrt(square / numel), next_by=by)
