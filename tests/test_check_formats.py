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


def test_text_without_findings_is_the_verdict_twice():
    assert report(not_run={}).rendered("text").split("\n\n") == [
        "runs/tiny-gpt: passed: no findings in 52 tensors",
        "no findings in 52 tensors; 7 rules run",
    ]
    assert report(tensors=1).rendered("text").splitlines()[-1] == (
        "no findings in 1 tensor; 4 rules run, 3 not run"
    )
    assert report(ignored=[(DEAD, "known")]).rendered("text").splitlines()[-2:] == [
        "ignored: 1 (known)",
        "no findings, 1 ignored in 52 tensors; 4 rules run, 3 not run",
    ]


@pytest.mark.parametrize(
    ("finding", "fail_on", "verdict", "end"),
    [
        (NAN, "error", "failed: 1 error", ""),
        (DEAD, "error", "passed: 1 warning", ""),
        (DEAD, "warning", "failed: 1 warning", "; fails, as fail_on is warning"),
        (NAN, "never", "passed, as it cannot fail: 1 error", "; this check cannot fail: "),
    ],
)
def test_text_says_first_whether_it_failed_and_last_why(finding, fail_on, verdict, end):
    first, *_, last = report(finding, fail_on=fail_on).rendered("text").splitlines()
    assert first == f"runs/tiny-gpt: {verdict} in 52 tensors"
    assert last.partition(" not run")[2].startswith(end)


def test_text_counts_the_rules_that_did_not_run_and_names_all_if_verbose():
    short, whole = (
        [
            line
            for line in rendered("text", report(NAN), verbose=v).splitlines()
            if "not run" in line
        ]
        for v in (False, True)
    )
    assert short[:-1] == ["3 rules not run (need --baseline, --init): --verbose says why"]
    assert whole[:-1] == [
        "not run: SC105 (needs --init)",
        "not run: SC301, SC302 (needs --baseline)",
    ]


def test_quiet_text_is_the_findings_only():
    whole = reviewed().rendered("text").split("\n\n")
    assert rendered("text", reviewed(), quiet=True).split("\n\n") == whole[1:-1]
    assert rendered("text", report(), quiet=True) == ""


def test_text_wraps_its_sentences():
    notes = report(NAN, not_run={"SC105": "needs it " * 30}, notes=["word " * 50])
    assert max(map(len, rendered("text", notes, width=80, verbose=True).splitlines())) <= 80


def stalled(name, share, **more):
    """A finding that says the same as others of its rule."""
    words = {"several": "{percent} of their elements round back{lr}", "lr": 1e-5, "limit": 0.5}
    family = re.sub(r"\d+", "N", name)
    found = replace(DEAD, where=name, group=family, message=f"{share} of its elements", value=share)
    return replace(found, own=f"{100 * share:g} %", **words | more)


MANY = [stalled(f"blocks.{n}.{kind}", 0.9 + n / 1000) for n in range(8) for kind in "ab"] + [
    stalled("head", 0.95)
]


def test_findings_of_one_kind_are_one_group_with_the_range_of_their_numbers():
    lines = rendered("text", report(*MANY), quiet=True).splitlines()
    assert lines[0] == (
        "warning[SC102] dead-rows: 17 tensors, 90 to 95 % of their elements round back at lr 1e-5"
    )
    assert lines[1:-1] == [
        "  head: 95 %",
        "  blocks.N.a: 8 tensors, 90 to 90.7 %",
        "  blocks.N.b: 8 tensors, 90 to 90.7 %",
    ]
    assert lines[-1].startswith("  help: Let rows of padding pass")


def test_a_group_names_five_tensors_of_a_family_the_worst_first_and_all_if_verbose():
    family = report(*(one for one in MANY if one.group == "blocks.N.a"))
    lines = rendered("text", family, quiet=True).splitlines()
    assert lines[1] == "  blocks.7.a: 90.7 %"
    assert lines[5:-1] == ["  blocks.3.a: 90.3 %", "  and 3 more: --verbose shows them"]
    whole = rendered("text", family, quiet=True, verbose=True).splitlines()
    assert [line.split(":")[0] for line in whole[1:-1]] == [f"  blocks.{n}.a" for n in range(8)][
        ::-1
    ]


def test_findings_of_other_severities_or_words_are_other_groups_the_most_severe_first():
    error = replace(MANY[0], severity="error")
    other = stalled("x", 0.9, several="{percent} of their rows")
    heads = [
        block.partition(":")[0]
        for block in rendered("text", report(*MANY, error, other), quiet=True).split("\n\n")
    ]
    assert heads == ["error[SC102] dead-rows", *2 * ["warning[SC102] dead-rows"]]


def test_a_group_says_between_which_lrs_it_was_judged():
    text = rendered("text", report(MANY[0], stalled("x", 0.9, lr=3e-4)), quiet=True)
    assert text.splitlines()[0].endswith(
        "2 tensors, 90 % of their elements round back at lr 1e-5 to 3e-4"
    )


def test_a_value_that_is_not_finite_is_the_worst():
    text = rendered("text", report(MANY[0], stalled("x", 0.99), stalled("y", 0.9, value=None)))
    assert [line.split(":")[0] for line in text.splitlines() if line.startswith("  ")][:2] == [
        "  y",
        "  x",
    ]


def test_many_findings_of_one_kind_are_told_in_less_than_a_kilobyte():
    many = report(*(stalled(f"blocks.{n}.mlp.down_proj.weight", 0.9) for n in range(76)))
    assert len(many.rendered("text")) < 1000
    assert len(many.rendered("github").split("\n")) == 2


def test_a_terminal_shows_severity_and_verdict_in_colour():
    def paint(text, meaning):
        return f"<{meaning}>{text}</>" if text else text

    lines = registry.load("renderer", "text").render(reviewed(), Layout(paint=paint)).splitlines()
    assert lines[0].startswith("<error>runs/tiny-gpt: failed")
    assert lines[-1].startswith("<error>3 errors")
    assert "<error>error[SC101]</> <strong>non-finite</>: 2 tensors" in lines
    passed = registry.load("renderer", "text").render(report(), Layout(paint=paint))
    assert passed.startswith("<ok>runs/tiny-gpt: passed")


def test_concise_is_a_line_a_finding():
    lines = reviewed().rendered("concise").splitlines()
    assert lines[1] == (
        "runs/tiny-gpt: blocks.1.attn.q.weight: error[SC101] non-finite: 3 NaN of 4,096"
    )
    assert rendered("concise", reviewed(), quiet=True).splitlines() == lines[:-1]


@pytest.mark.parametrize("format", ["text", "concise", "github"])
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
        "findings: 5",
        "ignored: 1",
        "rules: 4 failed, 3 not run",
    ]
    for block in re.findall("<details>.*?</details>", text, re.DOTALL):
        assert re.fullmatch(r"<details>\n<summary>.*</summary>\n\n(\|.*\|\n)+\n</details>", block)


def test_markdown_without_findings_has_no_empty_table():
    text = report().rendered("markdown")
    assert text.split("\n\n")[2].startswith("<details>")
    assert "help: " not in text


def test_markdown_says_what_to_try_for_each_rule_that_found_something():
    text = report(NAN, INF, DEAD).rendered("markdown")
    assert re.findall(r"^\*\*(.*?)\*\*: .*\n\n(?:- `.*\n)*- help: (\w+)", text, re.MULTILINE) == [
        ("error\\[SC101\\] non-finite", "Go"),
        ("warning\\[SC102\\] dead-rows", "Let"),
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
