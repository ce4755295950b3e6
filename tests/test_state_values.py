"""What the values of an optimizer state may be: numbers of numpy and of torch; what cannot be read
is not known, and no default takes its place."""

import numpy as np
import pytest
import torch

import scalecheck as api
from scalecheck.errors import UsageError

SHAPES = {"a.weight": (12, 8), "a.bias": (12,), "b.weight": (9, 16)}
LR, DECAY, BETAS = 2e-3, 0.1, (0.8, 0.95)


def trained():
    """The weights, the state of AdamW after some steps, and its last update at lr 1 by name."""
    torch.manual_seed(0)
    weights = {name: torch.nn.Parameter(torch.randn(s).double()) for name, s in SHAPES.items()}
    optimizer = torch.optim.AdamW(weights.values(), lr=LR, betas=BETAS, weight_decay=DECAY)
    for _ in range(5):
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        for weight in weights.values():
            weight.grad = torch.randn(weight.shape).double()
        optimizer.step()
    model = {name: weight.detach() for name, weight in weights.items()}
    moved = {n: (model[n] - before[n] * (1 - LR * DECAY)) / LR for n in model}
    updates = {name: float(update.square().mean().sqrt()) for name, update in moved.items()}
    return model, optimizer.state_dict(), updates


def report(model, state, **options):
    torch.save({"model": model, "optimizer": state}, "run.pt")
    return api.translate("run.pt", **options)


def assert_measured(rows, updates):
    assert {row["name"]: row["update_rms"] for row in rows} == pytest.approx(updates)


@pytest.mark.parametrize(
    "changed",
    [
        {"lr": np.float64(LR)},
        {"weight_decay": np.float64(DECAY)},
        {"eps": np.float32(2**-27)},
        {"amsgrad": np.bool_(False)},
        {"betas": tuple(map(np.float64, BETAS))},
        {"betas": [*BETAS]},
        {"betas": (torch.tensor(BETAS[0], dtype=torch.float64), BETAS[1])},
    ],
    ids=str,
)
def test_settings_that_are_numbers_of_numpy_or_torch_are_read(changed, elsewhere):
    model, state, updates = trained()
    state["param_groups"][0] |= changed
    rows = report(model, state).rows
    assert {row["name"]: row["update_rms"] for row in rows} == pytest.approx(updates, rel=1e-6)
    assert {(row["lr"], row["weight_decay"]) for row in rows} == {(LR, DECAY)}


@pytest.mark.parametrize("count", [np.int64, np.float32, np.uint16, int])
def test_steps_may_be_counted_by_numpy(count, elsewhere):
    model, state, updates = trained()
    for entry in state["state"].values():
        entry["step"] = count(5)
    assert_measured(report(model, state).rows, updates)


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_no_default_takes_the_place_of_a_setting_that_is_not_read(make, elsewhere):
    model, state, _ = trained()
    state["param_groups"][0]["betas"] = make(BETAS)
    for row in report(model, state).rows:
        assert row["optimizer"] == "not known"
        assert row["relative_update"] is None
        assert "its setting betas cannot be read" in row["reason"]


def test_a_flag_that_is_not_read_changes_no_update(elsewhere):
    model, state, updates = trained()
    state["param_groups"][0]["foreach"] = np.array([True])
    assert_measured(report(model, state).rows, updates)


def test_entries_that_are_not_read_are_not_said_to_be_empty(elsewhere):
    model, state, _ = trained()
    for entry in state["state"].values():
        entry |= {name: entry[name].numpy() for name in ("exp_avg", "exp_avg_sq")}
    made = report(model, state)
    said = "its state keeps exp_avg, exp_avg_sq in a form that is not read"
    rows = [*made.rows, *made.rows_of("states")]
    unnamed = "it is not certain which saved state belongs to it"
    assert {row["state_reason"] for row in rows} == {said, unnamed}
    assert any(note.endswith(f"expected, not measured: {unnamed}.") for note in made.notes)


def test_a_tensor_without_a_state_of_its_name_says_so(elsewhere):
    model, state, updates = trained()
    state["param_groups"][0]["param_names"] = ["other.weight", "a.bias", "b.weight"]
    rows = {row["name"]: row for row in report(model, state).rows}
    assert rows["a.bias"]["update_rms"] == pytest.approx(updates["a.bias"])
    assert rows["a.bias"]["state_reason"] is None
    assert rows["a.weight"]["state_reason"] == "no state was saved under its name"
    assert not rows["a.weight"]["measured"]


