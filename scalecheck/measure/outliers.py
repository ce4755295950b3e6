"""Which tensor is out of scale among its family: the same tensor of the other blocks."""

import math
from collections.abc import Mapping
from statistics import median

LEAST_FACTOR = 4.0  # siblings of healthy trained models differ by up to about 3
LEAST_DEVIATIONS = 6.0  # of the family's own spread, so that a family of wide spread has none
_MAD_TO_SIGMA = 1.4826  # median absolute deviation → σ for a normal law


def family_ratios(rms: Mapping[str, float | None]) -> dict[str, float]:
    """Each member's rms over the median of its family; members of rms 0 or None have none."""
    known = {name: x for name, x in rms.items() if x}
    if len(known) < 2:
        return {}
    middle = median(known.values())
    return {name: ratio for name, x in known.items() if 0 < (ratio := x / middle) < math.inf}


def outliers(rms: Mapping[str, float | None]) -> set[str]:
    """The members whose log rms lies LEAST_DEVIATIONS robust deviations and a factor of
    LEAST_FACTOR from the family's median. A family of fewer than 3 has no norm to be out of."""
    logs = {name: math.log(x) for name, x in rms.items() if x}
    if len(logs) < 3:
        return set()
    middle = median(logs.values())
    distances = {name: abs(log - middle) for name, log in logs.items()}
    spread = _MAD_TO_SIGMA * median(distances.values())
    limit = max(math.log(LEAST_FACTOR), LEAST_DEVIATIONS * spread)
    return {name for name, distance in distances.items() if distance > limit}
