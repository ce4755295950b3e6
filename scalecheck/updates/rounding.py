"""How far the rounding of a state's averages to codes leaves its last update open."""

import math

import numpy as np
from numpy.typing import NDArray

from scalecheck.optimizers.contract import NoFormula

FloatArray = NDArray[np.float64]

SPAN = 0.08
"""The share of an update by which the averages that are rounded to its codes can change it. Within
it, and with few coarse codes, roundings cancelled to 0.5 % in all runs of bitsandbytes and torchao;
beyond it errors of more than 1 % were seen."""
COARSE = 1.5  # times its smallest update from which on the largest of an element is another
COARSE_SHARE = 0.015  # of the squares of all updates


class Rounding:
    """Sums over the elements of a state of codes."""

    def __init__(self) -> None:
        self._smallest = self._decoded = self._largest = self._coarse = 0.0

    def add(
        self, smallest: FloatArray | None, decoded: FloatArray, largest: FloatArray | None
    ) -> None:
        """Takes in the updates of some elements, and of the averages that are rounded to them."""
        if smallest is None or largest is None:
            return
        is_coarse = np.abs(largest) > COARSE * np.abs(smallest)
        self._coarse += float(np.sum(np.square(decoded[is_coarse])))
        self._smallest += float(smallest @ smallest)
        self._decoded += float(decoded @ decoded)
        self._largest += float(largest @ largest)

    def require_fine(self) -> None:
        """Raises NoFormula where the codes do not tell the update within 1 %."""
        if not self._decoded:
            return
        low, high = (math.sqrt(x / self._decoded) for x in (self._smallest, self._largest))
        is_fine = low >= 1 - SPAN and high <= 1 + SPAN
        if not is_fine or self._coarse > COARSE_SHARE * self._decoded:
            raise NoFormula("its averages are codes of too few bits to tell the update within 1 %")
