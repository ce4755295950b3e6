"""What rules say of a checkpoint: the one object from a rule to a file, what became of each rule,
and the fields and words in which every renderer shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scalecheck.report import formatting
from scalecheck.report.report import Column, Report, Table

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")  # from the most severe
FAIL_ON = (*SEVERITIES, "never")  # the least severity that fails a check

Status = Literal["failed", "passed", "not run"]
STATUSES: tuple[Status, ...] = ("failed", "passed", "not run")


@dataclass(frozen=True)
class Finding:
    """What a rule says of one thing that it judged; it is reported where it has a message.

    where: the tensor, empty for the checkpoint as a whole. group: the tensor's family. message:
    what is wrong, empty where nothing is. value: the number that was judged, limit: the one that it
    was judged by; None where there is none, such as an infinite one. severity: a rule leaves it
    empty where it is the rule's own. rule: the rule's code, and reason: why the configuration lets
    the finding pass, empty where it does not; the check fills them in.
    """

    where: str
    group: str
    message: str = ""
    value: float | None = None
    limit: float | None = None
    severity: Severity | Literal[""] = ""
    rule: str = ""
    reason: str = ""

    @property
    def sentence(self) -> str:
        """The message with its numbers: 5 of 48 rows are zero (value 0.1042, limit 0.02083)."""
        value, limit = self.value, self.limit
        written = str(value) if isinstance(value, int) else formatting.number(value)
        numbers = [] if value is None else [f"value {written}"]
        numbers += [] if limit is None else [f"limit {formatting.setting(limit)}"]
        return f"{self.message} ({', '.join(numbers)})" if numbers else self.message

    @property
    def told(self) -> str:
        """The tensor, if there is one, and what was found: w.3: 2 NaN (value 2)."""
        where = f"{self.where}: " if self.where else ""
        return formatting.printable(f"{where}{self.sentence}")

    @property
    def line(self) -> str:
        """The same with the rule's code, and the severity of what is no error: w.3: SC102 warning:
        5 of 48 rows are zero."""
        where = f"{self.where}: " if self.where else ""
        mark = "" if self.severity == "error" else f"{self.severity}: "
        return formatting.printable(f"{where}{self.rule} {mark}{self.sentence}")

    def fails(self, fail_on: str) -> bool:
        """Whether it is as severe as those that a check is to fail on."""
        order: tuple[str, ...] = SEVERITIES
        return fail_on in order and order.index(self.severity) <= order.index(fail_on)


@dataclass(frozen=True)
class RuleOutcome:
    """What became of a rule in a check.

    severity: of its findings, where they do not say another. reason: why it was not run, empty
    where it was. findings: how many it has, ignored ones left out. groups: the families of tensors
    that it judged. summary, meaning, remedy: what it finds in one line, what that means, and what
    to try.
    """

    rule: str
    name: str
    severity: Severity
    summary: str
    status: Status
    reason: str
    findings: int
    groups: Sequence[str]
    meaning: str
    remedy: str


FINDINGS = (
    Column("rule", "rule", "written", "the rule's code"),
    Column("severity", "severity", "sentence", "error, warning or note"),
    Column("where", "where", "text", "the tensor's name; empty for the checkpoint as a whole"),
    Column(
        "group", "group", "text", "the tensor's family: its name with every index replaced by N"
    ),
    Column(
        "message",
        "message",
        "sentence",
        "what was found, with its numbers",
        cell=lambda finding: finding.sentence,
    ),
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
    Column("summary", "finds", "sentence", "what it finds, in one line", 2),
    Column(
        "status", "status", "sentence", "failed where it has errors or warnings, passed, or not run"
    ),
    Column("reason", "reason", "sentence", "why it was not run; empty where it was", 1),
    Column("findings", "findings", "count", "number of its findings, ignored ones left out"),
)


def tables(
    findings: Sequence[Finding], ignored: Sequence[Finding], rules: Sequence[RuleOutcome]
) -> list[Table]:
    """The tables of a check: `ignored` are the findings that the configuration lets pass."""
    by_name = {column.name: column for column in (*IGNORED, *RULES)}
    found = [by_name[name] for name in ("rule", "severity", "where", "message")]
    outcome = ("rule", "name", "summary", "status", "findings", "reason")
    return [
        Table("findings", FINDINGS, found, findings, "Findings"),
        Table("ignored", IGNORED, [*found, IGNORED[-1]], ignored, "Ignored"),
        Table("rules", RULES, [by_name[name] for name in outcome], rules, "Rules"),
    ]


def path_of(report: Report) -> str:
    """The checkpoint's path, on one line."""
    return formatting.printable(str(report.source["path"]))


def conclusion(summary: Mapping[str, Any]) -> str:
    """What a check comes to, and what keeps it from failing: 1 error, 2 warnings in 52 tensors; 9
    rules run, 9 not run."""
    found = [
        formatting.plural(summary[name], noun)
        for name, noun in (("errors", "error"), ("warnings", "warning"), ("notes", "note"))
        if summary[name]
    ] or ["no findings"]
    if summary["ignored"]:
        found.append(f"{summary['ignored']:,} ignored")
    rules = f"{formatting.plural(summary['rules_run'], 'rule')} run"
    if summary["rules_not_run"]:
        rules += f", {summary['rules_not_run']:,} not run"
    if not summary["rules_run"]:
        found = ["nothing was judged"]
    words = f"{', '.join(found)} in {formatting.plural(summary['tensors'], 'tensor')}; {rules}"
    return f"{words}; this check cannot fail: {why}" if (why := summary["cannot_fail"]) else words
