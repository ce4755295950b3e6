"""A report as Python uses it, and what is wrong with arguments in the words of Python."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
import torch

import scalecheck
from scalecheck.errors import CheckpointError, UsageError

MODEL = {f"layers.{n}.weight": torch.full((4, 4), 1.0 + n) for n in range(3)}
PLAIN = (str, int, float, bool, type(None))


def is_plain(value):
    if type(value) is list:
        return all(map(is_plain, value))
    return type(value) in PLAIN


def reports():
    yield scalecheck.inspect(MODEL)
    yield scalecheck.inspect(MODEL, by="family")
    yield scalecheck.translate(MODEL, lr=1e-3, steps=100, target=1e-3)
    yield scalecheck.diff(MODEL, {name: 2 * tensor for name, tensor in MODEL.items()})
    yield scalecheck.check(MODEL, lr=1.0)
    yield scalecheck.simulate("sgd", steps=5, size=16)


def test_a_report_is_the_sequence_of_its_rows_which_hold_plain_values():
    for report in reports():
        rows = [*report]
        assert rows == report.rows
        assert len(report) == len(rows) > 0
        assert all(is_plain(value) for row in rows for value in row.values())
        assert [*rows[0]] == [column.name for column in report.tables[0].columns]
        assert json.loads(report.rendered("json"))[report.tables[0].name] == rows


def test_a_row_is_found_by_its_name():
    report = scalecheck.inspect(MODEL)
    assert report["layers.1.weight"]["rms"] == 2.0
    with pytest.raises(KeyError, match=r"layers\.1\.wieght; did you mean layers\.1\.weight or"):
        report["layers.1.wieght"]
    with pytest.raises(KeyError, match="no row is called 7, of 3"):
        report["7"]


def test_a_finding_is_found_by_its_tensor_where_it_is_alone():
    model = {"w.weight": torch.ones(64, 64)}
    assert scalecheck.check(model, lr=1.0, select="SC201")["w.weight"]["rule"] == "SC201"
    with pytest.raises(KeyError, match=r"w\.weight: has 2 rows; go through the report"):
        scalecheck.check(model, lr=1.0, select=["SC201", "SC108"])["w.weight"]


def test_a_report_without_rows_is_true():
    report = scalecheck.check(MODEL, select="SC101")
    assert len(report) == 0
    assert report


def test_a_report_shows_itself_as_its_table():
    for report in reports():
        assert repr(report) == str(report)
    assert repr(scalecheck.inspect(MODEL)) == scalecheck.inspect(MODEL).rendered("table")


def test_a_notebook_shows_a_table_in_which_names_are_escaped():
    report = scalecheck.inspect({"<script>": torch.ones(2, 2), "b": torch.ones(2)})
    html = report._repr_html_()
    assert "<script>" not in html
    assert html.count("<tr>") == 1 + len(report)
    opened = []

    class Checked(HTMLParser):
        def handle_starttag(self, tag, attrs):
            opened.extend([tag] if tag != "br" else [])

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Checked().feed(html)
    assert opened == []


def test_pandas_is_given_the_rows_by_their_fields(monkeypatch):
    pandas = ModuleType("pandas")
    pandas.DataFrame = lambda rows, columns: (rows, columns)
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    report = scalecheck.inspect(MODEL)
    rows, columns = report.to_pandas()
    assert rows == report.rows
    assert columns == [*report.rows[0]]


def test_without_pandas_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_pandas needs pandas: pip install pandas"):
        scalecheck.inspect(MODEL).to_pandas()


OPTIMIZER = torch.optim.SGD([torch.ones(2)], lr=0.1)
HOLDS = "a path, an nn.Module or a mapping of names to arrays"


@pytest.mark.parametrize(
    ("command", "args", "given", "words"),
    [
        ("inspect", [7], {}, f"inspect: checkpoint must be {HOLDS}, not int"),
        ("inspect", [None], {}, f"inspect: checkpoint must be {HOLDS}, not NoneType"),
        ("check", [[1]], {}, f"check: checkpoint must be {HOLDS}, not list"),
        ("inspect", [OPTIMIZER], {}, f"inspect: checkpoint must be {HOLDS}, not SGD"),
        ("diff", [MODEL, 1.5], {}, f"diff: after must be {HOLDS}, not float"),
        ("translate", [MODEL], {"like": 3}, f"translate: like must be {HOLDS}, not int"),
        ("translate", [MODEL], {"lr": "x"}, "translate: lr must be a number, not str"),
        ("translate", [MODEL], {"lr": True}, "translate: lr must be a number, not bool"),
        (
            *("translate", [MODEL, torch.nn.ReLU()], {}),
            "translate: optimizer must be the name of an optimizer, a torch Optimizer or a list of"
            " them, not ReLU",
        ),
        (
            *("translate", [MODEL], {"state": 3}),
            "translate: state must be a path, a torch Optimizer or a list of them, not int",
        ),
        ("inspect", [MODEL], {"match": 3}, "match must be a str or a list of them, not int"),
        ("inspect", [MODEL], {"top": 1.5}, "inspect: top must be a whole number, not float"),
        ("inspect", [MODEL], {"recursive": "yes"}, "recursive must be True or False, not str"),
        ("translate", [MODEL], {"bands": 5}, "bands must be a list of numbers, not int"),
        ("check", [MODEL], {"config": 5}, "config must be a path or a configuration, not int"),
        ("inspect", [MODEL], {"progress": 5}, "progress must be a function, not int"),
        ("simulate", [], {"k": "x"}, "simulate: k must be a number, not str"),
        ("inspect", [], {}, "inspect() missing a required argument: 'checkpoint'"),
        ("inspect", [MODEL], {"foo": 1}, "inspect() got an unexpected keyword argument 'foo'"),
        (
            *("translate", [MODEL], {"recursve": True}),
            "translate() got an unexpected keyword argument 'recursve'; did you mean recursive?",
        ),
    ],
)
def test_an_argument_of_a_wrong_type_is_a_type_error(command, args, given, words):
    with pytest.raises(TypeError, match=re.escape(words)) as raised:
        getattr(scalecheck, command)(*args, **given)
    assert isinstance(raised.value, UsageError)


@pytest.mark.parametrize(
    ("command", "given", "words"),
    [
        ("translate", {}, "translate: lr: no optimizer state with an lr"),
        ("translate", {"lr": -1}, "translate: lr=-1: must be a positive number"),
        ("translate", {"optimizer": "adamv"}, "optimizer='adamv': not known; did you mean adam?"),
        ("translate", {"lr": 1e-3, "beta2": 1.5}, "translate: optimizer='adamw': beta2 1.5 is"),
        ("translate", {"lr": 1e-3, "group": "a:lr=1"}, "group='a': matches none of 3 tensors"),
        ("translate", {"like": MODEL}, "like: needs lr, the lr that is right"),
        ("translate", {"lr": 1, "steps": None, "warmup": 3}, "schedule, warmup and final: need st"),
        ("translate", {"state": "x.pt", "optimizer": OPTIMIZER}, "give one of them"),
        ("inspect", {"sort": "rsm"}, "inspect: sort='rsm': no such column; did you mean rms?"),
        ("inspect", {"sort": "quantiles"}, "it takes quantiles=True"),
        ("inspect", {"jobs": 999}, "inspect: jobs=999: must be 1 to 256 threads"),
        ("inspect", {"exclude": "*"}, "inspect: match and exclude leave none of 3 tensors"),
        ("check", {"select": "XX"}, "check: select='XX': not known"),
    ],
)
def test_a_value_that_does_not_fit_is_told_in_the_words_of_python(command, given, words):
    with pytest.raises(ValueError, match=re.escape(words)) as raised:
        getattr(scalecheck, command)(MODEL, **given)
    assert isinstance(raised.value, UsageError)
    assert "--" not in str(raised.value)


def test_arrays_of_numpy_are_read_without_torch():
    code = (
        "import sys, numpy, scalecheck\n"
        "report = scalecheck.translate({'w': numpy.ones((4, 4))}, lr=1e-3)\n"
        "assert report['w']['rms'] == 1.0\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_file_is_an_error_of_the_checkpoint():
    with pytest.raises(CheckpointError, match="missing: no such file or directory"):
        scalecheck.inspect(Path("missing"))


def test_the_help_of_a_checkpoint_error_is_in_the_words_of_python(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        torch.save(MODEL, tmp_path / folder / "model.pt")
    with pytest.raises(CheckpointError) as raised:
        scalecheck.inspect(tmp_path)
    assert "recursive=True" in raised.value.help
    assert "--" not in raised.value.help


def test_a_single_number_of_torch_or_numpy_is_a_number():
    lr = torch.tensor(0.25)
    for given in (lr, lr.numpy(), lr.numpy()[()]):
        assert scalecheck.translate(MODEL, lr=given).settings["lr"] == 0.25
