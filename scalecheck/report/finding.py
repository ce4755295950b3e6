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
    what is wrong, with the numbers, empty where nothing is. value: the number that was judged,
    limit: the one that it was judged by; None where there is none, such as an infinite one.
    severity: a rule leaves it empty where it is the rule's own. rule and rule_name: the rule's code
    and name, and reason: why the configuration lets the finding pass, empty where it does not; the
    check fills them in.

    several: what it says together with others of the same words, such as "{percent} of the elements
    round back{lr}", where {percent}, {step}, {times}, {number} or {count} stands for their values
    and {lr} for the lr that they were judged at; of what is no tensor it begins with "{n} ". own:
    what is left to say of each of them then; the message where empty.
    """

    where: str
    group: str
    message: str = ""
    value: float | None = None
    limit: float | None = None
    severity: Severity | Literal[""] = ""
    rule: str = ""
    reason: str = ""
    rule_name: str = ""
    several: str = ""
    own: str = ""
    lr: float | None = None

    @property
    def told(self) -> str:
        """The tensor, if there is one, and what was found: w.3: 2 of 64 elements are NaN."""
        where = f"{self.where}: " if self.where else ""
        return formatting.printable(f"{where}{self.message}")

    @property
    def mark(self) -> str:
        """The severity and the rule: error[SC104] family-outlier."""
        return f"{self.severity}[{self.rule}] {self.rule_name}".rstrip()

    @property
    def line(self) -> str:
        """All of it: w.3: warning[SC103] dead-rows: 5 of 48 rows are zero."""
        where = f"{self.where}: " if self.where else ""
        return formatting.printable(f"{where}{self.mark}: {self.message}")

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
    Column("message", "message", "sentence", "what was found, with its numbers"),
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


def verdict(path: str, summary: Mapping[str, Any]) -> str:
    """Whether the check of a path failed, and by how much: run/model.safetensors: failed: 1 error,
    2 warnings in 52 tensors."""
    word = "failed" if summary["failed"] else "passed"
    if summary["cannot_fail"] and summary["errors"] + summary["warnings"]:
        word = "passed, as it cannot fail"
    return f"{formatting.printable(path)}: {word}: {counted(summary)}"


def tone(summary: Mapping[str, Any]) -> str:
    """The colour of a verdict: see `Layout.paint`."""
    if summary["failed"]:
        return "error"
    return "warning" if summary["errors"] + summary["warnings"] else "ok"


def counted(summary: Mapping[str, Any]) -> str:
    """What was found in how much: 1 error, 2 warnings in 52 tensors."""
    found = [
        formatting.plural(summary[name], noun)
        for name, noun in (("errors", "error"), ("warnings", "warning"), ("notes", "note"))
        if summary[name]
    ] or ["no findings"]
    if summary["ignored"]:
        found.append(f"{summary['ignored']:,} ignored")
    if not summary["rules_run"]:
        found = ["nothing was judged"]
    return f"{', '.join(found)} in {formatting.plural(summary['tensors'], 'tensor')}"


def conclusion(summary: Mapping[str, Any]) -> str:
    """The same with the rules, why it fails without an error, and what keeps it from failing: 2
    warnings in 52 tensors; 9 rules run, 9 not run; fails, as fail_on is warning."""
    words = f"{counted(summary)}; {formatting.plural(summary['rules_run'], 'rule')} run"
    if summary["rules_not_run"]:
        words += f", {summary['rules_not_run']:,} not run"
    if summary["failed"] and not summary["errors"]:
        words += f"; fails, as fail_on is {summary['fail_on']}"
    return f"{words}; this check cannot fail: {why}" if (why := summary["cannot_fail"]) else words
