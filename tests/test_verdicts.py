"""The formats of a verdict, each read back by a parser that knows nothing of how it was written."""

import hashlib
import html
import json
import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import golden
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from verdict_reports import (
    DEAD,
    IGNORED_DEAD,
    INF,
    NAN,
    NOT_RUN,
    OFF,
    RULE_ROWS,
    WHOLE,
    report,
    reviewed,
)

from scalecheck import registry
from scalecheck.report.finding import Finding
from scalecheck.report.formatting import printable as visible
from scalecheck.report.report import Layout

SCHEMA = Path(__file__).parent / "schemas" / "sarif-schema-2.1.0.json"
SARIF = jsonschema.Draft4Validator(json.loads(SCHEMA.read_text("utf-8")))
FORMATS = ("text", "github", "junit", "sarif", "markdown", "json")
NAMES = {code: name for code, name, *_ in RULE_ROWS}

HOSTILE = {
    "newlines": "w\r\n::error file=a::b\nx",
    "workflow command": "::stop-commands::pause",
    "bars": r"a|b\|c||",
    "percent": "%0A%25%3A%2C 100%",
    "cdata": "]]><failure/><![CDATA[",
    "markup": "<&\"'> <b>&lt;",
    "controls": "".join(map(chr, range(32))) + "\x7f\x85",
    "escapes": "\x1b[31mred\x1b]0;title\x07",
    "bytes that are no UTF-8": os.fsdecode(b"w\xff\xfe"),
    "surrogates": "\udfff\ud800",
    "direction": "a\u202eb\u2066c\ufeff\ufffe\uffff",
    "markdown": "`a` ``b`` **c** _d_ [e](f) ~g~ #h",
    "a link": "[x](javascript:alert(1))",
    "placeholders": "{0} {{1}} }{",
    "long": "block." * 333 + "ww",
    "letters": "重み.größe.ŵ",
    "spaces": " w ",
    "backslashes": r"\n\\ \u1234 c:\x",
    "formula": "=1+1",
}
MESSAGE = "5 of 48 rows are zero"


@dataclass(frozen=True)
class Read:
    """A finding as a format gives it back. `told` has the tensor's name before the message where
    the format does not say where the one ends."""

    rule: str
    severity: str
    told: str


def put_in(*findings):
    """The findings as every format should give them back."""
    return [Read(f.rule, f.severity, told(f)) for f in findings]


def told(finding):
    numbers = {
        (None, None): "",
        (5 / 48, 1 / 48): " (value 0.1042, limit 0.02083)",
        (3.0, 0.0): " (value 3.000, limit 0)",
        (4.0, 0.0): " (value 4.000, limit 0)",
        (101.7, 10.0): " (value 101.7, limit 10)",
        (0.5, None): " (value 0.5000)",
        (None, 0.5): " (limit 0.5)",
    }[finding.value, finding.limit]
    where = f"{finding.where}: " if finding.where else ""
    return visible(f"{where}{finding.message}{numbers}")


LINE = re.compile(
    r"(?P<where>(?:.*?: )??)(?P<rule>SC\d{3}) (?:(?P<severity>warning): )?(?P<message>.*)"
)


def read_line(line):
    """A finding of the text format, the path taken off."""
    found = LINE.fullmatch(line)
    return Read(found["rule"], found["severity"] or "error", found["where"] + found["message"])


def read_text(text, path):
    lines = text.split("\n\n")[0].split("\n")
    begin = f"{visible(path)}: "
    return [read_line(line.removeprefix(begin)) for line in lines if line.startswith(begin)]


def read_github(text, path):
    """As the runner reads it: properties to the next two colons, then what was escaped."""
    read = []
    for line in text.split("\n"):
        command, properties, message = re.fullmatch(r"::(\w+) (.*?)::(.*)", line).groups()
        fields = dict(pair.split("=", 1) for pair in properties.split(","))
        fields = {name: percent(value, ":,\r\n%") for name, value in fields.items()}
        assert fields["file"] == visible(path)
        assert set(fields) == {"file", "title"}
        if command != "notice":
            rule, name = fields["title"].split(" ", 1)
            assert name == NAMES[rule]
            read.append(Read(rule, command, percent(message, "\r\n%")))
    return read


