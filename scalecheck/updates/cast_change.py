"""How much of the change between two casts of float32 weights is rounding, and how far the weights
themselves moved."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scalecheck.checkpoint.aligned import placed
from scalecheck.checkpoint.tensor import Tensor
from scalecheck.measure.change import Change
from scalecheck.measure.comparison import Comparison, Pair
from scalecheck.measure.scaled_float import ScaledFloat
from scalecheck.report.formatting import number
from scalecheck.report.report import Column
from scalecheck.theory.precision import layout_of
from scalecheck.updates.moves import cell_around, meant, share_that_leaves
from scalecheck.updates.precision import spoken

MOST = 0.5  # share of changed elements from which on the rounding of both sides is taken off
MEAN_GAP = 0.57  # over epsilon·rms, of normal weights
SEVERAL = 1.39  # times (σ/gap)², by which a mean gap is larger where changes cross several
MOST_ROUNDING = 0.7  # of the squared change of such a tensor: of more, the weights lie on values
SIGMAS = 3.0  # by which a mean gap is known to be small
MEAN_SQUARE_GAP = 0.46  # over epsilon²·rms²
NEARLY_ALL = 0.9  # share of changed elements from which on their rounding is as that of any others
MOST_READ = 1 << 16  # elements of a tensor that is looked at for being one number
_HALVINGS = 60
SMALL = 0.83  # of the mean gap: changes of smaller gaps are of the smallest weights alone


@dataclass(frozen=True)
class CastChange:
    """The change of tensors that are casts to one type on both sides, as sums of squares; beside
    them of tensors of wider types, which are the weights themselves.

    before: of the weights, stored: of their change. master: of the change of the weights that were
    rounded, error: the standard error of that. crossed: of the change of the tensors whose elements
    differ, expected: what it is at least where the weights lay anywhere between two values.
    """

    dtype: str
    before: float
    stored: float
    master: float
    error: float
    crossed: float
    expected: float

    @property
    def is_told(self) -> bool:
        """The gaps that were crossed are of weights of all sizes. Where the weights before are
        values of the type, as where a run starts from a cast, only the smallest have crossed one,
        and the casts do not tell how far the others moved."""
        spread = self.error / self.master / 2 if self.master else 0.0
        return self.crossed >= (SMALL - SIGMAS * spread) * self.expected

    @property
    def master_change(self) -> float | None:
        """‖ΔW‖/‖W‖ of the weights that were rounded; None where no cast changed."""
        is_told = self.is_told and self.stored and self.before
        return math.sqrt(self.master / self.before) if is_told else None

    @property
    def master_change_error(self) -> float | None:
        """The standard error of that."""
        if self.master_change is None or not self.error:
            return None
        return self.master_change * self.error / self.master / 2

    @property
    def rounding_share(self) -> float | None:
        """The share of the squared change of the casts that rounding added."""
        return max(0.0, 1 - self.master / self.stored) if self.is_told and self.stored else None


def are_casts(pair: Pair) -> bool:
    """Whether its elements are floats of one type of 16 bits or less on both sides."""
    types = {tensor.dtype for tensor in pair.tensors or ()}
    return len(types) == 1 and all(dtype.is_narrow and dtype.layout for dtype in types)


def _are_wide(pair: Pair) -> bool:
    """Whether its elements are floats of more than 16 bits on both sides."""
    return all(t.dtype.is_float and not t.dtype.is_narrow for t in pair.tensors or ())


def cast_change(comparisons: Sequence[Comparison]) -> CastChange | None:
    """That of tensors together, tied ones once and buffers left out, where all casts are to one
    type and all others of wider ones; None elsewhere, and where there are no casts.

    A weight that lies anywhere between two values of a type crosses to another one with the
    probability |Δ|/gap, so that Σ|b−a| is Σ|Δ| on average, whatever the gaps; its variance is at
    most Σ(b−a)². Normal Δ have Σ Δ² = π/2·(Σ|Δ|)²/n. Where most elements of a tensor changed, both
    roundings added gap²/12 to each. Elements that are all one number on a side, as gains of 1 that
    a run starts from, do not lie anywhere: how many changed tells then.
    """
    own = [e for e in comparisons if e.change is not None and not e.is_copy and e.role != "buffer"]
    wide = [each for each in own if _are_wide(each.pair)]
    casts = [each for each in own if not _are_wide(each.pair)]
    types = {tensor.dtype.name for each in casts for tensor in each.pair.tensors or ()}
    if len(types) != 1 or not all(are_casts(each.pair) for each in casts):
        return None
    (dtype,) = types
    parts = [_part(each, change) for each in casts if (change := each.change) and change.summed]
    if not parts:
        return None
    if any(stored for _, stored, *_ in parts):
        parts += [_exact(each.change) for each in wide if each.change and each.change.summed]
    before, stored, master, variance, *gaps = (sum(part) for part in zip(*parts, strict=True))
    return CastChange(dtype, before, stored, master, math.sqrt(variance), *gaps)


def _exact(change: Change) -> tuple[float, ...]:
    """The same as _part of a tensor that holds the weights themselves."""
    before, stored = _plain(change.before), _plain(change.difference)
    return before, stored, stored, 0.0, 0.0, 0.0


def _part(one: Comparison, change: Change) -> tuple[float, ...]:
    """The sums of squares of a CastChange of one tensor, the square of the error in its place."""
    assert one.pair.tensors is not None
    before, stored = _plain(change.before), _plain(change.difference)
    if change.changed and change.summed <= MOST_READ:
        for side in one.pair.tensors:
            if (number := _only_number(side)) is not None:
                return before, stored, *_from_one(number, side.dtype.name, change, stored), 0.0, 0.0
    epsilon = layout_of(one.pair.tensors[0].dtype.name).epsilon
    normal = math.pi / 2 * change.path**2 / change.summed
    gap = MEAN_GAP * epsilon * math.sqrt(before / change.summed)
    if (change.changed_share or 0.0) >= MOST:
        rounding = MEAN_SQUARE_GAP * epsilon**2 * before / 6
        least = rounding / MOST_ROUNDING / SMALL
        return before, stored, max(0.0, stored - rounding), 0.0, min(stored, least), least
    error = math.pi * change.path / change.summed * math.sqrt(stored)
    several = math.sqrt(1 + SEVERAL * normal / change.summed / gap**2) if gap else 1.0
    return before, stored, min(normal, stored), error**2, stored, change.path * gap * several


def _only_number(tensor: Tensor) -> float | None:
    """What all its elements are; None where they differ, and where they are 0 or not finite."""
    found = np.unique(np.concatenate([values for _, (values,) in placed([tensor])]))
    return float(found[0]) if len(found) == 1 and found[0] and np.isfinite(found[0]) else None


def _from_one(number: float, dtype: str, change: Change, stored: float) -> tuple[float, float]:
    """Σ Δ² of the weights and the square of its error, where all casts of a side are one number:
    normal Δ leave its cell with the share that changed. Half a gap is less below a power of two
    than above."""
    cell = cell_around(meant(abs(number), dtype), dtype)
    share, spread = change.changed / change.numel, 0.0
    if share >= NEARLY_ALL:
        return max(0.0, stored - change.summed * sum(each**2 for each in cell) / 6), 0.0
    spread = math.sqrt(share * (1 - share) / change.numel)
    square, more = (
        change.summed * _sigma_that_leaves(cell, each) ** 2 for each in (share, share + spread)
    )
    return square, (more - square) ** 2


def _sigma_that_leaves(cell: tuple[float, float], share: float) -> float:
    """The standard deviation of normal changes of which this share leaves a cell."""
    low, high = 0.0, 100 * max(cell)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if share_that_leaves(cell, middle) >= share else (middle, high)
    return high


def _plain(square: ScaledFloat) -> float:
    return math.ldexp(square.mantissa, square.exponent)


def figures(found: CastChange | None) -> dict[str, Any]:
    """What a report's summary says of it."""
    if found is None:
        return {}
    return {
        "casts": {
            "dtype": found.dtype,
            "relative_change": math.sqrt(found.stored / found.before) if found.before else None,
            "master_change": found.master_change,
            "master_change_error": found.master_change_error,
            "rounding_share": found.rounding_share,
        }
    }


