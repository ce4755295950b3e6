"""Real checkpoints have no finding but those that are right, each with its reason in
data/findings-of-real-checkpoints.json."""

import json
from fnmatch import fnmatchcase
from functools import cache

import pytest
from count_findings import FILES, JUSTIFIED, counted, findings

RECORD = json.loads(JUSTIFIED.read_text("utf-8"))

found = cache(findings)


def justifies(entry, key, row):
    where = row["where"] == entry["where"] or fnmatchcase(row["where"], entry["where"])
    return row["rule"] == entry["rule"] and where and fnmatchcase(key, entry["file"])


@pytest.mark.parametrize("key", FILES)
def test_every_finding_in_a_real_checkpoint_is_justified(key):
    alarms = [
        f"{row['where']}: {row['rule']} {row['message']}"
        for row in found(key)
        if not any(justifies(entry, key, row) for entry in RECORD["findings"])
    ]
    assert alarms == []


def test_every_justification_is_of_a_finding():
    rows = [(key, row) for key in FILES for row in found(key)]
    for entry in RECORD["findings"]:
        assert any(justifies(entry, key, row) for key, row in rows), entry
        assert len(entry["why"]) > 20


def test_findings_are_counted_by_rule():
    rows = [{"rule": code} for code in ("SC208", "SC104", "SC104")]
    assert (counted(rows), counted([])) == ("SC104 2, SC208 1", "none")


def test_a_parameter_without_a_state_among_others_has_no_update_to_judge():
    """CHGNet 0.2.0's table of atoms is frozen, and its third angle layer had no gradient."""
    assert "SC208" not in {row["rule"] for row in found("chgnet-0.2.0")}
    assert RECORD["first_edition"]["chgnet-0.2.0"]["SC208"] == 1