def percent(words, escaped):
    for sign in escaped:  # the percent sign last, as the runner has it
        words = words.replace(f"%{ord(sign):02X}", sign)
    return words


def read_junit(text, path):
    (suite,) = ElementTree.fromstring(text.encode())
    assert suite.get("name") == visible(path)
    read = []
    for case in suite.findall("testcase"):
        for kind in ("failure", "system-out"):
            for line in (case.findtext(kind) or "").strip("\n").split("\n"):
                if line and not line.startswith("ignored: "):
                    found = read_line(line)
                    assert case.get("classname") == f"scalecheck.{found.rule}"
                    read.append(found)
    return read


def read_sarif(text, path):
    log = json.loads(text)
    SARIF.validate(log)
    read = []
    for result in log["runs"][0]["results"]:
        (location,) = result["locations"]
        uri = location["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"(file://)?[\w/.~%-]+", uri, re.ASCII)
        assert unquote_to_bytes(uri.removeprefix("file://")) == os.fsencode(path)
        message = result["message"]["text"].replace("\\](", "](")
        message = message.replace("{{", "{").replace("}}", "}")
        for tensor in location.get("logicalLocations", []):
            assert message.startswith(f"{tensor['fullyQualifiedName']}: ")
        if not result["suppressions"]:
            read.append(Read(result["ruleId"], result["level"], message))
    return read


def read_markdown(text, path):
    assert f"# {span(visible(path))}: " in text
    table = re.search(r"^\| +rule \|.*\n\|[-|]+\n((?:\|.*\n?)*)", text, re.MULTILINE)
    read = []
    for line in table[1].splitlines() if text.split("\n\n")[2].startswith("|") else []:
        cells = [cell.strip(" ").replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)]
        assert len(cells) == 6
        rule, severity, where, message = cells[1:5]
        where, message = unspan(where), unescape(message)
        read.append(Read(rule, severity, f"{where}: {message}" if where else message))
    return read


def unescape(markdown):
    """What Markdown without any other markup shows."""
    return re.sub(
        r"\\([!-/:-@\[-`{-~])|(&#?\w+;)",
        lambda found: found[1] or html.unescape(found[2]),
        markdown,
    )


def span(words):
    """The code span of words without backticks."""
    assert "`" not in words
    return f"`{words}`"


def unspan(markdown):
    """What a code span shows."""
    if not markdown:
        return ""
    fence, words = re.fullmatch(r"(`+)((?:.*[^`])?)\1", markdown).groups()
    assert fence not in re.findall("`+", words)
    if words.strip(" ") and words[0] == words[-1] == " ":
        return words[1:-1]
    return words


def read_json(text, path):
    report = json.loads(text)
    assert report["source"]["path"] == path
    return [Read(row["rule"], row["severity"], told(Finding(**row))) for row in report["findings"]]


READERS = {
    "text": read_text,
    "github": read_github,
    "junit": read_junit,
    "sarif": read_sarif,
    "markdown": read_markdown,
    "json": read_json,
}


def assert_read_back(format, *findings, path="runs/tiny-gpt", ignored=(), **more):
    text = report(*findings, path=path, ignored=ignored, **more).rendered(format)
    assert_no_controls(text)
    read = READERS[format](text, path)
    expected = put_in(*findings)
    if format == "junit":  # a case a rule and family
        assert Counter(read) == Counter(expected)
    else:
        assert read == expected


def assert_no_controls(text):
    text.encode("utf-8")
    assert [c for c in text if not c.isprintable() and c != "\n"] == []


def test_every_format_is_read_back():
    assert set(READERS) == set(FORMATS)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("fail_on", ["error", "warning", "never"])
@pytest.mark.parametrize(
    "findings",
    [
        (),
        (NAN,),
        (OFF,),
        (WHOLE,),
        (WHOLE, NAN, OFF, INF, DEAD),
        (NAN, NAN),
        (replace(DEAD, value=0.5, limit=None), replace(DEAD, value=None, limit=0.5)),
        (replace(WHOLE, severity="warning"),),
    ],
    ids=str,
)
def test_code_severity_tensor_and_message_are_read_back(format, findings, fail_on):
    ignored = [(IGNORED_DEAD, "padding")]
    assert_read_back(format, *findings, fail_on=fail_on)
    assert_read_back(format, *findings, fail_on=fail_on, ignored=ignored)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
def test_hostile_words_are_read_back_and_stay_on_their_line(format, words):
    hostile = replace(DEAD, where=words, group=words)
    assert_read_back(format, hostile, WHOLE)
    assert_read_back(
        format,
        replace(NAN, message=f"in {words}."),
        ignored=[(hostile, words)],
        not_run={"SC105": words},
        skipped=[{"name": words, "dtype": "I64", "reason": words}],
        notes=[words],
    )


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "path", ["/a/b.pt", "a:b,c=d/100%::e", "a b/é&<>\"'", "w\r\n\x1b[1m", os.fsdecode(b"\xff/w")]
)
def test_a_hostile_path_is_read_back(format, path):
    assert_read_back(format, NAN, DEAD, path=path)


