"""What each format of a check has of its own."""

import hashlib
import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from check_readers import SARIF, SCHEMA, told
from check_reports import DEAD, IGNORED_DEAD, INF, NAN, NOT_RUN, OFF, WHOLE, report, reviewed

from scalecheck import registry
from scalecheck.report.report import Layout


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
    [
        ("error", {"SC101"}),
        ("warning", {"SC101", "SC102"}),
        ("note", {"SC101", "SC102", "SC105"}),
        ("never", set()),
    ],
)
def test_junit_fails_what_the_check_fails_on(fail_on, failures):
    noted = replace(DEAD, rule="SC105", severity="note")
    suite = suite_of(report(NAN, DEAD, noted, fail_on=fail_on))
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
    (result,) = run_of(report(replace(NAN, where="[x](javascript:alert(1))")))["results"]
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
