"""What a report says of something that only some checkpoints have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scalecheck.report.report import Table


@dataclass(frozen=True)
class Part:
    """Each is added to that of the report; `sentences` are of its totals."""

    tables: Sequence[Table] = ()
    source: Mapping[str, Any] = field(default_factory=dict)
    skipped: Sequence[Mapping[str, Any]] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    sentences: Sequence[str] = ()
    notes: Sequence[str] = ()
