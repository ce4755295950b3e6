"""The rms of a tensor or a group beside the one that an initialization gives: what --init adds."""

import math
from collections.abc import Collection

from scalecheck.measure.flags import FlaggedStats
from scalecheck.measure.group_stats import GroupStats
from scalecheck.measure.initial_scale import Reference
from scalecheck.report.report import Column

Stats = FlaggedStats | GroupStats


def _init_rms(stats: Stats) -> float | None:
    return stats.reference.rms if stats.reference else None


def _init_ratio(stats: Stats) -> float | None:
    """None too for a reference of 0."""
    if stats.rms is None or not stats.reference or not stats.reference.rms:
        return None
    ratio = stats.rms / stats.reference.rms
    return ratio if math.isfinite(ratio) else None


COLUMNS = (
    Column("init_rms", "init rms", "number", "rms that the initialization gives", 1, _init_rms),
    Column("init_ratio", "× init", "number", "rms over init_rms", get=_init_ratio),
    Column(
        "init_tolerance",
        "± %",
        "percent",
        "how far chance puts init_ratio off 1: three standard errors; in tables in percent",
        1,
        lambda stats: stats.reference and stats.reference.tolerance(stats.numel),
    ),
)


def silence(word: str, references: Collection[Reference | None]) -> list[str]:
    """A note with the number of tensors that the scheme says nothing of; none for none."""
    silent = sum(reference is None for reference in references)
    return (
        [f"--init {word} says nothing of {silent} of {len(references)} tensors"] if silent else []
    )
