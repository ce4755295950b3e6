"""What records of forecasts come to: a table for each kind of forecast, with a row for each
optimizer and model, and one for all of an optimizer's models."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from forecast_runs import TINY_LR, Record

ALL = "all"
LARGE = 1000  # elements, below which one step is mostly chance
NOISE_RANGE = (0.3, 4.0)

Records = Sequence[Record]


@dataclass(frozen=True)
class Figure:
    """A column: its title, whether it is a share, and what it is of a row's records."""

    title: str
    of: Callable[[Records], float | None]
    is_share: bool = False

    def cell(self, value: float | None) -> str:
        if value is None:
            return ""
        return f"{100 * value:.0f} %" if self.is_share else f"{value:.3g}"


@dataclass(frozen=True)
class Table:
    """key: its name in JSON. chosen: the records that it is about."""

    key: str
    title: str
    figures: Sequence[Figure]
    chosen: Callable[[Record], bool]

    def rows(self, records: Iterable[Record]) -> dict[tuple[str, str], list[float | None]]:
        """The figures by optimizer and model, `all` models of an optimizer first."""
        groups: dict[tuple[str, str], list[Record]] = {}
        for record in filter(self.chosen, records):
            for model in (ALL, record.model):
                groups.setdefault((record.optimizer, model), []).append(record)
        return {
            key: [figure.of(own) for figure in self.figures]
            for key, own in sorted(groups.items(), key=lambda item: (item[0][0], item[0][1] != ALL))
        }

    def cells(self, values: Sequence[float | None]) -> list[str]:
        return [figure.cell(value) for figure, value in zip(self.figures, values, strict=True)]

    @property
    def head(self) -> list[str]:
        return ["optimizer", "model", *(figure.title for figure in self.figures)]


def ratios(records: Records) -> list[float]:
    """Real over forecast, of those that have one."""
    return [each.real / each.said for each in records if each.said and each.real is not None]


def within(factor: float) -> Callable[[Records], float | None]:
    """The share of ratios that are at most this factor from 1, either way."""
    return between(1 / factor, factor)


def between(low: float, high: float) -> Callable[[Records], float | None]:
    """The share of ratios from one to the other."""
    return _of_ratios(lambda own: np.mean([low <= ratio <= high for ratio in own]))


def quantile(share: float) -> Callable[[Records], float | None]:
    """Of the ratios."""
    return _of_ratios(lambda own: np.quantile(own, share))


def _of_ratios(what: Callable[[list[float]], Any]) -> Callable[[Records], float | None]:
    return lambda records: float(what(own)) if (own := ratios(records)) else None


def _told(records: Records) -> float | None:
    """The share that a forecast was made for."""
    return sum(bool(each.said) for each in records) / len(records) if records else None


TOLD = Figure("forecast", _told, True)
CLOSE, NEAR = Figure("≤ 1.25×", within(1.25), True), Figure("≤ 2×", within(2), True)
QUANTILES = [Figure(f"{share} %", quantile(share / 100)) for share in (10, 50, 90)]


def _only(figures: Iterable[Figure], title: str, chosen: Callable[[Record], bool]) -> list[Figure]:
    """The same figures of some of the records, with a word before their titles."""

    def of(figure: Figure) -> Callable[[Records], float | None]:
        return lambda records: figure.of([each for each in records if chosen(each)])

    return [
        Figure(f"{title} {figure.title}".strip(), of(figure), figure.is_share) for figure in figures
    ]


def _next(figures: Iterable[Figure], horizons: Iterable[int]) -> list[Figure]:
    """The same figures for each number of steps."""
    kept = [*figures]
    return [
        figure
        for horizon in horizons
        for figure in _only(kept, f"{horizon}:", lambda each, n=horizon: each.horizon == n)
    ]


def _mean(which: str, weighted: bool = True) -> Callable[[Records], float | None]:
    """The mean of what was said or real, over all elements."""

    def of(records: Records) -> float | None:
        own = [each for each in records if each.said is not None]
        if not own:
            return None
        return float(np.average([getattr(e, which) for e in own], weights=[e.numel for e in own]))

    return of


def _median(what: Callable[[Record], float | None]) -> Callable[[Records], float | None]:
    def of(records: Records) -> float | None:
        own = [value for each in records if (value := what(each)) is not None]
        return float(np.median(own)) if own else None

    return of


def _stalled_error(share: float) -> Callable[[Records], float | None]:
    def of(records: Records) -> float | None:
        own = [
            abs(each.said - each.real)
            for each in records
            if each.said is not None and each.real is not None
        ]
        return float(np.quantile(own, share)) if own else None

    return of


def _at_floor(records: Records) -> float | None:
    own = [each.said == 0 for each in records if each.said is not None]
    return float(np.mean(own)) if own else None


def _snr_at_floor(share: float) -> Callable[[Records], float | None]:
    """A quantile of the real snr of tensors whose state says that there is none."""

    def of(records: Records) -> float | None:
        own = [each.real for each in records if each.said == 0 and each.real is not None]
        return float(np.quantile(own, share)) if own else None

    return of


