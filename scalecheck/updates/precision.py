"""The precision ledger: the share of a tensor's elements that a step changes in weights of a type,
in a copy of that type, and under stochastic rounding, and what is said of all tensors together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np

from scalecheck.dtypes import DTYPES, WORDS, named
from scalecheck.errors import unknown
from scalecheck.measure.groups import mean
from scalecheck.measure.sketch import Sketch
from scalecheck.report.formatting import figure, plural, printable, rate
from scalecheck.report.part import Part
from scalecheck.report.report import Column
from scalecheck.theory.precision import half_ulp_toward_zero, layout_of
from scalecheck.updates.moves import MeasuredMoves, Moves, Stalling, cast_values, half_moving

MOST = 0.5  # share of the weights below which the ledger says what keeps small updates
STALLED = 0.1  # share of its elements from which on a tensor is said to stall
MATERIAL = 0.1  # share of all elements from which on this is said first, as a warning
SHOWN = 0.01  # share of its elements from which on a table keeps the column, however narrow it is
STILL = 1e-3  # share of its elements up to which a tensor is said not to move
ROUNDING = 2.0**-50  # of a sum of shares
SHARES = ("moves_pure", "moves_cast", "moves_stochastic", "decay_acts")


@dataclass(frozen=True, kw_only=True)
class PrecisionForecast:
    """What rounding leaves of a step of one tensor, as shares of its elements; None where no update
    is known, or a type's rounding, and without --cast but for the first two.

    stalled: those that the update does not move in the type that they are trained in;
    stalled_measured: counted element by element from the state, not by the update's RMS. moves:
    what is counted in the type of --cast. moves_pure: those that change where the weights are of
    this type and rounded to the nearest. moves_cast: in a copy of this type of weights that are
    kept exactly. moves_stochastic: where the weights are of this type and rounded stochastically.
    decay_acts: those that decoupled weight decay alone changes, rounded to the nearest; None
    without one. half_moves_lr: the lr from which on half of them move where the weights are of this
    type.
    """

    stalled: float | None = None
    stalled_measured: bool = False
    moves: Stalling | None = None
    moves_pure: float | None = None
    moves_cast: float | None = None
    moves_stochastic: float | None = None
    decay_acts: float | None = None
    half_moves_lr: float | None = None


def precision_forecast(
    by_type: Mapping[str, Moves],
    trained_in: str,
    cast: str | None,
    lr: float,
    decay: float | None,
    sketch: Sketch,
    stored: str,
) -> PrecisionForecast:
    """That of a tensor of a stored type; decay: lr·weight_decay where it is decoupled."""
    own, moves = by_type.get(trained_in), by_type.get(cast or "")
    return PrecisionForecast(
        stalled=None if own is None else _share(own.stalled()),
        stalled_measured=isinstance(own, MeasuredMoves),
        moves=None if moves is None else moves.kept,
        moves_pure=None if moves is None else _share(1 - moves.stalled()),
        moves_cast=None if moves is None else moves.cast(),
        moves_stochastic=None if moves is None else moves.stochastic(),
        decay_acts=decay_share(sketch, stored, cast, decay) if cast and decay else None,
        half_moves_lr=None if moves is None else _half_lr([(sketch.numel, moves)], lr),
    )


class Forecast(Protocol):
    """What a group's ledger needs of each of its tensors."""

    @property
    def numel(self) -> int: ...
    @property
    def lr(self) -> float | None: ...
    @property
    def moves(self) -> Stalling | None: ...


def _share(share: float) -> float:
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


COLUMNS = (
    Column(
        "moves_pure",
        "pure %",
        "percent",
        "share of the elements that a step changes where weights of the type of --cast are rounded "
        "to the nearest; in tables in %",
        merge=mean("moves_pure"),
    ),
    Column(
        "moves_cast",
        "cast %",
        "percent",
        "share that a step changes in a copy of that type of float32 master weights",
        merge=mean("moves_cast"),
    ),
    Column(
        "moves_stochastic",
        "stochastic %",
        "percent",
        "share that a step changes where weights of that type are rounded stochastically",
        2,
        merge=mean("moves_stochastic"),
    ),
    Column(
        "decay_acts",
        "decay acts %",
        "percent",
        "share that decoupled weight decay alone changes, rounded to the nearest",
        3,
        merge=mean("decay_acts"),
    ),
    Column(
        "half_moves_lr",
        "half move at",
        "number",
        "the lr from which on half of the elements move where weights of that type are rounded to "
        "the nearest",
        1,
        merge=half_moves_lr,
    ),
)


def _half_lr(moves: Sequence[tuple[int, Stalling]], lr: float | None) -> float | None:
    factor = half_moving(moves)
    return None if lr is None or factor is None else lr * factor


def stalled_part(forecasts: Sequence[Any], cast: str | None) -> Part:
    """What a translation says of the elements that a step leaves as they are: first of all where
    these are many, and --cast does not ask the same."""
    found = stalled_figures(forecasts)
    if not found:
        return Part()
    told = stalled_sentence(forecasts, found)
    if found["stalled_most"] < STALLED:
        return Part(summary=found, notes=[told])
    tone = "warning" if found["stalled"] >= MATERIAL else ""
    types = {each.trained_in for each in forecasts if each.stalled is not None}
    first = [told] if types != {cast} else []
    return Part(summary=found, conclusion=first, notes=[*stalled_notes(found)], tone=tone)


