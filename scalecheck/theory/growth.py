"""How large weights become under updates that are noise and weight decay, from their start."""

import math
from functools import lru_cache
from typing import NamedTuple

_PARTS = 256  # of a warm-up, over each of which the lr counts as constant


class Growth(NamedTuple):
    """What becomes of a mean square: kept·square + added, for a displacement of lr a step."""

    kept: float
    added: float

    def rms(self, rms: float, displacement: float = 1.0) -> float:
        """That of weights which had this one; displacement: what noise of one step moves by in the
        end, over its lr."""
        return math.sqrt(self.kept * rms * rms + self.added * displacement * displacement)


def growth(lr: float, weight_decay: float, steps: float) -> Growth:
    """Over steps of one lr, by d(rms²) = (lr·D)² − 2·lr·weight_decay·rms² a step: in the end
    √(lr/(2·weight_decay)) for D = 1."""
    lost = 2 * lr * weight_decay * steps
    if lost <= 1e-9:
        return Growth(1.0, lr * lr * steps)
    kept = math.exp(-lost)
    return Growth(kept, lr * lr * steps * (1 - kept) / lost)


@lru_cache(maxsize=1024)
def warmup_growth(lr: float, weight_decay: float, warmup: int) -> Growth:
    """Over a warm-up in which the lr rises from 0 in a line."""
    kept, added = 1.0, 0.0
    for part in range(_PARTS):
        own = growth(lr * (part + 0.5) / _PARTS, weight_decay, warmup / _PARTS)
        kept, added = kept * own.kept, added * own.kept + own.added
    return Growth(kept, added)
