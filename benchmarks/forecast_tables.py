"""The tables of forecasts, by the questions that they answer."""

from collections.abc import Iterator

from forecast_figures import (
    CLOSE,
    NEAR,
    QUANTILES,
    SHARES,
    TOLD,
    Chosen,
    Figure,
    Records,
    Table,
    between,
    by_steps,
    count,
    error,
    is_of,
    mean_by_size,
    only,
    quantile,
    share_of,
)
from forecast_runs import TINY_LR, Record

LARGE = 1000  # elements, below which one step is mostly chance
RATIO = [CLOSE, NEAR, *QUANTILES]


def tables(records: Records) -> list[Table]:
    """All tables of these records, whose numbers of steps are theirs."""
    return [
        *_updates(records),
        _means(records),
        _walk(records, "noise", "walk", "in the middle of a run"),
        _walk(records, "noise at first", "walk_at_first", "from the first step on"),
        *_continued(records),
        _equilibrium(),
        *_rounding(),
        _rare_rows(),
        _persistence(),
    ]


def _horizons(records: Records, table: str) -> list[int]:
    return sorted({each.horizon for each in records if each.table == table})


def _updates(records: Records) -> Iterator[Table]:
    """One kind of forecast each, of the next step, of a few and of many."""

    def table(key: str, title: str, chosen: Chosen, name: str = "") -> Table:
        horizons = _horizons(records, name or key)
        return Table(key, title, [TOLD, *by_steps(RATIO, horizons)], chosen)

    yield table("theory", "1. RMS of the next updates over what theory expects", is_of("theory"))
    title = "1. The same where no optimizer state is known, but the optimizer and its lr"
    yield table("stateless", title, is_of("stateless"))
    title = f"2. RMS of the next updates over the last one measured, {LARGE:,} elements and more"
    yield table("measured", title, _sized("measured", False))
    title = f"2. The same of tensors below {LARGE:,} elements"
    yield table("measured_small", title, _sized("measured", True), "measured")
    title = "2. RMS of the next updates over what scalecheck expects of 20 steps"
    yield table("next", title, is_of("next"))
    title = "2. RMS of the next updates over the forecast, in files without names of parameters"
    yield table("unnamed", title, is_of("unnamed"))


def _sized(table: str, is_small: bool) -> Chosen:
    return lambda each: each.table == table and (each.numel < LARGE) == is_small


def _means(records: Records) -> Table:
    words = ("theory", "measured", "both")
    longest = max(_horizons(records, "theory"), default=0)

    def of(record: Record) -> tuple[str, str, str, int]:
        return record.model, record.optimizer, record.tensor, record.moment

    has_both = {of(each) for each in records if each.table == "both" and each.said}
    return Table(
        "both",
        f"3. RMS of the next {longest} updates over theory, the last one measured, and the "
        "geometric mean of both, where all are known",
        [
            figure
            for word in words
            for figure in only([CLOSE, NEAR, QUANTILES[1]], f"{word}:", is_of(word))
        ],
        lambda each: each.horizon == longest and each.table in words and of(each) in has_both,
    )


def _walk(records: Records, name: str, key: str, when: str) -> Table:
    noise = [
        Figure("0.3 to 4", between(0.3, 4), True),
        Figure("below 1", between(0, 1), True),
        *QUANTILES,
    ]
    above = Figure("above drift", between(1.01, float("inf")), True)
    drift = f"{name}: drift"
    return Table(
        key,
        f"4. Displacement over what noise brings, {when}",
        [
            *only([TOLD, *by_steps(noise, _horizons(records, name))], "", is_of(name)),
            *only([above], "", is_of(drift)),
        ],
        is_of(name, drift),
    )


def _continued(records: Records) -> Iterator[Table]:
    title = "4. Displacement over what diff expects after two checkpoints"
    own = by_steps([NEAR, *QUANTILES], _horizons(records, "continued"))
    times = "as many steps and ten times as many"
    yield Table("continued", f"{title}, {times}", [TOLD, *own], is_of("continued"))
    yield Table("two", f"{title}, × √(steps/steps)", [TOLD, NEAR, *QUANTILES], is_of("two"))


def _equilibrium() -> Table:
    ends = Figure("least", quantile(0)), Figure("most", quantile(1))
    figures = [Figure("tensors", count), TOLD, ends[0], *QUANTILES, ends[1]]
    title = "5. rms at the end of a run over the equilibrium"
    return Table("equilibrium", title, figures, is_of("equilibrium"))


def _rounding() -> Iterator[Table]:
    figures = [
        Figure("said", mean_by_size(lambda each: each.said), True),
        Figure("real", mean_by_size(lambda each: each.real), True),
        Figure("off by, median", quantile(0.5, error), True),
        Figure("90 %", quantile(0.9, error), True),
    ]
    for dtype, name in (("bf16", "bf16"), ("fp32", f"fp32 at lr/{1 / TINY_LR:,.0f}")):
        title = f"6. Share of the elements that the next update does not change, {name}"
        for key, those, is_small in (
            ("", "", False),
            ("_small", f", below {LARGE:,} elements", True),
        ):
            chosen = _sized(f"stalled {dtype}", is_small)
            yield Table(f"stalled_{dtype}{key}", title + those, figures, chosen)


def _is_told(table: str) -> Chosen:
    return lambda each: each.table == table and each.said is not None


def _rare_rows() -> Table:
    figures = [
        Figure("hits", count),
        Figure("said", quantile(0.5, lambda each: each.said)),
        Figure("real", quantile(0.5, lambda each: each.real)),
        *RATIO,
    ]
    title = "7. Displacement of an embedding's row by one batch, over what is said"
    return Table("rare_rows", title, figures, _is_told("rare rows"))


def _persistence() -> Table:
    there = [
        Figure(f"real there {n} %", quantile(n / 100, lambda e: None if e.said else e.real))
        for n in SHARES
    ]
    figures = [
        Figure("at the floor", share_of(lambda each: not each.said), True),
        *there,
        Figure("said elsewhere", quantile(0.5, lambda each: each.said or None)),
        Figure("real elsewhere", quantile(0.5, lambda each: each.real if each.said else None)),
        Figure("real/said", quantile(0.5)),
    ]
    title = "8. snr of the state beside that of gradients of many batches"
    return Table("snr", title, figures, _is_told("snr"))
