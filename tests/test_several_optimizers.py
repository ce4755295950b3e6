"""Files with several optimizers, or with what is no optimizer state that is read: states of
different tensors are read together, one can be chosen, and the weights are judged anyway."""

import json

import pytest
import torch
from command import scalecheck
from states import FIRST, MODEL, NORM, SECOND, adam, open_state, read, saved, weights

import scalecheck as api
from scalecheck.checkpoint.states.state_names import named
from scalecheck.errors import CheckpointError, UsageError


@pytest.fixture(autouse=True)
def _elsewhere(elsewhere):
    """Works in the test's own folder."""


def muon():
    """The state dict of Muon for two matrices."""
    matrices = [torch.nn.Parameter(torch.eye(32)) for _ in range(2)]
    optimizer = torch.optim.Muon(matrices, lr=0.02)
    for parameter in matrices:
        parameter.grad = torch.ones(32, 32)
    optimizer.step()
    return optimizer.state_dict()


LAYOUTS = {
    "a list": lambda one, other: {"optimizers": [one, other]},
    "Lightning": lambda one, other: {"optimizer_states": [one, other], "epoch": 3},
    "side by side": lambda one, other: {"optimizer": one, "optimizer_2": other},
    "by name": lambda one, other: {"optim": {"muon": one, "adam": other}},
    "deeper": lambda one, other: {"trainer": {"state": [{"x": one}, (other,)]}},
}
PLACES = {
    "a list": ["optimizers[0]", "optimizers[1]"],
    "Lightning": ["optimizer_states[0]", "optimizer_states[1]"],
    "side by side": ["optimizer", "optimizer_2"],
    "by name": ["optim.muon", "optim.adam"],
    "deeper": ["trainer.state[0].x", "trainer.state[1][0]"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_optimizers_of_different_tensors_are_read_together(layout):
    path = saved(**LAYOUTS[layout](muon(), adam([(32,)], lr=3e-4)))
    state, checkpoint = read(path)
    first, second = PLACES[layout]
    assert state.notes[0] == (
        f"2 optimizer states are read together: {first} (2 states), {second} (1 state)"
    )
    assert [one.group for one in state.states] == [0, 0, 1]
    assert [group.settings["lr"] for group in state.groups] == [0.02, 3e-4]
    assert [one.label for one in state.states] == [
        f"{first} state[0] (32, 32)",
        f"{first} state[1] (32, 32)",
        f"{second} state[0] (32,)",
    ]
    assert [one.name for one in named(state, checkpoint).states] == [*MODEL]
    rows = {row["name"]: row for row in api.translate(path).rows}
    assert {name: row["lr"] for name, row in rows.items()} == {
        FIRST: 0.02,
        SECOND: 0.02,
        NORM: 3e-4,
    }
    assert rows[NORM]["measured"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_of_several_is_chosen_by_its_place(layout):
    path = saved(**LAYOUTS[layout](muon(), adam([(32,)], lr=3e-4)))
    for place, lr, count in zip(PLACES[layout], (0.02, 3e-4), (2, 1), strict=True):
        report = api.translate(path, state=f"{path}::{place}")
        assert {row["lr"] for row in report.rows} == {lr}
        assert len(report.rows) == count
        assert report.source["state"] == f"{path}::{place}"


def test_a_state_in_another_file_is_chosen_by_its_place():
    torch.save([muon(), adam([(32,)])], "states.pt")
    state = open_state("states.pt::[1]")
    assert [one.shape for one in state.states] == [(32,)]
    assert {row["name"] for row in api.translate(saved(), state="states.pt::[1]").rows} == {NORM}


def test_a_gan_has_a_state_for_each_network():
    generator, discriminator = weights(MODEL), weights({"d": (4, 4), "e": (4,)})
    parts = {"generator": generator, "discriminator": discriminator}
    states = {"optimizer_G": adam(MODEL.values()), "optimizer_D": adam([(4, 4), (4,)])}
    torch.save({**parts, **states}, "gan.pt")
    state, checkpoint = read("gan.pt")
    names = [one.name for one in named(state, checkpoint).states]
    assert names == [*MODEL, None, None]


@pytest.mark.parametrize(("width", "is_read"), [(3, True), (4, False)])
def test_networks_with_the_same_names_are_two_where_their_shapes_differ(width, is_read):
    """Of one shape they are taken for a model and its average."""
    one = {"net.0.weight": (4, 4), "net.0.bias": (4,)}
    other = {"net.0.weight": (4, width), "net.0.bias": (width,)}
    parts = {"G": weights(one), "D": weights(other)}
    states = {"opt_g": adam(one.values(), [*one]), "opt_d": adam(other.values(), [*other])}
    torch.save({**parts, **states}, "gan.pt")
    assert (read("gan.pt")[0].unread == "") == is_read


def test_a_network_that_is_not_in_the_file_has_no_state_that_is_read():
    names, shapes = [FIRST, NORM], [(32, 32), (32,)]
    state, _ = read(saved(g=adam(shapes, names), d=adam(shapes, names)))
    assert state.unread


SHARED = {
    "by shape": (adam([(32, 32), (32, 32)]), adam([(32, 32)])),
    "by number": (adam([(32, 32), (32, 32)]), adam([(32, 32), (32,), (32,)])),
    "by name": (adam([(32, 32)], [FIRST]), adam([(32, 32)], [f"module.{FIRST}"])),
}


@pytest.mark.parametrize("shared", SHARED)
def test_optimizers_that_may_share_a_tensor_are_not_read_and_named(shared):
    path = saved(optimizers=[*SHARED[shared]])
    state, _ = read(path)
    assert state.states == ()
    (note,) = state.notes
    assert note.startswith(
        "optimizer state not read: 2 optimizer states may train the same tensors: optimizers[0] ("
    )
    assert note.endswith(f"choose one with --state {path}::optimizers[1]")
    with pytest.raises(CheckpointError, match="2 optimizer states that may train the same"):
        api.check(path, state=path)
    assert "(its optimizer state is not read)" in scalecheck("check", path).out
    chosen = scalecheck("check", path, "--state", f"{path}::optimizers[1]")
    assert "is not read" not in chosen.out


def test_an_average_of_the_model_is_trained_by_no_optimizer():
    one, other = adam(MODEL.values()), adam(MODEL.values())
    assert read(saved(ema=weights(MODEL), optimizers=[one, other]))[0].unread


def test_one_of_several_that_is_not_understood_leaves_the_others_to_choose():
    path = saved(optimizers=[muon(), adam([(32,)]), contradicting()])
    notes = read(path)[0].notes
    assert notes == (
        "optimizer state not read: optimizers[2].state.1: exp_avg_sq is of a parameter of shape"
        " [32, 32], exp_avg of [3, 3]",
        "optimizer state not read: optimizers[0] (2 states), optimizers[1] (1 state), as another"
        f" may train the same tensors; choose one with --state {path}::optimizers[1]",
    )
    assert len(api.translate(path, state=f"{path}::optimizers[0]").rows) == 2


def test_an_lr_that_is_needed_is_asked_for_with_the_reason():
    path = saved(optimizer=NOT_READ["a whole optimizer"])
    with pytest.raises(
        UsageError,
        match=r"lr: no optimizer state with an lr .*; optimizer state not read: optimizer",
    ):
        api.translate(path)


def test_what_all_optimizers_say_is_certain_though_none_is_read():
    one = adam([(32, 32), (32, 32), (32,)], lr=0.01)
    report = api.translate(saved(optimizers=[one, json_copy(one)]))
    assert {row["lr"] for row in report.rows} == {0.01}
    assert not any(row["measured"] for row in report.rows)


def json_copy(state):
    """Another state of the same values, in storages of its own."""
    copied = {
        key: {name: torch.clone(torch.as_tensor(entry)) for name, entry in entries.items()}
        for key, entries in state["state"].items()
    }
    return {"state": copied, "param_groups": [dict(group) for group in state["param_groups"]]}


def test_a_place_that_is_not_there_names_those_that_are():
    path = saved(optimizers=[muon(), adam([(32,)])])
    with pytest.raises(UsageError) as raised:
        api.check(path, state=f"{path}::optimizers[2]")
    assert str(raised.value) == (
        f"scalecheck.check: state='{path}::optimizers[2]': no optimizer state there;"
        " there is optimizers[0], optimizers[1]"
    )
    assert scalecheck("check", path, "--state", f"{path}::optimizers[2]").code == 2
    assert scalecheck("check", saved(), "--state", "run.pt::optimizer").code == 2
    assert scalecheck("check", saved(), "--state", "missing.pt::optimizer").code == 3


@pytest.mark.parametrize("name", ["a::b.pt", "a::optimizer", "C:run.pt"])
def test_a_file_whose_name_looks_like_a_place_is_opened(name):
    path = saved(name, optimizer=adam(MODEL.values()))
    assert len(open_state(path).states) == 3
    assert len(open_state(f"{path}::optimizer").states) == 3


# What was found and is not understood.


def contradicting():
    state = adam(MODEL.values())
    state["state"][1]["exp_avg"] = torch.ones(3, 3)
    return state


NOT_READ = {
    "a whole optimizer": torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))]),
    "shapes that contradict": contradicting(),
    "a state of nothing": adam([(5, 5), (7,)]),
    "no groups": {"state": {0: {"exp_avg": torch.ones(32, 32)}}, "param_groups": []},
    "no param_groups": {
        0: {"exp_avg": torch.ones(32, 32), "exp_avg_sq": torch.full((32, 32), -1.0)}
    },
    "no keys": {"state": {}, "param_groups": [{"params": [1.5]}]},
    "no step": {"state": {0: {"step": -1}}, "param_groups": [{"params": [0], "lr": 1e-3}]},
    "a state that is a list": {"state": {0: [1]}, "param_groups": [{"params": [0], "lr": 1e-3}]},
    "a state that is a tensor": {"state": torch.ones(2), "param_groups": [{"params": [0]}]},
    "another shape by name": adam([(32, 32)], [NORM]),
}


