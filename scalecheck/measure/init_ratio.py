"""The rms of a tensor or a group beside the one that an initialization gives: what --init adds."""

import math
from collections.abc import Collection
from typing import Protocol

from scalecheck.measure.initial_scale import Reference
from scalecheck.report.report import Column
from scalecheck.theory.initialization import rms_tolerance


class Measured(Protocol):
    """What has an rms and a reference: FlaggedStats, GroupStats."""

    @property
    def numel(self) -> int: ...
    @property
    def rms(self) -> float | None: ...
    @property
    def reference(self) -> Reference | None: ...


def _init_rms(stats: Measured) -> float | None:
    return stats.reference.rms if stats.reference else None


def _init_ratio(stats: Measured) -> float | None:
    """None too for a reference of 0."""
    if stats.rms is None or not stats.reference or not stats.reference.rms:
        return None
    ratio = stats.rms / stats.reference.rms
    return ratio if math.isfinite(ratio) else None


def _init_tolerance(stats: Measured) -> float | None:
    if not stats.reference or not stats.reference.rms:
        return None
    return rms_tolerance(stats.numel, stats.reference.kurtosis)


COLUMNS = (
    Column("init_rms", "init rms", "number", "rms that the initialization gives", 1, _init_rms),
    Column("init_ratio", "× init", "number", "rms over init_rms", get=_init_ratio),
    Column(
        "init_tolerance",
        "± %",
        "percent",
        "how far chance puts init_ratio off 1: three standard errors; in tables in percent",
        1,
        _init_tolerance,
    ),
)


def silence(word: str, references: Collection[Reference | None]) -> list[str]:
    """A note with the number of tensors that the scheme says nothing of; none for none."""
    silent = sum(reference is None for reference in references)
    return (
        [f"--init {word} says nothing of {silent} of {len(references)} tensors"] if silent else []
    )
