"""Which tensor is out of scale among its siblings: the same tensor of the other blocks."""

import math
from collections.abc import Mapping
from statistics import median

# Heuristics. The siblings of a MiniLM and of the sample GPT lie within 2.9 of their median. In the
# untrained layer of CHGNet 0.3.0, on which SURE_FACTOR was chosen, matrices and biases lie 38 and
# more from theirs, norms only 9.
LEAST_FACTOR = 4.0
LEAST_DEVIATIONS = 6.0  # of the siblings' own spread, so that a wide spread has no outlier
SURE_FACTOR = 20.0  # beyond it whatever the spread: of few siblings one stray widens it
_MAD_TO_SIGMA = 1.4826  # median absolute deviation → σ for a normal law


def family_ratios(rms: Mapping[str, float | None]) -> dict[str, float]:
    """Each sibling's rms over the median of all; those of rms 0 or None have none."""
    known = {name: x for name, x in rms.items() if x}
    if len(known) < 2:
        return {}
    middle = median(known.values())
    return {name: ratio for name, x in known.items() if 0 < (ratio := x / middle) < math.inf}


def outliers(rms: Mapping[str, float | None]) -> set[str]:
    """The siblings whose log rms lies a factor of LEAST_FACTOR and LEAST_DEVIATIONS robust
    deviations from the median, or a factor of SURE_FACTOR. Fewer than 3 have no norm."""
    logs = {name: math.log(x) for name, x in rms.items() if x}
    if len(logs) < 3:
        return set()
    middle = median(logs.values())
    distances = {name: abs(log - middle) for name, log in logs.items()}
    spread = _MAD_TO_SIGMA * median(distances.values())
    limit = max(math.log(LEAST_FACTOR), min(LEAST_DEVIATIONS * spread, math.log(SURE_FACTOR)))
    return {name for name, distance in distances.items() if distance > limit}
