"""What the rules decided, in the words that the formats of a verdict share."""

from scalecheck.report import formatting
from scalecheck.report.finding import SEVERITIES, sentence
from scalecheck.report.report import Report, Row

NOT_RUN = "not run"


def path(report: Report) -> str:
    """The checkpoint's path, on one line."""
    return formatting.printable(str(report.source["path"]))


def told(finding: Row) -> str:
    """The tensor, if there is one, and what was found: w.3: 2 NaN (value 2)."""
    return formatting.printable(f"{_where(finding)}{sentence(finding)}")


def line(finding: Row) -> str:
    """The same with the rule's code, and the severity of what is no error: w.3: SC102 warning: …"""
    mark = "" if finding["severity"] == "error" else f"{finding['severity']}: "
    return formatting.printable(f"{_where(finding)}{finding['rule']} {mark}{sentence(finding)}")


def fails(report: Report, finding: Row) -> bool:
    """Whether the finding is as severe as those that the check is to fail on."""
    level = report.summary["fail_on"]
    return level in SEVERITIES and finding["severity"] in SEVERITIES[: SEVERITIES.index(level) + 1]


def not_run(report: Report) -> list[Row]:
    """The rules that judged nothing."""
    return [rule for rule in report.rows_of("rules") if rule["status"] == NOT_RUN]


def conclusion(report: Report) -> str:
    """1 error, 2 warnings in 52 tensors; 9 rules run, 9 not run."""
    summary = report.summary
    found = [
        formatting.plural(summary[name], noun)
        for name, noun in (("errors", "error"), ("warnings", "warning"))
        if summary[name]
    ] or ["no findings"]
    if summary["ignored"]:
        found.append(f"{summary['ignored']:,} ignored")
    rules = f"{formatting.plural(summary['rules_run'], 'rule')} run"
    if summary["rules_not_run"]:
        rules += f", {summary['rules_not_run']:,} not run"
    return f"{', '.join(found)} in {formatting.plural(summary['tensors'], 'tensor')}; {rules}"


def _where(finding: Row) -> str:
    return f"{finding['where']}: " if finding["where"] else ""
