"""Folders and files as torchtune, accelerate, Composer and Lightning leave them."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import scalecheck as api

pytestmark = pytest.mark.usefixtures("elsewhere")


def trained(shapes, steps=5, seed=1):
    """Parameters of these shapes after some steps of AdamW, and the optimizer."""
    torch.manual_seed(seed)
    model = {name: torch.nn.Parameter(torch.randn(shape) * 0.05) for name, shape in shapes.items()}
    optimizer = torch.optim.AdamW([*model.values()], lr=2e-3)
    for _ in range(steps):
        for one in model.values():
            one.grad = torch.randn_like(one) * 0.01
        optimizer.step()
    return {name: one.detach() for name, one in model.items()}, optimizer


SHAPES = {"up.weight": (6, 4), "down.weight": (4, 6), "ln.weight": (4,)}


def updates(optimizer):
    """The update that the last step made, for each parameter."""
    group = optimizer.param_groups[0]
    beta1, beta2 = group["betas"]
    found = []
    for own in (optimizer.state[one] for one in group["params"]):
        m = own["exp_avg"].double() / (1 - beta1 ** own["step"].item())
        v = own["exp_avg_sq"].double() / (1 - beta2 ** own["step"].item())
        found.append((m / (v.sqrt() + group["eps"])).square().mean().sqrt().item())
    return found


def measured(path, **options):
    return {row["name"]: row["update_rms"] for row in api.translate(path, **options).rows}


def torchtune(epochs, run, folder="out"):
    weights, optimizer = trained(SHAPES)
    for number in epochs:
        at = Path(folder, f"epoch_{number}")
        at.mkdir(parents=True)
        torch.save(weights, at / "model-00001-of-00001.bin")
    Path(folder, "recipe_state").mkdir()
    state = {"optimizer": optimizer.state_dict(), "seed": 3, "total_epochs": 9}
    if run is not None:
        state["epochs_run"] = run
    torch.save(state, Path(folder, "recipe_state", "recipe_state.pt"))
    return dict(zip(SHAPES, updates(optimizer), strict=True))


@pytest.mark.parametrize(("epochs", "run"), [([0], 1), ([1], 1), ([0, 1, 10], 11)])
def test_torchtunes_last_epoch_is_read_with_its_recipes_optimizer(epochs, run):
    expected = torchtune(epochs, run)
    assert measured("out") == pytest.approx(expected, rel=1e-6)
    report = api.inspect("out")
    assert report.source["path"] == "out"
    assert f"read of epoch_{epochs[-1]}, the last of {len(epochs)}" in report.notes
    assert [one["name"] for one in report.skipped] == [f"epoch_{n}" for n in epochs[:-1]]
    assert any("recipe_state.pt" in note for note in report.notes) is False


@pytest.mark.parametrize(("epochs", "run"), [([0, 1], 1), ([2], 1), ([0], None), ([0], "1")])
def test_a_recipes_state_of_another_epoch_is_not_taken(epochs, run):
    torchtune(epochs, run)
    assert set(measured("out", lr=1e-3).values()) == {None}
    assert any("recipe_state.pt is not read" in note for note in api.inspect("out").notes)
    state = Path("out", "recipe_state", "recipe_state.pt")
    assert None not in measured("out", state=str(state)).values()


def test_a_damaged_recipes_state_is_not_taken():
    torchtune([0], 1)
    Path("out", "recipe_state", "recipe_state.pt").write_bytes(b"PK\x03\x04" + bytes(90))
    assert len(api.inspect("out").rows) == 3


def test_accelerates_second_model_is_read_with_its_own_optimizer():
    Path("state").mkdir()
    expected = {}
    for number, seed in (("", 1), ("_1", 2)):
        weights, optimizer = trained(SHAPES, seed=seed)
        save_file(weights, f"state/model{number}.safetensors")
        torch.save(optimizer.state_dict(), f"state/optimizer{number}.bin")
        expected[number] = sorted(updates(optimizer))
    torch.save({"x": 1}, "state/custom_checkpoint_0.pkl")
    torch.save({"x": 1}, "state/scheduler.bin")
    for path, number in (("state", ""), ("state/model_1.safetensors", "_1")):
        assert sorted(measured(path).values()) == pytest.approx(expected[number], rel=1e-6)
    notes = "\n".join(api.inspect("state").notes)
    for name in ("model_1.safetensors", "optimizer_1.bin", "custom_checkpoint_0.pkl", "scheduler"):
        assert name in notes


def composer(weights, optimizer):
    names = [*weights]
    saved = optimizer.state_dict()
    state = {names[number]: own for number, own in saved["state"].items()}
    groups = [{**saved["param_groups"][0], "params": names}]
    table = {"state": state, "param_groups": groups}
    return {"state": {"model": weights, "optimizers": {"DecoupledAdamW": table}}, "rng": []}


def test_composers_latest_file_is_the_one_that_its_link_names():
    Path("run").mkdir()
    for batch in (3, 20):
        weights, optimizer = trained(SHAPES, seed=batch)
        torch.save(composer(weights, optimizer), f"run/ep0-ba{batch}-rank0.pt")
    os.symlink("ep0-ba20-rank0.pt", "run/latest-rank0.pt")
    expected = dict(zip(SHAPES, updates(optimizer), strict=True))
    assert measured("run") == pytest.approx(expected, rel=1e-6)
    notes = "\n".join(api.inspect("run").notes)
    assert "read of ep0-ba20-rank0.pt, which is the latest by its link" in notes
    assert "beside the model, not inspected: ep0-ba3-rank0.pt" in notes


def test_a_link_to_a_file_beside_is_no_second_checkpoint():
    Path("run").mkdir()
    torch.save(dict(trained(SHAPES)[0]), "run/step9.pt")
    os.symlink("step9.pt", "run/best.pt")
    assert len(api.inspect("run").rows) == 3


def test_a_link_that_leads_to_nothing_is_not_passed_over():
    Path("run").mkdir()
    os.symlink("gone.pt", "run/latest-rank0.pt")
    with pytest.raises(Exception, match=r"gone\.pt"):
        api.inspect("run")


def test_lightnings_averages_are_said_to_be_averages():
    weights, optimizer = trained(SHAPES)
    average = {name: one * 0.9 for name, one in weights.items()}
    torch.save(
        {
            "state_dict": average,
            "optimizer_states": [optimizer.state_dict()],
            "callbacks": {"EMAWeightAveraging": {"latest_update_step": 5}},
            "current_model_state": weights,
            "averaging_state": {"n_averaged": torch.tensor(5)},
            "pytorch-lightning_version": "2.6.6",
        },
        "last.ckpt",
    )
    expected = dict(zip(SHAPES, updates(optimizer), strict=True))
    assert measured("last.ckpt") == pytest.approx(expected, rel=1e-6)
    assert any("state_dict is a moving average" in note for note in api.inspect("last.ckpt").notes)