def sentences(found: CastChange | None) -> Iterator[str]:
    """How much is rounding, beside both figures."""
    if found is None or not found.stored or not found.before:
        return
    word = spoken(found.dtype)
    if found.master_change is None or found.rounding_share is None:
        yield (
            f"How far fp32 weights behind these {word} casts moved is not known: only the smallest "
            "weights changed. This happens when the first side is the file that the run started "
            "from."
        )
        return
    stored, share = math.sqrt(found.stored / found.before), 100 * found.rounding_share
    spread = ""
    if found.master_change_error is not None:
        spread = f" ± {found.master_change_error:.1g} if their changes are normally distributed"
    yield (
        f"If both sides hold {word} casts of fp32 weights, {share:.3g} % of the squared change is "
        f"rounding: the casts changed by {number(stored)} of their norm, the weights by "
        f"{number(found.master_change)}{spread}."
    )


def _of(name: str) -> Any:
    def get(displacement: Any) -> float | None:
        found = cast_change(displacement.comparisons)
        value: float | None = getattr(found, name, None)
        return value

    return get


COLUMNS = (
    Column(
        "master_change",
        "of masters",
        "number",
        "relative_change of the float32 weights, where both sides are casts of such to one type of "
        "16 bits or less and the change is of normal elements; null where casts do not tell it",
        2,
        _of("master_change"),
    ),
    Column(
        "rounding_share",
        "rounding %",
        "percent",
        "share of the squared change that rounding added then; in tables in %",
        2,
        _of("rounding_share"),
    ),
)
