"""The names of an optimizer's parameters as `--param-names` gives them."""

import json

import pytest
import torch
from command import scalecheck

import scalecheck as api
from scalecheck.errors import UsageError

NAMES = ("c.weight", "a.weight", "b.weight")


@pytest.fixture
def run(tmp_path):
    """A file of three like tensors that were trained in another order than they are listed in."""
    model = {name: torch.nn.Parameter(torch.randn(4, 4)) for name in sorted(NAMES)}
    optimizer = torch.optim.AdamW([model[name] for name in NAMES], lr=1e-3)
    for scale, name in enumerate(NAMES, 1):
        model[name].grad = torch.full((4, 4), float(scale))
    optimizer.step()
    tensors = {name: one.detach() for name, one in model.items()} | {"n.bias": torch.ones(4)}
    torch.save({"model": tensors, "optimizer": optimizer.state_dict()}, tmp_path / "run.pt")
    return tmp_path / "run.pt"


def given(run, text):
    path = run.with_name("names.txt")
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "c.weight\na.weight\nb.weight\n",
        "\r\n  c.weight\r\na.weight\r\n\r\nb.weight",
        json.dumps(NAMES),
        json.dumps({"2": "b.weight", "0": "c.weight", "1": "a.weight"}),
        "module.c.weight\nmodule.a.weight\nmodule.b.weight",
    ],
)
def test_names_in_the_order_of_the_optimizer_name_its_states(run, text):
    report = api.translate(run, param_names=given(run, text))
    sizes = {row["name"]: row["grad_rms"] for row in report.rows if row["measured"]}
    assert sizes == pytest.approx({"c.weight": 1, "a.weight": 2, "b.weight": 3})
    assert report.rows_of("states") == []
    assert f"3 of 3 optimizer states are matched to tensors by {given(run, text)}." in report.notes


def test_names_of_some_leave_the_others_as_they_are(run):
    report = api.translate(run, param_names=given(run, '{"1": "a.weight"}'))
    assert [row["name"] for row in report.rows if row["measured"]] == ["a.weight"]
    assert len(report.rows_of("states")) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("c.weight\nx.weight\nb.weight", "x.weight: the checkpoint has no such tensor"),
        ("c.weight\na.weight", "2 names for 3 parameters of the optimizer"),
        ("", "0 names for 3 parameters of the optimizer"),
        ("c.weight\na.weight\nc.weight", "c.weight stands there twice"),
        ("c.weight\nn.bias\nb.weight", "n.bias has shape [4], state[1] (4, 4) another"),
        ('["c.weight", 7, "b.weight"]', "7 is no name"),
        ('{"3": "c.weight"}', "the optimizer has no parameter 3; it has 3"),
        ('["c.weight"', "is no JSON: Expecting ',' delimiter"),
    ],
)
@pytest.mark.parametrize("command", ["translate", "check"])
def test_names_that_do_not_fit_are_one_line_of_wrong_usage(command, run, text, problem):
    path = given(run, text)
    done = scalecheck(command, run, "--param-names", path)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"scalecheck: --param-names {path}: {problem}"), done.err
    assert done.err.count("\n") == 1


def test_names_that_are_no_text_are_refused(run):
    path = given(run, "")
    path.write_bytes(b"c.weight\xff\n")
    with pytest.raises(UsageError, match="byte 8 is not UTF-8"):
        api.translate(run, param_names=path)
    with pytest.raises(UsageError, match="no such file or directory"):
        api.translate(run, param_names=run.with_name("nope"))


def test_names_without_a_state_are_refused(run):
    path = given(run, "\n".join(NAMES))
    with pytest.raises(UsageError, match="no optimizer state to name"):
        api.translate(run, param_names=path, lr=1e-3, state="none")


def test_a_configuration_gives_the_names_by_a_path_beside_it(run, monkeypatch):
    given(run, "\n".join(NAMES))
    run.with_name("scalecheck.toml").write_text('param_names = "names.txt"\n')
    monkeypatch.chdir(run.parent.parent)
    done = scalecheck("check", run, "--config", run.with_name("scalecheck.toml"))
    assert (
        f"3 of 3 optimizer states are matched to tensors by {run.with_name('names.txt')}"
    ) in done.out