@pytest.mark.parametrize("format", FORMATS)
@given(st.text(min_size=1, max_size=40))
def test_any_name_is_read_back(format, name):
    assert_read_back(format, replace(NAN, where=name, group=name), replace(DEAD, where=name))


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_verdict_is_the_same_bytes(format):
    assert reviewed().rendered(format) == reviewed().rendered(format)


@pytest.mark.parametrize("format", FORMATS)
def test_a_reviewed_verdict_reads_as_it_did(format):
    golden.check(f"check.{format}", reviewed().rendered(format) + "\n")


def rendered(format, report, **layout):
    return registry.load("renderer", format).render(report, Layout(**layout))


# text


def test_text_without_findings_concludes_so():
    assert report(not_run={}).rendered("text") == "no findings in 52 tensors; 7 rules run"
    assert report(tensors=1).rendered("text").splitlines()[-1] == (
        "no findings in 1 tensor; 4 rules run, 3 not run"
    )
    assert report(ignored=[(DEAD, "known")]).rendered("text").splitlines()[-2:] == [
        "ignored: 1 (known)",
        "no findings, 1 ignored in 52 tensors; 4 rules run, 3 not run",
    ]


def test_text_names_the_rules_that_did_not_run_once_for_each_reason():
    lines = report(NAN).rendered("text").splitlines()
    assert [line for line in lines if line.startswith("not run")] == [
        "not run: SC105 (needs --init)",
        "not run: SC301, SC302 (needs --baseline)",
    ]


def test_quiet_text_is_the_findings_only():
    assert (
        rendered("text", reviewed(), quiet=True).splitlines()
        == (reviewed().rendered("text").splitlines()[:5])
    )
    assert rendered("text", report(), quiet=True) == ""


def test_text_wraps_what_stands_below_the_findings_but_no_finding():
    long = report(replace(NAN, where="w" * 200), not_run={"SC105": "needs it " * 30})
    first, _, *below = rendered("text", long, width=80).splitlines()
    assert len(first) > 200
    assert max(map(len, below)) <= 80
    assert " ".join(line.strip() for line in below[:-1]) == (
        f"not run: SC105 ({('needs it ' * 30)})".replace(" )", " )")
    )


@pytest.mark.parametrize("format", ["text", "github"])
def test_where_a_terminal_has_ascii_only_so_has_the_verdict(format):
    text = rendered(format, reviewed(), blocks=False)
    assert text.isascii()
    assert text == reviewed().rendered(format).replace("×", "x")


# github


def test_quiet_github_commands_are_the_findings_only():
    assert (
        rendered("github", reviewed(), quiet=True).splitlines()
        == (reviewed().rendered("github").splitlines()[:-1])
    )
    assert reviewed().rendered("github").splitlines()[-1].startswith("::notice ")


# junit


def suite_of(report):
    (suite,) = ElementTree.fromstring(report.rendered("junit").encode())
    return suite


