"""Laws of the fields of a report: rows have them all, and a group of one is the tensor."""

import json
from pathlib import Path

import pytest

import scalecheck as api
from scalecheck.updates.columns import TARGET

SAMPLES = Path(__file__).parent.parent / "sample_ckpts"
TINY, INIT = SAMPLES / "tiny-gpt", SAMPLES / "tiny-gpt-init"
COUNTS = {"tensors", "tensors_measured", "numel", "v_zeros", "v_not_finite", "m_not_finite"}
REPORTS = {
    "inspect": lambda by: api.inspect(TINY, by=by, init="gpt2", quantiles=True),
    "translate": lambda by: api.translate(
        TINY, by=by, steps=100, target=1e-3, to="lion", assume="gpt2"
    ),
    "diff": lambda by: api.diff(INIT, TINY, by=by, lr=1e-3, steps=100),
}


@pytest.mark.parametrize("by", ["tensor", "layer", "family", "role"])
@pytest.mark.parametrize("command", REPORTS)
def test_a_row_has_the_fields_of_its_columns_and_no_others(command, by):
    report = REPORTS[command](by)
    names = [column.name for column in report.tables[0].columns]
    assert len({*names}) == len(names)
    assert all([*row] == names for row in json.loads(report.rendered("json"))["rows"])


@pytest.mark.parametrize("command", REPORTS)
def test_a_group_of_one_tensor_is_the_tensor(command):
    tensors = {row["name"]: row for row in REPORTS[command]("tensor").rows}
    alone = [row for row in REPORTS[command]("family").rows if row["tensors"] == 1]
    assert len(alone) > 1
    for row in alone:
        own = tensors[row["name"]]
        for name in (row.keys() & own.keys()) - {"members"}:
            assert row[name] == own[name], name


def test_a_tensor_merged_with_itself_keeps_its_sizes_and_doubles_its_counts():
    report = REPORTS["translate"]("tensor")
    columns = [column for column in report.tables[0].columns if column not in TARGET]
    for row in report.rows_of("rows"):
        (forecast,) = row["members"]
        for column in columns:
            one, two = column.read(forecast), column.merged([forecast, forecast])
            if column.name in COUNTS:
                assert two == 2 * (one or 0), column.name
            elif isinstance(one, float):
                assert two == pytest.approx(one, rel=1e-12), column.name
            else:
                assert two == one, column.name
