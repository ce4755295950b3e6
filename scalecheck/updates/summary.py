"""What a translation comes to, in a few plain sentences with the numbers in them."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from scalecheck.report.formatting import count, number, percent, printable, setting
from scalecheck.theory.schedule import Schedule
from scalecheck.updates.bands import ROLES, Bands

Rows = Sequence[Mapping[str, Any]]

NEAR_EPS = 0.1  # share of its elements near eps from which on a tensor is named
NAMED = 3
STALLED = 0.1  # share of its elements from which on a tensor is said to stall


def sentences(rows: Rows, bands: Bands, plan: Schedule | None = None) -> list[str]:
    """Of the rows of a translation: who changes most and least, what is out of band and which lr
    would bring it in, what was measured, what eps rules, what stalls, where a schedule leads."""
    matrices = [row for row in rows if row["role"] in ROLES and row["relative_update"] is not None]
    return [
        *_spread(matrices),
        *_out_of_band(matrices, bands),
        *_measured(matrices),
        *_ruled_by_eps(rows),
        *_stalled(rows),
        *([] if plan is None else _carried(matrices, plan)),
        *_without_ratio(rows),
    ]


def _spread(matrices: Rows) -> Iterator[str]:
    if not matrices:
        return
    most = max(matrices, key=lambda row: row["relative_update"])
    least = min(matrices, key=lambda row: row["relative_update"])
    fast, slow = most["relative_update"], least["relative_update"]
    if len(matrices) == 1:
        yield f"{_name(most)} changes by {number(fast)} of itself a step"
        return
    times = f", {number(fast / slow)} times apart" if slow else ""
    yield (
        f"of {len(matrices)} matrices {_name(most)} changes most, by {number(fast)} of itself a "
        f"step, {_name(least)} least, by {number(slow)}{times}"
    )


def _out_of_band(matrices: Rows, bands: Bands) -> Iterator[str]:
    low, high = bands.typical
    out = [row for row in matrices if not low <= row["relative_update"] < high]
    if not matrices:
        return
    known = [row["relative_update"] for row in matrices if row["relative_update"]]
    least = [row["relative_update_min"] for row in matrices if row["relative_update_min"]]
    most = [row["relative_update_max"] for row in matrices if row["relative_update_max"]]
    lrs = {row["lr"] for row in matrices}
    span = f"{setting(low)} to {setting(high)}"
    if not out:
        yield f"all are in the typical band, {span}"
        return
    words = f"{len(out)} of {len(matrices)} are out of the typical band, {span}"
    if known and len(lrs) == 1 and None not in lrs:
        (lr,) = lrs
        floor, ceiling = lr * low / min(least), lr * high / max(most)
        if floor < ceiling:
            words += f": an lr from {number(floor)} to {number(ceiling)} brings every tensor in"
        else:
            middle = lr * (low * high) ** 0.5 / median(known)
            words += f": no single lr brings all in; {number(middle)} puts the median in its middle"
    yield words


def _measured(matrices: Rows) -> Iterator[str]:
    pairs = [
        (row["update_rms"], row["update_rms_expected"])
        for row in matrices
        if row["measured"] and row["update_rms"] is not None
    ]
    if not pairs:
        return
    middle = median(u for u, _ in pairs)
    words = f"the last update measured has RMS {number(middle)} at lr 1 (median of {len(pairs)})"
    expected = [e for _, e in pairs if e is not None]
    if expected:
        words += f", where noise gives {number(median(expected))} and the rule of thumb 1"
    yield words


def _ruled_by_eps(rows: Rows) -> Iterator[str]:
    """Where √v̂ is so near eps that an update says the gradient's scale, or v or m is broken."""
    ruled = [row for row in rows if (row.get("eps_near_share") or 0.0) >= NEAR_EPS]
    if ruled:
        ruled.sort(key=lambda row: row["eps_near_share"], reverse=True)
        names = ", ".join(
            f"{_name(row)} ({percent(row['eps_near_share'])} %)" for row in ruled[:NAMED]
        )
        more = f" and {len(ruled) - NAMED} more" if len(ruled) > NAMED else ""
        yield f"eps counts: √v̂ is below 100 eps in {names}{more}"
    for field, words in (
        ("v_zeros", "v is 0"),
        ("v_not_finite", "v is NaN, inf or negative"),
        ("m_not_finite", "m is NaN or inf"),
    ):
        broken = [row for row in rows if row.get(field)]
        if broken:
            most = max(broken, key=lambda row: row[field])
            yield (
                f"{words} for {sum(row[field] for row in broken):,} elements, most in {_name(most)}"
            )


def _carried(matrices: Rows, plan: Schedule) -> Iterator[str]:
    """How far the schedule carries matrices, and whether weight decay comes to its balance."""
    walks = [row["random_walk"] for row in matrices if row["random_walk"] is not None]
    bounds = [row["drift"] for row in matrices if row["drift"] is not None]
    if not walks or not bounds:
        return
    yield (
        f"{plan.steps:,} steps of this schedule carry a matrix by {number(min(walks))} to "
        f"{number(max(walks))} of its rms where gradients are as --snr says, and by "
        f"{number(max(bounds))} at most"
    )
    reached = [row["decay_sum"] for row in matrices if row["decay_sum"]]
    if reached and any(row["equilibrium_rms"] for row in matrices):
        words = "comes to" if min(reached) >= 1 else "does not come to"
        yield (
            f"Σ lr·decay is {number(min(reached))}: the scale of matrices {words} the balance of "
            "updates and weight decay"
        )


def _stalled(rows: Rows) -> Iterator[str]:
    known = [row for row in rows if row["stalled"] is not None]
    if not known:
        return
    stuck = [row for row in known if row["stalled"] >= STALLED]
    if stuck:
        worst = max(stuck, key=lambda row: row["stalled"])
        elements = sum(row["stalled"] * row["numel"] for row in known)
        share = elements / sum(row["numel"] for row in known)
        yield (
            f"{percent(share)} % of all elements stall: half an ULP of their type exceeds their "
            f"update; most in {_name(worst)} ({worst['dtype']}), {percent(worst['stalled'])} %"
        )
    else:
        worst = max(known, key=lambda row: row["stalled"])
        yield f"nothing stalls: at most {percent(worst['stalled'])} % of a tensor does not move"


def _without_ratio(rows: Rows) -> Iterator[str]:
    for band, words in (
        ("zero-init", "all zero, so that there is no ratio"),
        ("not finite", "NaN or inf in it, and no ratio"),
    ):
        names = [row for row in rows if row["band"] == band]
        if names:
            more = f" and {count(len(names) - 1)} more" if len(names) > 1 else ""
            first = names[0]["absolute_update"] if band == "zero-init" else None
            step = "" if first is None else f"; the first moves by {number(first)} a step"
            yield f"{band}: {_name(names[0])}{more}: {words}{step}"


def _name(row: Mapping[str, Any]) -> str:
    return printable(row["name"])
