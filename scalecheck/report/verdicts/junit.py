"""JUnit XML, as GitLab, Jenkins and GitHub's reporters read it: a test a rule and tensor family.

The format has no published schema; these are the elements and attributes that Ant and Jenkins have
in common. There is no time in it, so the same verdict is the same bytes.
"""

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from scalecheck.report import formatting, verdict
from scalecheck.report.lines import skipped
from scalecheck.report.report import UNBOUNDED, Layout, Report, Row


def render(report: Report, layout: Layout = UNBOUNDED) -> str:
    """The verdict as one test suite with the checkpoint's path for a name."""
    suite = Element("testsuite", name=verdict.path(report))
    found = _by_case(report.findings)
    ignored = _by_case(report.rows_of("ignored"))
    for rule in report.rows_of("rules"):
        # Findings of a family that the rule does not list have a case all the same.
        others = [group for code, group in (*found, *ignored) if code == rule["rule"]]
        for group in dict.fromkeys([*rule["groups"], *others]) or [""]:
            key = (rule["rule"], group)
            _add_case(suite, report, rule, group, found.get(key, []), ignored.get(key, []))
    counts = {
        "tests": len(suite),
        "failures": len(suite.findall("testcase/failure")),
        "errors": 0,
        "skipped": len(suite.findall("testcase/skipped")),
    }
    for name, count in counts.items():
        suite.set(name, str(count))
    _add_text(suite, [*skipped(report.skipped), *report.notes, verdict.conclusion(report)])
    suites = Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    # ASCII with references is the same bytes in any encoding that standard output may have.
    xml = ElementTree.tostring(suites, "us-ascii", xml_declaration=False).decode()
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}'


def _by_case(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    cases: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        cases.setdefault((row["rule"], row["group"]), []).append(row)
    return cases


def _add_case(
    suite: Element,
    report: Report,
    rule: Row,
    group: str,
    found: Sequence[Row],
    ignored: Sequence[Row],
) -> None:
    name = f"{rule['name']}: {group}" if group else rule["name"]
    case = SubElement(
        suite, "testcase", classname=f"scalecheck.{rule['rule']}", name=formatting.printable(name)
    )
    if rule["status"] == verdict.NOT_RUN:
        SubElement(case, "skipped", message=formatting.printable(rule["reason"]))
    failing = [row for row in found if verdict.fails(report, row)]
    if failing:
        more = f" (and {len(failing) - 1} more)" if len(failing) > 1 else ""
        message = verdict.told(failing[0]) + more
        failure = SubElement(case, "failure", message=message, type=rule["rule"])
        failure.text = _lines([verdict.line(row) for row in failing])
    passing = [verdict.line(row) for row in found if not verdict.fails(report, row)]
    passing += [
        formatting.printable(f"ignored: {verdict.line(row)}: {row['reason']}") for row in ignored
    ]
    _add_text(case, passing)


def _add_text(parent: Element, lines: Sequence[str]) -> None:
    if lines:
        SubElement(parent, "system-out").text = _lines(
            [formatting.printable(line) for line in lines]
        )


def _lines(lines: Sequence[str]) -> str:
    return "\n" + "\n".join(lines) + "\n"