def test_sgd_that_keeps_nothing_is_no_wrong_usage(elsewhere):
    """It was refused as --optimizer sgd, which nobody gave."""
    model = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    parameters = [torch.nn.Parameter(tensor) for tensor in model.values()]
    state = torch.optim.SGD(parameters, lr=0.1).state_dict()
    made = report(model, state)
    asked = "its updates are as large as its gradients: give --grad-rms"
    assert {row["reason"] for row in made.rows} == {asked}
    said = asked.replace("--grad-rms", "grad_rms")
    assert f"3 of 3 tensors have no update: {said}." in made.notes
    said = "its optimizer keeps nothing where momentum is 0"
    assert {row["state_reason"] for row in made.rows_of("states")} == {said}
    given = report(model, state, grad_rms=0.5).rows
    assert [row["absolute_update"] for row in given] == pytest.approx([0.05] * 3)


@pytest.mark.parametrize("both", [True, False])
def test_numbers_in_letters_are_numbers_of_parameters(both, elsewhere):
    """As JSON leaves the keys of a dict."""
    model, state, updates = trained()
    state["state"] = {str(key): entry for key, entry in state["state"].items()}
    if both:
        state["param_groups"][0]["params"] = ["0", "1", "2"]
    assert_measured(report(model, state).rows, updates)


def test_numbers_in_letters_may_be_names(elsewhere):
    """As those of the tensors of an nn.ParameterList."""
    model, state, _ = trained()
    model = {"0": model["b.weight"], "1": model["a.bias"], "2": model["a.weight"]}
    state["state"] = {str(2 - key): entry for key, entry in state["state"].items()}
    state["param_groups"][0]["params"] = ["2", "1", "0"]
    made = report(model, state)
    assert (
        "3 of 3 optimizer states are matched to tensors by the names saved with them."
    ) in made.notes


def test_a_whole_run_in_one_flat_table_has_a_state(elsewhere):
    """As torch.distributed.checkpoint flattens it: `optimizer.state.NAME.exp_avg`."""
    model, state, updates = trained()
    flat = {f"model.{name}": tensor for name, tensor in model.items()}
    for key, name in enumerate(model):
        settings = {k: v for k, v in state["param_groups"][0].items() if k != "params"}
        flat |= {f"optimizer.state.{name}.{k}": v for k, v in state["state"][key].items()}
        flat |= {f"optimizer.param_groups.{name}.{k}": v for k, v in settings.items()}
    torch.save(flat, "run.pt")
    rows = api.translate("run.pt").rows
    assert_measured(rows, {f"model.{name}": update for name, update in updates.items()})


@pytest.mark.parametrize("part", ["model.", "net.inner."])
def test_saved_names_may_be_of_a_model_inside_another_module(part, elsewhere):
    model, state, updates = trained()
    state["param_groups"][0]["param_names"] = [*model]
    rows = report({part + name: tensor for name, tensor in model.items()}, state).rows
    assert_measured(rows, {part + name: update for name, update in updates.items()})


def test_saved_names_of_two_models_alike_name_none(elsewhere):
    model, state, _ = trained()
    state["param_groups"][0]["param_names"] = [*model]
    both = {f"{part}.{name}": tensor for part in ("a", "b") for name, tensor in model.items()}
    made = report(both, state)
    assert not any(row["measured"] for row in made.rows)
    assert (
        "0 of 3 optimizer states are matched to tensors by the names saved with them."
    ) in made.notes


def test_settings_that_an_optimizer_cannot_have_are_no_wrong_usage(elsewhere):
    """They were refused as those of an --optimizer that nobody gave."""
    model, state, _ = trained()
    state["param_groups"][0]["betas"] = (0.8, 1.5)
    said = "optimizer not known: its state is like that of adamw, but beta2 1.5 is outside [0, 1)"
    for row in report(model, state).rows:
        assert (row["reason"], row["lr"], row["weight_decay"]) == (said, LR, DECAY)
    with pytest.raises(UsageError, match=r"optimizer='adamw': beta2 1\.5 is outside"):
        report(model, state, optimizer="adamw")
