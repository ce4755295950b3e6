"""Every rule: its examples do what they say, and its file says what it is."""

import json

import pytest
from check_readers import READERS
from command import scalecheck
from rule_examples import arguments

from scalecheck.rules.contract import NEEDS, registered

RULES = registered()


@pytest.fixture(params=RULES, ids=str)
def entry(request):
    return RULES[request.param]


def checked(example, folder, *options):
    done = scalecheck("check", *arguments(example, folder), "--format", "json", *options)
    assert done.err == ""
    return done, json.loads(done.out)


def test_the_bad_example_is_found_with_the_message_it_shows(entry, tmp_path):
    _, report = checked(entry.rule.bad, tmp_path / "bad", "--select", entry.code)
    assert [finding["message"] for finding in report["findings"]] == [entry.rule.bad.finds]
    assert {finding["rule"] for finding in report["findings"]} == {entry.code}


def test_the_good_example_is_judged_and_passes(entry, tmp_path):
    done, report = checked(entry.rule.ok, tmp_path / "ok", "--select", entry.code)
    assert report["findings"] == []
    assert done.code == 0
    (rule,) = report["rules"]
    assert rule["status"] == "passed", rule["reason"]


def test_no_other_rule_finds_an_error_in_the_good_example(entry, tmp_path):
    _, report = checked(entry.rule.ok, tmp_path / "ok")
    assert [f for f in report["findings"] if f["severity"] == "error"] == []


def test_severity_decides_the_exit_code(entry, tmp_path):
    words = arguments(entry.rule.bad, tmp_path / "bad")
    found = ("check", *words, "--select", entry.code)
    assert scalecheck(*found, "--fail-on", "warning").code == 1
    assert scalecheck(*found, "--fail-on", "never").code == 0
    report = json.loads(scalecheck(*found, "--format", "json").out)
    is_error = report["findings"][0]["severity"] == "error"
    assert scalecheck(*found, "--fail-on", "error").code == int(is_error)


@pytest.mark.parametrize("entry", [e for e in RULES.values() if e.rule.needs], ids=lambda e: e.code)
def test_a_rule_without_what_it_needs_is_not_run_and_not_passed(entry, tmp_path):
    path, *_ = arguments(entry.rule.ok, tmp_path / "ok")
    done = scalecheck("check", path, "--state", "none", "--format", "json")
    report = json.loads(done.out)
    (rule,) = [rule for rule in report["rules"] if rule["rule"] == entry.code]
    assert (rule["status"], rule["reason"]) == ("not run", NEEDS[entry.rule.needs[0]])


def test_it_explains_itself(entry):
    done = scalecheck("check", "--explain", entry.code)
    assert (done.code, done.err) == (0, "")
    first, *_ = done.out.splitlines()
    assert first == f"{entry.code} {entry.name} ({entry.rule.severity})"
    for words in (entry.summary, entry.meaning, entry.remedy):
        assert words
        assert " ".join(words.split()) in " ".join(done.out.split())
    for name, limit in entry.rule.limits.items():
        assert f" {name} = " in done.out
        assert limit.help in done.out
    assert scalecheck("check", "--explain", entry.name).out == done.out


def test_the_bad_example_is_told_in_every_format(entry, tmp_path):
    words = arguments(entry.rule.bad, tmp_path / "bad")
    command = ("check", *words, "--select", entry.code, "--fail-on", "warning", "--format")
    (row,) = json.loads(scalecheck(*command, "json").out)["findings"]
    told = f"{row['where']}: {row['message']}" if row["where"] else row["message"]
    for form in {*READERS} - {"json"}:
        done = scalecheck(*command, form)
        assert (done.code, done.err) == (1, "")
        (found,) = READERS[form](done.out.removesuffix("\n"), words[0])
        assert (found.rule, found.severity) == (row["rule"], row["severity"])
        assert found.told.startswith(told)