def ledger_part(forecasts: Sequence[Any], cast: str | None) -> Part:
    """What a translation says of --cast; nothing without it."""
    ledger = Ledger.of(cast, forecasts)
    if ledger is None:
        return Part()
    first, *others = ledger.sentences()
    return Part(summary={"precision": ledger.figures}, conclusion=[first], sentences=others)


def stalled_figures(forecasts: Sequence[Any]) -> dict[str, Any]:
    """What a report's summary says of the elements that a step leaves as they are: the share of
    all, the tensor that has most, its share, and of how many tensors each element was counted."""
    known = [each for each in forecasts if each.stalled is not None and each.numel]
    if not known:
        return {}
    worst = max(known, key=lambda each: float(each.stalled))
    return {
        "stalled": mean("stalled")(known),
        "stalled_most": worst.stalled,
        "stalled_most_in": worst.name,
        "stalled_tensors": len(known),
        "stalled_measured_tensors": sum(each.stalled_measured for each in known),
    }


def stalled_sentence(forecasts: Sequence[Any], found: Mapping[str, Any]) -> str:
    """In bf16 at lr 1e-5, 98.9 % of the weights round back to their old value each step, and what
    keeps small updates; found: by `stalled_figures`."""
    known = [each for each in forecasts if each.stalled is not None]
    if found["stalled_most"] < STALLED:
        types = _types(known)
        if not found["stalled_most"]:
            return f"Nothing rounds away in {types}: every weight changes each step."
        most, worst = _percent(found["stalled_most"]), printable(found["stalled_most_in"])
        return (
            f"Little rounds away in {types}: at most {most} of a tensor does not change each step "
            f"({worst})."
        )
    lrs = {each.lr for each in known}
    at = f" at lr {rate(*lrs)}" if len(lrs) == 1 and None not in lrs else ""
    is_narrow = any(DTYPES[each.trained_in].is_narrow for each in known if each.stalled)
    advice = " Keep fp32 master weights, use stochastic rounding, or raise the lr."
    return (
        f"In {_types([each for each in known if each.stalled])}{at}, {_percent(found['stalled'])} "
        f"of the weights round back to their old value each step.{advice if is_narrow else ''}"
    )


def _types(forecasts: Sequence[Any]) -> str:
    return " and ".join(sorted({spoken(each.trained_in) for each in forecasts}))


def stalled_notes(found: Mapping[str, Any]) -> Iterator[str]:
    """Where most rounds away, and how that was counted where a state names tensors."""
    most = _percent(found["stalled_most"])
    worst = printable(found["stalled_most_in"])
    yield f"Most rounds away in {worst}: {most} of it does not change each step."
    count, every = found["stalled_measured_tensors"], found["stalled_tensors"]
    if count:
        others = "" if count == every else "; for the others it assumes normal updates"
        yield (
            f"What rounds away is counted element by element for {count} of {every} "
            f"tensors{others}."
        )


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
            "still_share": 1 - STILL,
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
            yield f"What {word} rounds away is not known: no tensor has elements and an update."
            return
        lrs = {each.lr for each in self.forecasts}
        at = f" at lr {rate(*lrs)}" if len(lrs) == 1 else ""
        pure, copied, stochastic, decayed = (found[name] for name in SHARES)
        words = f"In pure {word}{at}, {_percent(pure)} of the weights change per step"
        if found["half_moves_lr"] is not None:
            words += f"; half of them would at lr {rate(found['half_moves_lr'])}"
        advice = " Keep fp32 master weights or round stochastically."
        yield words + "." + (advice if pure < MOST else "")
        if self._still:
            count, one = len(self._still), len(self._still) == 1
            yield (
                f"{count} of {plural(len(self.forecasts), 'tensor')} "
                f"{'does' if one else 'do'} not move in pure {word}{',' if one else ', such as'} "
                f"{printable(self._still[0].name)}: at least {_percent(1 - STILL)} of "
                f"{'it' if one else 'each'} rounds back to its old value."
            )
        yield (
            f"In {_article(word)} {word} cast of fp32 master weights, {_percent(copied)} of the "
            "elements change per step; the masters keep all of the update."
        )
        yield (
            f"With stochastic rounding in {word}, {_percent(stochastic)} of the weights change "
            "per step, each by a whole gap; the mean change is exact, and noise is added."
        )
        if DTYPES[self.cast].bits == 8:
            yield f"The {word} cast has no scale here; a scale per tensor changes these shares."
        if decayed is not None:
            share = f"{_percent(decayed)} of the weights" if decayed else "no weight"
            yield (
                f"Weight decay alone changes {share} in pure {word}: lr·decay is at most "
                f"{_percent(found['decay_per_step'])} per step, and a change below "
                f"{_percent(found['decay_needed'])} of a weight always rounds back."
            )


def _article(word: str) -> str:
    """The one that is said before a type: an fp32, a bf16."""
    return "an" if word[0] in "aefiou" else "a"


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
    is_near_all = 0.9995 <= share < 1
    return "over 99.9 %" if is_near_all else f"{figure(100 * share)} %"
