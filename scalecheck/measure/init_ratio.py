"""The rms of a tensor or a group beside the one that an initialization gives: what --init adds."""

import math
from collections.abc import Collection, Sequence

from scalecheck.measure.initial_scale import Reference
from scalecheck.report.report import Column, Row
from scalecheck.theory.initialization import rms_tolerance

COLUMNS = (
    Column("init_rms", "init rms", "number", "rms that the initialization gives", 1),
    Column("init_ratio", "× init", "number", "rms over init_rms"),
    Column(
        "init_tolerance",
        "± %",
        "percent",
        "how far chance puts init_ratio off 1: three standard errors; in tables in percent",
        1,
    ),
)


def init_fields(references: Sequence[Reference | None], row: Row) -> dict[str, float | None]:
    """The fields of COLUMNS for a row, which merges tensors with these references; None where they
    differ. A reference of 0 has no ratio."""
    reference = references[0] if len(set(references)) == 1 else None
    ratio = tolerance = None
    if reference and reference.rms:
        tolerance = rms_tolerance(row["numel"], reference.kurtosis)
        if row["rms"] is not None and math.isfinite(quotient := row["rms"] / reference.rms):
            ratio = quotient
    return {
        "init_rms": reference.rms if reference else None,
        "init_ratio": ratio,
        "init_tolerance": tolerance,
    }


def silence(word: str, references: Collection[Reference | None]) -> list[str]:
    """A note with the number of tensors that the scheme says nothing of; none for none."""
    silent = sum(reference is None for reference in references)
    return (
        [f"--init {word} says nothing of {silent} of {len(references)} tensors"] if silent else []
    )
