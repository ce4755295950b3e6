"""What a set of records comes to: figures of the ratio between what came and the forecast, in
tables by optimizer and model."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from forecast_runs import Record

ALL = "all"
SHARES = (10, 50, 90)  # of the quantiles that are printed, in %

Records = Sequence[Record]
Chosen = Callable[[Record], bool]
Statistic = Callable[[Records], float | None]


@dataclass(frozen=True)
class Figure:
    """A column: its title, what it is of a row's records, and whether that is a share."""

    title: str
    of: Statistic
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
    chosen: Chosen

    def rows(self, records: Iterable[Record]) -> dict[tuple[str, str], list[float | None]]:
        """The figures by optimizer and model, `all` models of an optimizer first."""
        groups: dict[tuple[str, str], list[Record]] = {}
        for record in filter(self.chosen, records):
            for model in (ALL, record.model):
                groups.setdefault((record.optimizer, model), []).append(record)
        ordered = sorted(groups.items(), key=lambda item: (item[0][0], item[0][1] != ALL))
        return {key: [figure.of(own) for figure in self.figures] for key, own in ordered}

    def cells(self, values: Sequence[float | None]) -> list[str]:
        return [figure.cell(value) for figure, value in zip(self.figures, values, strict=True)]

    @property
    def head(self) -> list[str]:
        return ["optimizer", "model", *(figure.title for figure in self.figures)]


def is_of(*tables: str) -> Chosen:
    """Whether a record is of one of these tables."""
    return lambda record: record.table in tables


def ratio(record: Record) -> float | None:
    """Real over forecast; None where there is none."""
    return record.real / record.said if record.said and record.real is not None else None


def error(record: Record) -> float | None:
    """How far the forecast is from what came."""
    if record.said is None or record.real is None:
        return None
    return abs(record.said - record.real)


def quantile(share: float, what: Callable[[Record], float | None] = ratio) -> Statistic:
    """Of something of each record that has it."""
    return _of_all(what, lambda values: float(np.quantile(values, share)))


def between(low: float, high: float) -> Statistic:
    """The share of ratios from one to the other."""
    return _of_all(ratio, lambda values: float(np.mean([low <= each <= high for each in values])))


def share_of(what: Chosen) -> Statistic:
    """The share of records of which something holds."""
    return _of_all(lambda record: float(what(record)), lambda values: float(np.mean(values)))


def mean_by_size(which: Callable[[Record], float | None]) -> Statistic:
    """The mean over all elements of the tensors that have a forecast."""

    def of(records: Records) -> float | None:
        own = [(v, e.numel) for e in records if e.said is not None and (v := which(e)) is not None]
        return sum(value * numel for value, numel in own) / sum(n for _, n in own) if own else None

    return of


def count(records: Records) -> float:
    return float(len(records))


def _of_all(
    what: Callable[[Record], float | None], merge: Callable[[list[float]], float]
) -> Statistic:
    def of(records: Records) -> float | None:
        values = [value for each in records if (value := what(each)) is not None]
        return merge(values) if values else None

    return of


TOLD = Figure("forecast", share_of(lambda record: bool(record.said)), True)
CLOSE = Figure("≤ 1.25×", between(1 / 1.25, 1.25), True)
NEAR = Figure("≤ 2×", between(1 / 2, 2), True)
QUANTILES = [Figure(f"{share} %", quantile(share / 100)) for share in SHARES]


def only(figures: Iterable[Figure], title: str, chosen: Chosen) -> list[Figure]:
    """The same figures of some of the records, with a word before their titles."""

    def of(figure: Figure) -> Statistic:
        return lambda records: figure.of([each for each in records if chosen(each)])

    return [
        Figure(f"{title} {figure.title}".strip(), of(figure), figure.is_share) for figure in figures
    ]


def by_steps(figures: Sequence[Figure], horizons: Iterable[int]) -> list[Figure]:
    """The same figures for each number of steps."""
    return [
        figure
        for steps in horizons
        for figure in only(figures, f"{steps}:", lambda each, n=steps: each.horizon == n)
    ]
