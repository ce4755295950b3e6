"""JUnit XML, as GitLab, Jenkins and GitHub's reporters read it: a test a rule and tensor family.

The format has no published schema; these are the elements and attributes that Ant and Jenkins have
in common. There is no time in it, so the same verdict is the same bytes.
"""

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from scalecheck.report.checks import Checks, Unread
from scalecheck.report.finding import Finding, RuleOutcome, conclusion, path_of
from scalecheck.report.formatting import printable
from scalecheck.report.lines import skipped
from scalecheck.report.report import UNBOUNDED, Layout, Report


def renders(kind: str) -> bool:
    return kind == "check"


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The check as one test suite with the checkpoint's path for a name."""
    return _written([_suite(report)])


def several(checks: Checks, layout: Layout = UNBOUNDED) -> str:
    """A suite for each checkpoint; one that could not be read is an error."""
    return _written([*map(_suite, checks.reports), *map(_unread, checks.unread)])


def _suite(report: Report) -> Element:
    suite = Element("testsuite", name=path_of(report))
    rules: list[RuleOutcome] = report.rows_of("rules")
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in (*report.findings, *report.rows_of("ignored")):
        found.setdefault((finding.rule, finding.group), []).append(finding)
    for rule in rules:
        # Findings of a family that the rule does not list have a case all the same.
        others = [group for code, group in found if code == rule.rule]
        for group in dict.fromkeys([*rule.groups, *others]) or [""]:
            own = found.get((rule.rule, group), [])
            _add_case(suite, rule, group, own, report.summary["fail_on"])
    counts = {
        "tests": len(suite),
        "failures": len(suite.findall("testcase/failure")),
        "errors": 0,
        "skipped": len(suite.findall("testcase/skipped")),
    }
    for name, count in counts.items():
        suite.set(name, str(count))
    _add_text(suite, [*skipped(report.skipped), *report.notes, conclusion(report.summary)])
    return suite


def _unread(one: Unread) -> Element:
    suite = Element("testsuite", name=printable(one.path))
    case = SubElement(suite, "testcase", classname="scalecheck.read", name="read")
    SubElement(case, "error", message=printable(one.problem))
    for name, count in {"tests": 1, "failures": 0, "errors": 1, "skipped": 0}.items():
        suite.set(name, str(count))
    return suite


def _written(found: Sequence[Element]) -> str:
    suites = Element("testsuites")
    suites.extend(found)
    ElementTree.indent(suites)
    # ASCII with references is the same bytes in any encoding that standard output may have.
    xml = ElementTree.tostring(suites, "us-ascii", xml_declaration=False).decode()
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}'


def _add_case(
    suite: Element, rule: RuleOutcome, group: str, found: Sequence[Finding], fail_on: str
) -> None:
    name = printable(f"{rule.name}: {group}" if group else rule.name)
    case = SubElement(suite, "testcase", classname=f"scalecheck.{rule.rule}", name=name)
    if rule.status == "not run":
        SubElement(case, "skipped", message=printable(rule.reason))
    failing = [one for one in found if not one.reason and one.fails(fail_on)]
    if failing:
        more = f" (and {len(failing) - 1} more)" if len(failing) > 1 else ""
        failure = SubElement(case, "failure", message=failing[0].told + more, type=rule.rule)
        failure.text = _lines([one.line for one in failing])
    passing = [one.line for one in found if not one.reason and not one.fails(fail_on)]
    passing += [f"ignored: {one.line}: {one.reason}" for one in found if one.reason]
    _add_text(case, passing)


def _add_text(parent: Element, lines: Sequence[str]) -> None:
    if lines:
        SubElement(parent, "system-out").text = _lines([printable(line) for line in lines])


def _lines(lines: Sequence[str]) -> str:
    return "\n" + "\n".join(lines) + "\n"
