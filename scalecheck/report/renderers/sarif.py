"""SARIF 2.1.0 (OASIS, errata 01), the exchange format of static analysis: for GitHub's code
scanning, GitLab and editors.

GitHub shows a result only with a file and a region, and follows it over runs by the fingerprint
`primaryLocationLineHash`; it shows no logical location, so that the message names the tensor too.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import sha256
from os import fsencode
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from scalecheck import __version__
from scalecheck.report.checks import Checks, Unread
from scalecheck.report.finding import Finding, RuleOutcome, path_of
from scalecheck.report.formatting import printable
from scalecheck.report.github_markdown import escaped
from scalecheck.report.lines import skip
from scalecheck.report.report import UNBOUNDED, Layout, Report
from scalecheck.report.runner_commands import without_commands_in_strings

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_NO_LINES = {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1}  # a region of length 0

inert = without_commands_in_strings


def renders(kind: str) -> bool:
    return kind == "check"


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The check as a log of one run; findings that the configuration lets pass are suppressed.
    Raises ValueError where a number is not finite."""
    return _log([report])


def several(checks: Checks, layout: Layout = UNBOUNDED) -> str:
    """All checks as one run, as GitHub takes one of a tool; one that could not be read is an error
    of the run."""
    return _log(checks.reports, checks.unread)


def _log(reports: Sequence[Report], unread: Sequence[Unread] = ()) -> str:
    # Of the checks of one call all have the same rules.
    rules: list[RuleOutcome] = reports[0].rows_of("rules") if reports else []
    places = {rule.rule: place for place, rule in enumerate(rules)}
    is_one = len(reports) + len(unread) == 1
    configuration, execution = [], []
    for report in reports:
        of = "" if is_one else f"{path_of(report)}: "
        configuration += [
            _notification("not-run", f"{of}not run: {rule.reason}")
            | {"associatedRule": {"id": rule.rule, "index": places[rule.rule]}}
            for rule in report.rows_of("rules")
            if rule.status == "not run"
        ]
        execution += [
            *(_notification("skipped", f"{of}{skip(entry)}") for entry in report.skipped),
            *(_notification("note", f"{of}{note}") for note in report.notes),
        ]
    execution += [_notification("not-read", one.line) | {"level": "error"} for one in unread]
    run = {
        "tool": {
            "driver": {
                "name": "scalecheck",
                "version": __version__,
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "invocations": [
            {
                "executionSuccessful": not unread,
                "toolConfigurationNotifications": configuration,
                "toolExecutionNotifications": execution,
            }
        ],
        "results": [result for report in reports for result in _results(report, places)],
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=1, allow_nan=False)


def _rule(rule: RuleOutcome) -> dict[str, Any]:
    return {
        "id": rule.rule,
        "name": rule.name,
        "shortDescription": _message(rule.summary),
        "fullDescription": _message(rule.meaning),
        "help": {
            "text": _braced(rule.remedy),
            "markdown": _braced(
                f"{escaped(rule.meaning)}\n\n**What to try:** {escaped(rule.remedy)}"
            ),
        },
        "defaultConfiguration": {"level": rule.severity},
    }


def _results(report: Report, places: dict[str, int]) -> Iterator[dict[str, Any]]:
    uri = _uri(str(report.source["path"]))
    seen: Counter[str] = Counter()
    findings: list[Finding] = [*report.findings, *report.rows_of("ignored")]
    for finding in findings:
        location: dict[str, Any] = {
            "physicalLocation": {"artifactLocation": {"uri": uri}, "region": _NO_LINES}
        }
        if finding.where:
            tensor = {"fullyQualifiedName": printable(finding.where), "kind": "tensor"}
            location["logicalLocations"] = [tensor]
        identity = sha256(
            f"{finding.rule}\0{finding.where}".encode("utf-8", "surrogatepass")
        ).hexdigest()[:16]
        seen[identity] += 1
        yield {
            "ruleId": finding.rule,
            "ruleIndex": places[finding.rule],
            "level": finding.severity,
            "message": _message(finding.told),
            "locations": [location],
            "partialFingerprints": {"primaryLocationLineHash": f"{identity}:{seen[identity]}"},
            "suppressions": [{"kind": "external", "justification": printable(finding.reason)}]
            if finding.reason
            else [],
            "properties": {"value": finding.value, "limit": finding.limit},
        }


def _notification(descriptor: str, words: str) -> dict[str, Any]:
    return {
        "descriptor": {"id": descriptor},
        "level": "note",
        "message": _message(printable(words)),
    }


def _message(words: str) -> dict[str, str]:
    """Plain text: nothing in it is a placeholder or, in [words](address), a link."""
    return {"text": _braced(words).replace("](", "\\](")}


def _braced(words: str) -> str:
    return words.replace("{", "{{").replace("}", "}}")


def _uri(path: str) -> str:
    """A relative reference, which readers resolve against the repository, or an absolute URI; bytes
    that are no UTF-8 are escaped as they are."""
    pure = PurePath(path)
    return pure.as_uri() if pure.is_absolute() else quote(fsencode(pure.as_posix()))
