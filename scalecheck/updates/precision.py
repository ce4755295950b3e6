"""The precision ledger: the share of a tensor's elements that a step changes in weights of a type,
in a copy of that type, and under stochastic rounding, and what is said of all tensors together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np

from scalecheck.dtypes import DTYPES, WORDS, named
from scalecheck.errors import unknown
from scalecheck.measure.groups import mean
from scalecheck.measure.sketch import Sketch
from scalecheck.report.formatting import plural, printable, setting
from scalecheck.theory.precision import half_ulp_toward_zero, layout_of
from scalecheck.updates.moves import Moves, cast_values, half_moving

MOST = 0.5  # share of the weights below which the ledger says what keeps small updates
STILL = 1e-3  # share of its elements up to which a tensor is said not to move
ROUNDING = 2.0**-50  # of a sum of shares
SHARES = ("moves_pure", "moves_cast", "moves_stochastic", "decay_acts")


@dataclass(frozen=True, kw_only=True)
class CastForecast:
    """What a step does to the elements of one tensor in the type of --cast, as shares of them; None
    without it, and where no update is known.

    moves: counts them. moves_pure: where the weights are of this type and rounded to the nearest.
    moves_cast: as seen in a copy of this type of weights that are kept exactly. moves_stochastic:
    where the weights are of this type and rounded stochastically. decay_acts: those that decoupled
    weight decay alone changes, rounded to the nearest; None without one. half_moves_lr: the lr from
    which on half of the elements move where the weights are of this type.
    """

    moves: Moves | None = None
    moves_pure: float | None = None
    moves_cast: float | None = None
    moves_stochastic: float | None = None
    decay_acts: float | None = None
    half_moves_lr: float | None = None


class Forecast(Protocol):
    """What a group's ledger needs of each of its tensors."""

    @property
    def numel(self) -> int: ...
    @property
    def lr(self) -> float | None: ...
    @property
    def moves(self) -> Moves | None: ...


def cast_forecast(
    moves: Moves | None,
    lr: float | None,
    decay: float | None,
    sketch: Sketch,
    stored: str,
    cast: str,
) -> CastForecast:
    """The ledger of a tensor of a stored type; decay: lr·weight_decay where it is decoupled."""
    return CastForecast(
        moves=moves,
        moves_pure=None if moves is None else _moved(moves),
        moves_cast=None if moves is None else moves.cast(),
        moves_stochastic=None if moves is None else moves.stochastic(),
        decay_acts=decay_share(sketch, stored, cast, decay) if decay else None,
        half_moves_lr=_half_lr([(sketch.numel, moves)], lr) if moves is not None else None,
    )


def _moved(moves: Moves) -> float:
    share = 1 - moves.stalled()
    return share if share > ROUNDING else 0.0


def decay_share(sketch: Sketch, stored: str, cast: str, decay: float) -> float | None:
    """The share of the finite elements that w ← (1 − decay)·w changes, rounded to the nearest."""
    values, counts = cast_values(sketch, stored, cast)
    is_held = np.isfinite(values)
    acts = decay * values[is_held] > half_ulp_toward_zero(values[is_held], cast)
    total = counts.sum()
    return float(counts[is_held][acts].sum() / total) if total else None


def half_moves_lr(forecasts: Sequence[Forecast]) -> float | None:
    """The lr from which on half of the elements of tensors of one lr move."""
    lrs = {each.lr for each in forecasts}
    moves = [(each.numel, each.moves) for each in forecasts if each.moves is not None]
    return _half_lr(moves, lrs.pop()) if len(lrs) == 1 else None


def _half_lr(moves: Sequence[tuple[int, Moves]], lr: float | None) -> float | None:
    factor = half_moving(moves)
    return None if lr is None or factor is None else lr * factor


@dataclass(frozen=True)
class Ledger:
    """The ledger of all tensors together; those of which an update is known."""

    cast: str
    forecasts: Sequence[Any]

    @classmethod
    def of(cls, cast: str | None, forecasts: Sequence[Any]) -> Self | None:
        """That of the tensors of which an update is known; None without --cast."""
        known = [each for each in forecasts if each.moves_pure is not None and each.numel]
        return None if cast is None else cls(cast, known)

    @cached_property
    def figures(self) -> dict[str, Any]:
        """What a report's summary says of it: shares of all elements, tensors that do not move, and
        the least lr·weight_decay that changes a weight: a quarter of the type's epsilon."""
        still = self._still
        decays = [each.decay_pull for each in self.forecasts if each.decay_acts is not None]
        return {
            "cast": self.cast,
            "tensors": len(self.forecasts),
            "elements": sum(each.numel for each in self.forecasts),
            **{name: mean(name)(self.forecasts) for name in SHARES},
            "half_moves_lr": half_moves_lr(self.forecasts),
            "still_tensors": len(still),
            "first_still": still[0].name if still else None,
            "decay_per_step": max(decays, default=None),
            "decay_needed": layout_of(self.cast).epsilon / 4,
        }

    @cached_property
    def _still(self) -> list[Any]:
        return [each for each in self.forecasts if each.moves_pure <= STILL]

    def sentences(self) -> Iterator[str]:
        """The shares in words, and what keeps small updates."""
        found, word = self.figures, spoken(self.cast)
        if not found["elements"]:
            yield f"No update is known of any tensor, so what {word} rounds away is not known."
            return
        lrs = {each.lr for each in self.forecasts}
        at = f" at lr {setting(*lrs)}" if len(lrs) == 1 else ""
        pure, copied, stochastic, decayed = (found[name] for name in SHARES)
        words = f"In pure {word}{at}, {_percent(pure)} of the weights change per step"
        if found["half_moves_lr"] is not None:
            words += f"; half of them would at lr {found['half_moves_lr']:.3g}"
        advice = " Keep fp32 master weights or round stochastically."
        yield words + "." + (advice if pure < MOST else "")
        if self._still:
            count = f"{len(self._still)} of {plural(len(self.forecasts), 'tensor')}"
            yield (
                f"{count} do not move in pure {word}, such as {printable(self._still[0].name)}: "
                f"at least {_percent(1 - STILL)} of each rounds back to its old value."
            )
        yield (
            f"In a {word} cast of fp32 master weights, {_percent(copied)} of the elements change "
            "per step; the masters keep all of the update."
        )
        yield (
            f"With stochastic rounding in {word}, {_percent(stochastic)} of the weights change "
            "per step, each by a whole gap: right on average, and the noise stays in the weights."
        )
        if decayed is not None:
            share = f"{_percent(decayed)} of the weights" if decayed else "no weight"
            yield (
                f"Weight decay alone changes {share} in pure {word}: lr·decay is at most "
                f"{_percent(found['decay_per_step'])} per step, and a change below "
                f"{_percent(found['decay_needed'])} of a weight always rounds back."
            )


def spoken(dtype: str) -> str:
    """What people call a type."""
    return next(iter(DTYPES[dtype].spoken), dtype)


def cast_type(word: str | None) -> str | None:
    """The type of --cast by its safetensors name. Raises UsageError."""
    if word is None:
        return None
    name = named(word)
    if name not in WORDS.values():
        raise unknown("cast", word, [*WORDS])
    return name


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
