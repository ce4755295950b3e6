"""What the rules say of a checkpoint, and the fields in which a report holds it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from scalecheck.report import formatting
from scalecheck.report.report import Column, Row

Severity = Literal["error", "warning"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning")
FAIL_ON = (*SEVERITIES, "never")  # the least severity that fails a check


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found.

    rule: its code. where: the tensor, empty for the checkpoint as a whole. group: the tensor's
    family. value: the number that was judged, limit: the one that it was judged by; None where
    there is none, such as an infinite one.
    """

    rule: str
    severity: Severity
    where: str
    group: str
    message: str
    value: float | None = None
    limit: float | None = None

    def row(self, **more: Any) -> dict[str, Any]:
        """The fields of FINDINGS, and more."""
        return asdict(self) | more


def sentence(row: Row) -> str:
    """A finding's message with its numbers: 5 of 48 rows are zero (value 0.1042, limit 0.02083)."""
    value, limit = row["value"], row["limit"]
    written = str(value) if isinstance(value, int) else formatting.number(value)
    numbers = [] if value is None else [f"value {written}"]
    numbers += [] if limit is None else [f"limit {formatting.setting(limit)}"]
    return f"{row['message']} ({', '.join(numbers)})" if numbers else str(row["message"])


FINDINGS = (
    Column("rule", "rule", "written", "the rule's code"),
    Column("severity", "severity", "sentence", "error or warning"),
    Column("where", "where", "text", "the tensor's name; empty for the checkpoint as a whole"),
    Column(
        "group", "group", "text", "the tensor's family: its name with every index replaced by N"
    ),
    Column("message", "message", "sentence", "what was found, with its numbers", cell=sentence),
    Column("value", "value", "number", "the number that was judged; null where there is none"),
    Column(
        "limit", "limit", "number", "the number that it was judged by; null where there is none"
    ),
)
IGNORED = (
    *FINDINGS,
    Column("reason", "reason", "sentence", "why the configuration lets it pass"),
)
RULES = (
    Column("rule", "rule", "written", "the rule's code"),
    Column("name", "name", "text", "the rule's name"),
    Column("severity", "severity", "sentence", "of its findings, where they do not say another"),
    Column("summary", "finds", "sentence", "what it finds, in one line"),
    Column("status", "status", "sentence", "passed, failed or not run"),
    Column("reason", "reason", "sentence", "why it was not run; empty where it was"),
    Column("findings", "findings", "count", "number of its findings, ignored ones left out"),
)
