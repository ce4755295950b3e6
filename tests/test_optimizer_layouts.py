"""Optimizer states as trainers lay them out: whole optimizers, flattened ones, under any name."""

import math

import pytest
import torch
from states import MODEL, adam, find_state, read, saved, weights
from trained import Network, steps

import scalecheck as api
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.states.state_names import named


@pytest.fixture(autouse=True)
def _elsewhere(elsewhere):
    """Works in the test's own folder."""


# Whole optimizers.


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.RMSprop])
@pytest.mark.parametrize("is_whole", [True, False])
def test_a_whole_optimizer_of_the_models_own_tensors_is_read_with_their_names(kind, is_whole):
    model = Network()
    optimizer = steps(model, kind(model.parameters()))
    torch.save({"model": model if is_whole else model.state_dict(), "opt": optimizer}, "run.pt")
    state, checkpoint = read("run.pt")
    found = named(state, checkpoint)
    names = [name for name, _ in model.named_parameters()]
    assert [one.name for one in found.states] == names
    by_parameter = dict(zip(names, optimizer.state.values(), strict=True))
    for one in found.states:
        kept = {name: t for name, t in by_parameter[one.name].items() if name != "step"}
        for name, tensor in one.tensors.items():
            assert tensor.array().tolist() == kept[name].double().tolist()
    assert len(api.translate("run.pt", state="run.pt::opt").rows) == len(names)


@pytest.mark.parametrize("is_beside", [True, False])
def test_the_optimizer_that_a_scheduler_holds_is_the_same(is_beside):
    model = Network()
    optimizer = torch.optim.AdamW(model.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
    steps(model, optimizer)
    parts = {"optimizer": optimizer.state_dict()} if is_beside else {}
    torch.save({"model": model.state_dict(), "scheduler": scheduler, **parts}, "run.pt")
    state, checkpoint = read("run.pt")
    assert state.unread == ""
    names = [name for name, _ in model.named_parameters()]
    assert [one.name for one in named(state, checkpoint).states] == names


def test_a_whole_optimizer_of_copies_tells_its_lr():
    model = torch.nn.Linear(32, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.03)
    copied = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.save({"model": copied, "optimizer": optimizer}, "run.pt")
    assert {row["lr"] for row in api.translate("run.pt").rows} == {0.03}
    assert api.translate("run.pt").notes[0] == (
        "optimizer state not read: optimizer: is a whole optimizer and not its state_dict(), of"
        " other parameters than the model's; save optimizer.state_dict()"
    )


# Flattened states.


def flattened(state, names):
    """As torch.distributed.checkpoint flattens a state, nested entries too."""
    flat = {}

    def add(key, entry):
        if isinstance(entry, dict):
            for inner, kept in entry.items():
                add(f"{key}.{inner}", kept)
        else:
            flat[key] = entry

    for key, entries in state["state"].items():
        add(f"state.{names[key]}", entries)
    for group in state["param_groups"]:
        for key in group["params"]:
            settings = {name: kept for name, kept in group.items() if name != "params"}
            add(f"param_groups.{names[key]}", settings)
    return flat


@pytest.mark.parametrize("key", ["optimizer", "optim", "opt", "optimizer_state_dict", "x"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.layers.0."])
def test_a_flattened_state_is_read_with_its_names(key, prefix):
    shapes, names = [*MODEL.values()], [f"{prefix}{name}" for name in MODEL]
    state = adam(shapes)
    state["param_groups"][0]["params"] = [0, 1]
    state["param_groups"].append({**state["param_groups"][0], "lr": 0.5, "params": [2]})
    model = {
        n.removeprefix("module."): t for n, t in zip(names, weights(MODEL).values(), strict=True)
    }
    torch.save({"model": model, key: flattened(state, names)}, "run.pt")
    found, checkpoint = read("run.pt")
    assert [one.saved_name for one in found.states] == names
    assert [group.params for group in found.groups] == [(names[0], names[1]), (names[2],)]
    assert [one.name for one in named(found, checkpoint).states] == [*model]
    rows = {row["name"]: row for row in api.translate("run.pt").rows}
    assert {name: row["lr"] for name, row in rows.items()} == dict(
        zip(model, [1e-5, 1e-5, 0.5], strict=True)
    )
    assert all(row["measured"] for row in rows.values())
    assert {tensor.name for tensor in checkpoint.tensors} == {*model}


def test_entries_within_entries_of_a_flattened_state_keep_their_parameter():
    state = {"a": {"step": 3, "Q": {"0": torch.ones(32, 32)}}, "b": {"step": 3}}
    groups = [{"lr": 0.1, "params": ["a", "b"]}]
    flat = flattened({"state": state, "param_groups": groups}, {"a": "a", "b": "b"})
    one, other = read(saved(optimizer=flat))[0].states
    assert ([*one.tensors], one.step) == (["Q.0"], 3.0)
    assert (other.key, other.step) == ("b", 3.0)


def test_a_model_with_a_module_called_state_is_no_optimizers():
    model = {"state.encoder.weight": torch.ones(2), "state.decoder.weight": torch.ones(2)}
    torch.save({"model": model}, "run.pt")
    checkpoint = open_checkpoint("run.pt")
    assert [tensor.name for tensor in checkpoint.tensors] == [*model]
    assert find_state(checkpoint) is None


def test_a_state_by_names_is_read_with_them():
    """As get_optimizer_state_dict gives it, and FSDP's full_optim_state_dict."""
    state, checkpoint = read(saved(optim=adam(MODEL.values(), [f"module.{n}" for n in MODEL])))
    assert [one.name for one in named(state, checkpoint).states] == [*MODEL]


# Names under which optimizers lie.


@pytest.mark.parametrize(
    "key",
    ["optimizer", "optim", "opt", "opts", "optimizers", "optimizer_D", "optimizerG", "d_optimizer"],
)
def test_what_lies_under_an_optimizers_name_is_judged_for_nan_alone_and_said(key):
    layout = {
        n: {"exp_avg": torch.ones(32, 32), "exp_avg_sq": -torch.ones(32, 32)} for n in range(2)
    }
    checkpoint = open_checkpoint(saved(**{key: layout}))
    beside = {f"{key}.{n}.{name}" for n, entries in layout.items() for name in entries}
    assert {tensor.name for tensor in checkpoint.tensors} == {*MODEL} | beside
    assert checkpoint.non_model == beside
    report = api.check("run.pt")
    assert f"optimizer state not read: {key}: 4 tensors without param_groups" in report.notes
    assert not beside & {finding.where for finding in report.findings}
    layout[1]["exp_avg"][0, 0] = math.nan
    found = api.check(saved(**{key: layout})).findings
    assert [(one.rule, one.where) for one in found] == [("SC101", f"{key}.1.exp_avg")]


@pytest.mark.parametrize("key", ["opt", "adopt", "optimal", "options"])
def test_a_model_of_a_similar_name_is_judged(key):
    torch.save({key: weights(MODEL)}, "run.pt")
    assert [tensor.name for tensor in open_checkpoint("run.pt").tensors] == [*MODEL]