def _is(*tables: str) -> Callable[[Record], bool]:
    return lambda record: record.table in tables


def tables(records: Records) -> list[Table]:
    """All tables of these records, whose numbers of steps are theirs."""

    def horizons(table: str) -> list[int]:
        return sorted({each.horizon for each in records if each.table == table})

    steps, walks = horizons("theory"), horizons("noise")
    ratio = [CLOSE, NEAR, *QUANTILES]
    longest = steps[-1] if steps else 0
    compared = [
        figure
        for word in ("theory", "measured", "both")
        for figure in _only([CLOSE, NEAR, QUANTILES[1]], f"{word}:", _is(word))
    ]
    has_both = {
        (e.model, e.optimizer, e.tensor, e.moment) for e in records if e.table == "both" and e.said
    }
    noise = [
        Figure("0.3 to 4", between(*NOISE_RANGE), True),
        Figure("below 1", between(0, 1), True),
        *QUANTILES,
    ]
    above = Figure("above drift", between(1.0001, np.inf), True)
    walk = [
        *_only([TOLD, *_next(noise, walks)], "", _is("noise")),
        *_only([above], "", _is("drift")),
    ]
    stalled = [
        Figure("said", _mean("said"), True),
        Figure("real", _mean("real"), True),
        Figure("off by, median", _stalled_error(0.5), True),
        Figure("90 %", _stalled_error(0.9), True),
    ]
    return [
        Table(
            "theory",
            "1. RMS of the next updates over what theory expects",
            [TOLD, *_next(ratio, steps)],
            _is("theory"),
        ),
        Table(
            "stateless",
            "1. The same where no optimizer state is known, but the optimizer and its lr",
            [TOLD, *_next(ratio, horizons("stateless"))],
            _is("stateless"),
        ),
        Table(
            "measured",
            f"2. RMS of the next updates over the last one measured, {LARGE:,} elements and more",
            [TOLD, *_next(ratio, steps)],
            lambda each: each.table == "measured" and each.numel >= LARGE,
        ),
        Table(
            "measured_small",
            f"2. The same of tensors below {LARGE:,} elements",
            [TOLD, *_next(ratio, steps)],
            lambda each: each.table == "measured" and each.numel < LARGE,
        ),
        Table(
            "unnamed",
            "2. RMS of the next updates over the forecast, where the file has no parameter names",
            [TOLD, *_next(ratio, horizons("unnamed"))],
            _is("unnamed"),
        ),
        Table(
            "both",
            f"3. RMS of the next {longest} updates over theory, the last one measured, and the "
            "geometric mean of both, where all are known",
            compared,
            lambda e: (
                e.horizon == longest
                and e.table in ("theory", "measured", "both")
                and (e.model, e.optimizer, e.tensor, e.moment) in has_both
            ),
        ),
        Table(
            "walk",
            "4. Displacement over what noise brings, and the share above drift",
            walk,
            _is("noise", "drift"),
        ),
        Table(
            "two",
            "4. Displacement over the last one × √(steps/steps)",
            [TOLD, NEAR, *QUANTILES],
            _is("two"),
        ),
        Table(
            "equilibrium",
            "5. rms at the end of a run over the equilibrium",
            [
                Figure("tensors", lambda own: float(len(own))),
                TOLD,
                Figure("least", quantile(0)),
                *QUANTILES,
                Figure("most", quantile(1)),
            ],
            _is("equilibrium"),
        ),
        *(
            Table(
                f"stalled_{dtype}{word}",
                f"6. Share of the elements that the next update does not change, {title}{those}",
                stalled,
                lambda each, t=f"stalled {dtype}", s=small: (
                    each.table == t and (each.numel < LARGE) == s
                ),
            )
            for dtype, title in (("bf16", "bf16"), ("fp32", f"fp32 at lr/{1 / TINY_LR:,.0f}"))
            for word, those, small in (
                ("", "", False),
                ("_small", f", tensors below {LARGE:,} elements", True),
            )
        ),
        Table(
            "rare_rows",
            "7. Displacement of an embedding's row by one batch, over what is said",
            [
                Figure("hits", lambda own: float(len(own))),
                Figure("said", _median(lambda each: each.said)),
                Figure("real", _median(lambda each: each.real)),
                *ratio,
            ],
            lambda each: each.table == "rare rows" and each.said is not None,
        ),
        Table(
            "snr",
            "8. snr of the state beside that of gradients of many batches",
            [
                Figure("at the floor", _at_floor, True),
                *(
                    Figure(f"real there {share} %", _snr_at_floor(share / 100))
                    for share in (10, 50, 90)
                ),
                Figure("said elsewhere", _median(lambda each: each.said or None)),
                Figure("real elsewhere", _median(lambda each: each.real if each.said else None)),
                Figure("real/said", quantile(0.5)),
            ],
            lambda each: each.table == "snr" and each.said is not None,
        ),
    ]
