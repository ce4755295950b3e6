"""`scalecheck rules` and `scalecheck optimizers`: the lists, the pages, and what is not known."""

import csv
import io
import json
import tomllib

import pytest
from command import scalecheck

from scalecheck import registry
from scalecheck.rules.contract import registered

RULES = registered()


def test_all_rules_are_listed_in_groups_within_the_terminal():
    done = scalecheck("rules", columns=80)
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert lines[0].startswith(f"{len(RULES)} rules of scalecheck check;")
    listed = [line.split()[:3] for line in lines if line.startswith("  SC")]
    assert listed == [[code, one.name, one.rule.severity] for code, one in RULES.items()]
    assert [line for line in lines if line and line[0] != " "][1:] == [
        "Weights",
        "Learning rate and optimizer",
        "Changes since a baseline",
    ]
    assert max(map(len, lines)) <= 80
    told = " ".join(done.out.split())
    for entry in RULES.values():
        assert entry.summary.split()[0] in told


@pytest.mark.parametrize("entry", RULES.values(), ids=lambda entry: entry.code)
def test_a_page_says_why_it_is_bad_what_to_do_and_how_to_set_limits(entry):
    done = scalecheck("rules", entry.code)
    told = " ".join(done.out.split())
    assert told.startswith(f"{entry.code} {entry.name} ({entry.rule.severity}) {entry.summary}")
    assert f"Why it is bad: {entry.meaning}" in told
    assert f"What to do: {entry.remedy}" in told
    assert told.count("Needs: ") == len(entry.rule.needs)
    assert scalecheck("rules", entry.name).out == done.out
    assert scalecheck("rules", entry.code.lower()).out == done.out


@pytest.mark.parametrize(
    "entry", [one for one in RULES.values() if one.rule.limits], ids=lambda entry: entry.code
)
def test_the_limits_of_a_page_are_a_configuration_that_changes_nothing(entry, tmp_path):
    page = scalecheck("rules", entry.code).out
    lines = page.partition(f"  [limits.{entry.code}]\n")[2].partition("\n\n")[0].splitlines()
    text = "\n".join([f"[limits.{entry.code}]", *map(str.strip, lines)])
    config = tmp_path / "scalecheck.toml"
    config.write_text(text)
    found = tomllib.loads(text)["limits"][entry.code]
    assert found == {
        name: pytest.approx(limit.default, rel=1e-3)
        for name, limit in entry.rule.limits.items()
        if not limit.is_published
    }
    assert len(lines) == len(entry.rule.limits)
    done = scalecheck("check", "--show-settings", "--config", config)
    assert (done.code, done.err) == (0, "")


def test_several_codes_beginnings_and_names_are_explained_in_their_order():
    done = scalecheck("rules", "SC302", "dead-rows,SC101", "SC30")
    heads = [line for line in done.out.splitlines() if line.startswith("SC")]
    assert [head.split()[0] for head in heads] == ["SC302", "SC103", "SC101", "SC301"]


def test_json_and_csv_have_every_rule_with_its_limits():
    rows = json.loads(scalecheck("rules", "--format", "json").out)["rules"]
    assert [row["code"] for row in rows] == [*RULES]
    for row, entry in zip(rows, RULES.values(), strict=True):
        assert (row["name"], row["finds"]) == (entry.name, entry.summary)
        assert [limit["name"] for limit in row["limits"]] == [*entry.rule.limits]
    table = csv.DictReader(io.StringIO(scalecheck("rules", "SC1", "--format", "csv").out))
    assert [row["code"] for row in table] == [code for code in RULES if code.startswith("SC1")]


def test_markdown_is_a_table_of_all_and_a_page_of_one():
    assert "| `SC104` | `family-outlier`" in scalecheck("rules", "--format", "markdown").out
    page = scalecheck("rules", "SC104", "--format", "markdown").out
    assert page.startswith("## SC104 family-outlier\n\n**")


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("SC999", "SC209"),
        ("104", "SC104"),
        ("outlier", "SC104 family-outlier"),
        ("family_outlier", "SC104 family-outlier"),
        ("stallde-update", "SC203 stalled-update"),
    ],
)
def test_a_rule_that_is_not_known_is_answered_with_near_ones(word, near):
    done = scalecheck("rules", word)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"scalecheck: rules {word}: not known; did you mean ")
    assert near in done.err


def test_all_optimizers_are_listed_and_one_is_shown_by_any_spelling():
    lines = scalecheck("optimizers", columns=80).out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert listed == registry.names("optimizer")
    assert max(map(len, lines)) <= 80
    page = scalecheck("optimizers", "paged_adamw_8bit").out
    assert page.startswith("adamw (optimizer)\n")
    assert "  beta2 = 0.999\n" in page
    assert "torch.optim.AdamW" in page
    (row,) = json.loads(scalecheck("optimizers", "AdamW", "--format", "json").out)["optimizers"]
    assert row["name"] == "adamw"
    assert {"name": "weight_decay", "default": 0.01} in row["settings"]


def test_an_optimizer_that_is_not_known_is_answered_with_near_ones():
    done = scalecheck("optimizers", "adamx")
    assert done.err.startswith("scalecheck: optimizers adamx: not known; did you mean adamax")
