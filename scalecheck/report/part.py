"""What a report says of one subject: parts of a report that are made apart and put together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scalecheck.report.report import Table

_TONES = ("", "ok", "warning", "error")


@dataclass(frozen=True)
class Part:
    """Each is added to that of the report; `sentences` are of its totals. The gravest `tone` of all
    is that of the report."""

    tables: Sequence[Table] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    skipped: Sequence[Mapping[str, Any]] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    sentences: Sequence[str] = ()
    notes: Sequence[str] = ()
    conclusion: Sequence[str] = ()
    tone: str = ""


def together(parts: Sequence[Part]) -> Part:
    """All parts as one, in their order."""
    return Part(
        tables=[table for part in parts for table in part.tables],
        source={key: value for part in parts for key, value in part.source.items()},
        skipped=[entry for part in parts for entry in part.skipped],
        summary={key: value for part in parts for key, value in part.summary.items()},
        sentences=[sentence for part in parts for sentence in part.sentences],
        notes=[note for part in parts for note in part.notes],
        conclusion=[line for part in parts for line in part.conclusion],
        tone=max((part.tone for part in parts), key=_TONES.index, default=""),
    )