def test_junit_has_a_case_for_each_rule_and_family_and_counts_them():
    suite = suite_of(reviewed())
    cases = {(case.get("classname"), case.get("name")): case for case in suite.iter("testcase")}
    assert len(cases) == len(suite.findall("testcase"))
    assert {key: [child.tag for child in case] for key, case in cases.items()} == {
        ("scalecheck.SC101", "non-finite: blocks.N.attn.q.weight"): ["failure"],
        ("scalecheck.SC101", "non-finite: tok_emb.weight"): [],
        ("scalecheck.SC102", "dead-rows: blocks.N.attn.q.weight"): ["system-out"],
        ("scalecheck.SC102", "dead-rows: tok_emb.weight"): ["system-out"],
        ("scalecheck.SC201", "family-outlier: blocks.N.mlp.up.weight"): ["system-out"],
        ("scalecheck.SC401", "no-decay"): ["failure"],
        ("scalecheck.SC105", "init-ratio"): ["skipped"],
        ("scalecheck.SC301", "grown"): ["skipped"],
        ("scalecheck.SC302", "gone"): ["skipped"],
    }
    assert suite.attrib == {
        "name": "runs/tiny-gpt",
        "tests": "9",
        "failures": "2",
        "errors": "0",
        "skipped": "3",
    }


def test_a_junit_failure_tells_the_first_finding_and_lists_all():
    failure = suite_of(report(NAN, INF)).find("testcase/failure")
    assert failure.get("type") == "SC101"
    assert failure.get("message") == f"{told(NAN)} (and 1 more)"
    assert len(failure.text.strip("\n").split("\n")) == 2


@pytest.mark.parametrize(
    ("fail_on", "failures"),
    [("error", {"SC101"}), ("warning", {"SC101", "SC102"}), ("never", set())],
)
def test_junit_fails_what_the_check_fails_on(fail_on, failures):
    suite = suite_of(report(NAN, DEAD, fail_on=fail_on))
    assert {failure.get("type") for failure in suite.iter("failure")} == failures


def test_junit_says_why_a_rule_did_not_run():
    suite = suite_of(report())
    assert [case.get("message") for case in suite.iter("skipped")] == [
        "needs --init",
        "needs --baseline",
        "needs --baseline",
    ]


def test_junit_has_no_time_and_no_host():
    attributes = {name for element in suite_of(reviewed()).iter() for name in element.attrib}
    assert attributes == {
        *("name", "tests", "failures", "errors", "skipped"),
        *("classname", "message", "type"),
    }


# sarif


def run_of(report):
    log = json.loads(report.rendered("sarif"))
    SARIF.validate(log)
    assert log["version"] == "2.1.0"
    assert log["$schema"] == SARIF.schema["id"]
    return log["runs"][0]


def test_the_schema_is_the_published_one_and_refuses_what_is_no_sarif():
    readme = SCHEMA.with_name("README.md").read_text("utf-8")
    assert hashlib.sha256(SCHEMA.read_bytes()).hexdigest() in readme
    log = json.loads(reviewed().rendered("sarif"))
    del log["runs"][0]["results"][0]["message"]
    assert not SARIF.is_valid(log)