@pytest.mark.parametrize("kind", NOT_READ)
@pytest.mark.parametrize("key", ["optimizer", "optim"])
def test_weights_are_judged_beside_a_state_that_is_not_read(kind, key):
    model = weights(MODEL)
    model[SECOND][3, 5] = float("nan")
    torch.save({"model": model, key: NOT_READ[kind]}, "run.pt")
    done = scalecheck("check", "run.pt", "--format", "json")
    report = json.loads(done.out)
    assert (done.code, {found["rule"] for found in report["findings"]}) == (1, {"SC101"})
    assert {found["where"] for found in report["findings"]} == {SECOND}
    assert any(note.startswith("optimizer state not read: ") for note in report["notes"])
    text = scalecheck("check", "run.pt").out
    assert "not run: SC204, SC205 (its optimizer state is not read)" in text
    assert api.translate("run.pt", lr=1e-3).rows


@pytest.mark.parametrize("kind", NOT_READ)
def test_a_state_that_was_asked_for_and_is_not_read_is_an_error(kind):
    torch.save({"model": weights(MODEL), "optimizer": NOT_READ[kind]}, "run.pt")
    with pytest.raises((CheckpointError, UsageError)):
        api.check("run.pt", state="run.pt")


def test_a_folder_with_two_states_or_none_that_is_read_is_judged():
    torch.save(weights(MODEL), "pytorch_model.bin")
    torch.save({"epoch": 1}, "optimizer.pt")
    assert api.check(".").summary["errors"] == 0
    torch.save({"epoch": 1}, "optimizer.bin")
    notes = api.check(".").notes
    said = (
        "optimizer state not read: holds 2 optimizer states, name one: optimizer.pt, optimizer.bin"
    )
    assert said in notes


def test_a_damaged_state_beside_a_model_is_an_error():
    torch.save(weights(MODEL), "pytorch_model.bin")
    torch.save(adam(MODEL.values()), "optimizer.pt")
    with open("optimizer.pt", "r+b") as file:
        file.truncate(1000)
    assert scalecheck("check", ".").code == 3
