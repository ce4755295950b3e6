"""A statement about an optimizer, what was measured of it and what theory expects."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scalecheck.report import formatting
from scalecheck.report.report import Column, Row, Table

NO_REASON = "theory has no reason for this"


@dataclass(frozen=True)
class Claim:
    """measured is within `tolerance` of expected; or above it, where the tolerance is None.

    A contrast shows where a law does not apply: that it breaks is no failure.
    """

    law: str
    claim: str
    optimizer: str
    k: float
    measured: float
    expected: float
    tolerance: float | None
    contrast: bool = False
    reason: str = NO_REASON

    @property
    def holds(self) -> bool:
        if self.tolerance is None:
            # What diverges does not follow: a control may be inf or NaN.
            return not self.measured <= self.expected
        return abs(self.measured - self.expected) <= self.tolerance

    def row(self) -> dict[str, Any]:
        """The fields of COLUMNS; a measurement that is not finite is None."""
        return {
            "law": self.law,
            "claim": self.claim,
            "optimizer": self.optimizer,
            "k": self.k,
            "relation": "above" if self.tolerance is None else "within",
            "measured": self.measured if math.isfinite(self.measured) else None,
            "expected": self.expected,
            "tolerance": self.tolerance,
            "holds": self.holds,
            "contrast": self.contrast,
            "reason": None if self.holds else self.reason,
        }


def _measured(row: Row) -> str:
    return "not finite" if row["measured"] is None else formatting.number(row["measured"])


def _expected(row: Row) -> str:
    return ("> " if row["relation"] == "above" else "") + formatting.setting(row["expected"])


def verdict(row: Row) -> str:
    """HOLDS, BREAKS, of a contrast DIFFERS; nothing where there was nothing to compare with."""
    if row["holds"] is None:
        return ""
    return "HOLDS" if row["holds"] else "DIFFERS" if row.get("contrast") else "BREAKS"


HOLDS = Column(
    "holds",
    "",
    "sentence",
    "measured is within the tolerance of expected, or above it where the relation is above",
    cell=verdict,
)
COLUMNS = (
    Column("law", "law", "sentence", "which of the laws the claim is about"),
    Column("claim", "claim", "sentence", "what is claimed"),
    Column("optimizer", "optimizer", "text", "whom it is claimed of"),
    Column("k", "k", "number", "the factor of the experiment"),
    Column("relation", "relation", "sentence", "within: |measured − expected| ≤ tolerance; above"),
    Column("measured", "measured", "written", "by replay; null where not finite", cell=_measured),
    Column("expected", "expected", "written", "by theory", cell=_expected),
    Column("tolerance", "tolerance", "setting", "absolute; null where the relation is above"),
    HOLDS,
    Column("contrast", "contrast", "sentence", "no law of the optimizer: to break is no failure"),
    Column("reason", "reason", "sentence", "why it breaks"),
)
SHOWN = [c for c in COLUMNS if c.name in ("claim", "measured", "expected", "tolerance", "holds")]


def broken(claims: Sequence[Claim]) -> list[str]:
    """Why the claims break that are laws of their optimizers, each reason once."""
    reasons = {
        (claim.optimizer, claim.reason): None
        for claim in claims
        if not claim.holds and not claim.contrast
    }
    return [f"{optimizer} BREAKS: {reason}" for optimizer, reason in reasons]


def claims_table(claims: Sequence[Claim], title: str = "", notes: Sequence[str] = ()) -> Table:
    """The claims with what they are judged by, and why those that break do."""
    contrasts = [
        f"the contrast differs as it should: {claim.reason}"
        for claim in claims
        if claim.contrast and not claim.holds
    ]
    rows = [claim.row() for claim in claims]
    return Table("claims", COLUMNS, SHOWN, rows, title, [*broken(claims), *contrasts, *notes])