def test_sarif_has_what_github_requires():
    """GitHub's page on SARIF support: these properties with a value, which is not empty."""
    run = run_of(reviewed())
    assert run["tool"]["driver"]["name"]
    for rule in run["tool"]["driver"]["rules"]:
        assert rule["id"]
        assert len(rule["name"]) <= 255
        assert 0 < len(rule["shortDescription"]["text"]) <= 1024
        assert 0 < len(rule["fullDescription"]["text"]) <= 1024
        assert rule["help"]["text"]
    for result in run["results"]:
        assert result["message"]["text"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "runs/tiny-gpt"
        assert set(place["region"]) == {"startLine", "startColumn", "endLine", "endColumn"}
        assert re.fullmatch(
            r"[0-9a-f]{16}:\d+", result["partialFingerprints"]["primaryLocationLineHash"]
        )


def test_a_sarif_result_points_at_its_rule_and_holds_its_numbers():
    run = run_of(report(DEAD, WHOLE))
    rules = run["tool"]["driver"]["rules"]
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == ["SC102", "SC401"]
    assert [result["properties"] for result in run["results"]] == [
        {"value": 5 / 48, "limit": 1 / 48},
        {"value": None, "limit": None},
    ]
    dead, whole = (result["locations"][0] for result in run["results"])
    assert dead["logicalLocations"] == [{"fullyQualifiedName": DEAD.where, "kind": "tensor"}]
    assert "logicalLocations" not in whole


def fingerprints(*findings):
    results = run_of(report(*findings))["results"]
    return [result["partialFingerprints"]["primaryLocationLineHash"] for result in results]


def test_a_sarif_fingerprint_is_of_rule_and_tensor_only():
    again = replace(NAN, message="2 NaN of 4,096", value=0.5, limit=None, severity="warning")
    assert fingerprints(OFF, again)[1] == fingerprints(NAN)[0]
    assert len(set(fingerprints(NAN, INF, DEAD, OFF, WHOLE, NAN))) == 6


def test_sarif_suppresses_what_the_configuration_lets_pass():
    run = run_of(report(NAN, ignored=[(IGNORED_DEAD, "padding of the vocabulary")]))
    assert [result["suppressions"] for result in run["results"]] == [
        [],
        [{"kind": "external", "justification": "padding of the vocabulary"}],
    ]


def test_sarif_notes_the_rules_that_did_not_run():
    run = run_of(reviewed())
    (invocation,) = run["invocations"]
    rules = run["tool"]["driver"]["rules"]
    told = {}
    for notification in invocation["toolConfigurationNotifications"]:
        rule = notification["associatedRule"]
        assert rules[rule["index"]]["id"] == rule["id"]
        told[rule["id"]] = notification["message"]["text"]
    assert told == {code: f"not run: {reason}" for code, reason in NOT_RUN.items()}
    assert invocation["executionSuccessful"] is True
    assert [n["message"]["text"] for n in invocation["toolExecutionNotifications"]] == [
        "skipped: position_ids (I64): holds integers",
        "the optimizer's state was not read",
    ]


def test_sarif_makes_no_link_of_a_name():
    (result,) = run_of(report(replace(NAN, where=HOSTILE["a link"])))["results"]
    assert not re.search(r"(?<!\\)\]\(", result["message"]["text"])


# markdown and json


def test_markdown_says_the_verdict_first_and_folds_the_rules():
    text = reviewed().rendered("markdown")
    assert text.splitlines()[:3] == [
        "### `runs/tiny-gpt`: failed",
        "",
        "3 errors, 2 warnings, 1 ignored in 52 tensors; 4 rules run, 3 not run",
    ]
    assert report(DEAD).rendered("markdown").startswith("### `runs/tiny-gpt`: passed\n")
    assert re.findall("<summary>(.*)</summary>", text) == [
        "ignored: 1",
        "rules: 4 failed, 3 not run",
    ]
    for block in re.findall("<details>.*?</details>", text, re.DOTALL):
        assert re.fullmatch(r"<details>\n<summary>.*</summary>\n\n(\|.*\|\n)+\n</details>", block)


def test_markdown_without_findings_has_no_empty_table():
    text = report().rendered("markdown")
    assert text.split("\n\n")[2].startswith("<details>")
    assert "What to try" not in text


def test_markdown_says_what_to_try_for_each_rule_that_found_something():
    text = report(NAN, INF, DEAD).rendered("markdown")
    assert re.findall(r"^- \*\*(SC\d+) (.*?):\*\*", text, re.MULTILINE) == [
        ("SC101", "non-finite"),
        ("SC102", "dead-rows"),
    ]


def test_json_has_findings_ignored_rules_and_summary_and_no_hidden_field():
    fields = json.loads(reviewed().rendered("json"))
    assert list(fields) == [
        *("schema", "version", "source", "settings"),
        *("findings", "ignored", "rules", "summary", "skipped", "notes"),
    ]
    assert fields["schema"] == "scalecheck.check/1"
    assert fields["summary"] == dict(reviewed().summary)
    assert fields["ignored"][0]["reason"] == "padding of the vocabulary"
    assert set(fields["rules"][0]) == {
        *("rule", "name", "severity", "summary", "status", "reason", "findings")
    }


# which renderers


def test_a_format_that_does_not_render_a_report_is_refused_with_those_that_do():
    with pytest.raises(KeyError, match="no renderer of check is called xml: csv, github, json"):
        reviewed().rendered("xml")
    plain = replace(reviewed(), kind="inspect")
    with pytest.raises(KeyError, match="no renderer of inspect is called sarif: csv, json"):
        plain.rendered("sarif")
