"""Which entries of a folder are the checkpoints of a run, in which order, and what else is said of
them."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from command import scalecheck
from dcp_files import dcp_files
from runs import STEPS, trained
from safetensors.torch import save_file
from zero_files import Zero

from scalecheck.checkpoint.run.folder import run_in
from scalecheck.checkpoint.run.names import place_of
from scalecheck.errors import CheckpointError

NAMES = [
    ("checkpoint-500", True, 500, "step"),
    ("step-1000", True, 1000, "step"),
    ("step_1000", True, 1000, "step"),
    ("global_step12", True, 12, "step"),
    ("iter_0001000", True, 1000, "step"),
    ("step1000-unsharded", True, 1000, "step"),
    ("100", True, 100, "number"),
    ("model_000500.safetensors", False, 500, "number"),
    ("ckpt_1000.pt", False, 1000, "number"),
    ("epoch=3-step=900.ckpt", False, 900, "step"),
    ("epoch=3-step=900-val_loss=0.31.ckpt", False, 900, "step"),
    ("ep12-ba500-rank0.pt", False, 500, "step"),
    ("checkpoint_epoch_3.pth", False, 3, "epoch"),
    ("iter-000100-ckpt.pth", False, 100, "step"),
]


def model(at=0.0):
    return {"w.weight": torch.full((8, 4), 1.0) + at, "w.bias": torch.full((8,), 0.5) + at}


def report(*arguments, code=0):
    done = scalecheck("history", *arguments, "--format", "json")
    assert (done.code, done.err) == (code, "")
    return json.loads(done.out)


def steps(found):
    return [row["step"] for row in found["checkpoints"]]


@pytest.mark.parametrize(("name", "is_folder", "number", "unit"), NAMES)
def test_a_name_says_a_step(name, is_folder, number, unit):
    assert place_of(name, is_folder)[:2] == (number, unit)


@pytest.mark.parametrize(
    "name",
    [
        *("last.ckpt", "model.safetensors", "model-00001-of-00003.safetensors"),
        *("mp_rank_00_model_states.pt", "ep1-ba500-rank3.pt", "optimizer_100.pt", "loss_3.csv"),
    ],
)
def test_a_name_of_no_step_has_no_place(name):
    assert place_of(name, False) is None


@pytest.mark.parametrize(("name", "is_folder"), [entry[:2] for entry in NAMES])
def test_checkpoints_of_every_name_are_a_run(tmp_path, name, is_folder):
    number = str(place_of(name, is_folder).number)
    names = [name.replace(number.zfill(len(number)), str(int(number) * n)) for n in (3, 1, 10)]
    for n, one in enumerate(names):
        if is_folder:
            (tmp_path / one).mkdir()
            save_file(model(n), tmp_path / one / "model.safetensors")
        elif one.endswith(".safetensors"):
            save_file(model(n), tmp_path / one)
        else:
            torch.save(model(n), tmp_path / one)
    found = report(tmp_path)
    assert [row["checkpoint"] for row in found["checkpoints"]] == [names[n] for n in (1, 0, 2)]
    values = [int(number) * n for n in (1, 3, 10)]
    assert steps(found) == ([None] * 3 if "epoch_" in name else values)


def test_links_and_copies_are_counted_once(tmp_path):
    for step in (500, 1000):
        content = {"state_dict": model(step), "global_step": step}
        torch.save(content, tmp_path / f"epoch=0-step={step}.ckpt")
    torch.save({"state_dict": model(1000), "global_step": 1000}, tmp_path / "last.ckpt")
    torch.save({"state_dict": model(1200), "global_step": 1200}, tmp_path / "final.ckpt")
    torch.save({"state_dict": model(7)}, tmp_path / "best.ckpt")
    (tmp_path / "latest.ckpt").symlink_to("epoch=0-step=1000.ckpt")
    (tmp_path / "epoch=0-step=900.ckpt").symlink_to("epoch=0-step=500.ckpt")
    found = report(tmp_path)
    assert steps(found) == [500, 1000, 1200]
    notes = "\n".join(found["notes"])
    assert "last.ckpt (step 1,000)" in notes
    assert "no step is recorded: best.ckpt" in notes
    assert "latest" not in notes


def test_the_recorded_step_goes_before_the_name_and_a_difference_is_said(tmp_path):
    for step in (1, 2, 3):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file(model(step), folder / "model.safetensors")
        state = {"global_step": 1000 * step, "log_history": [{"step": 1000, "loss": 1.0}]}
        (folder / "trainer_state.json").write_text(json.dumps(state), "utf-8")
    found = report(tmp_path)
    assert steps(found) == [1000, 2000, 3000]
    (row,) = found["findings"]
    expected = "checkpoint-1 is of step 1,000 by trainer_state.json, its name says 1; so in 3 of 3"
    assert row["message"] == expected


def test_the_steps_of_states_go_before_epochs(tmp_path):
    weights = torch.nn.Linear(4, 8)
    optimizer = torch.optim.AdamW(weights.parameters(), 1e-3)
    for step in range(1, 13):
        weights(torch.ones(4)).sum().backward()
        optimizer.step()
        if not step % 4:
            content = {"model": weights.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(content, tmp_path / f"checkpoint_epoch_{step // 4}.pt")
    assert steps(report(tmp_path)) == [4, 8, 12]


def test_a_run_in_a_folder_below_is_found(tmp_path):
    place = tmp_path / "lightning_logs" / "version_0" / "checkpoints"
    place.mkdir(parents=True)
    for step in (1, 2):
        torch.save(model(step), place / f"epoch=0-step={step}.ckpt")
    found = report(tmp_path)
    assert steps(found) == [1, 2]
    assert "the run is read of lightning_logs/version_0/checkpoints" in found["notes"]


def test_of_two_runs_one_is_to_be_named(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for step in (1, 2):
            torch.save(model(step), tmp_path / name / f"step_{step}.pt")
    with pytest.raises(CheckpointError, match="holds 2 runs: one, two") as caught:
        run_in(tmp_path)
    assert caught.value.fix.new == str(tmp_path / "one")


@pytest.mark.parametrize("name", ["checkpoint-500", "model.pt", "nothing"])
def test_less_than_two_checkpoints_are_no_run(tmp_path, name):
    if name == "checkpoint-500":
        (tmp_path / name).mkdir()
        save_file(model(), tmp_path / name / "model.safetensors")
    elif name == "model.pt":
        torch.save(model(), tmp_path / name)
    given = tmp_path / "x" if name == "nothing" else tmp_path
    done = scalecheck("history", given)
    assert (done.code, done.out) == (3, "")
    if name != "nothing":
        assert "holds one checkpoint" in done.problem
        assert "  help: a history needs two or more" in done.err


def test_paths_are_in_the_order_of_their_steps_or_as_given(tmp_path):
    for name in ("step_30.pt", "step_20.pt", "b.pt", "a.pt"):
        torch.save(model(len(name)), tmp_path / name)
    found = report(tmp_path / "step_30.pt", tmp_path / "step_20.pt")
    assert steps(found) == [20, 30]
    found = report(tmp_path / "b.pt", tmp_path / "a.pt")
    assert [Path(row["checkpoint"]).name for row in found["checkpoints"]] == ["b.pt", "a.pt"]
    assert (
        "steps are not known, so nothing is said of lrs, noise and the exponent" in found["notes"]
    )


def test_files_of_folders_have_the_steps_of_these(tmp_path):
    for step in (30, 20):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file(model(step), folder / "model.safetensors")
    files = [tmp_path / f"checkpoint-{step}" / "model.safetensors" for step in (30, 20)]
    assert steps(report(*files)) == [20, 30]
    state = {"global_step": 10, "log_history": [{"step": 5, "learning_rate": 1e-3, "loss": 1.0}]}
    text = json.dumps(state).replace("1.0", "NaN")
    (tmp_path / "checkpoint-30" / "trainer_state.json").write_text(text, "utf-8")
    found = report(*files)
    assert steps(found) == [10, 20]
    assert found["summary"]["lrs_by"] == "1 logged lr of trainer_state.json"


@pytest.mark.parametrize("text", ["[]", "{", '{"global_step": -1}', '{"global_step": "9"}', "\xff"])
def test_a_damaged_trainer_state_is_said_or_says_nothing(tmp_path, text):
    for step in (10, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
        save_file(model(step), tmp_path / f"checkpoint-{step}" / "model.safetensors")
    (tmp_path / "checkpoint-20" / "trainer_state.json").write_text(text, "latin-1")
    found = report(tmp_path)
    assert steps(found) == [10, 20]
    assert any("not read" in note for note in found["notes"]) == ("global_step" not in text)


def test_a_damaged_checkpoint_is_named_and_the_others_are_shown(tmp_path):
    for step in (1, 2, 3, 4):
        (tmp_path / f"step-{step}").mkdir()
        save_file(model(step), tmp_path / f"step-{step}" / "model.safetensors")
    file = tmp_path / "step-2" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    (tmp_path / "step-3" / "model.safetensors").unlink()
    (tmp_path / "step-3" / "config.json").write_text("{}")
    found = report(tmp_path)
    assert steps(found) == [1, 4]
    assert [row["name"] for row in found["skipped"]] == ["step-2", "step-3"]
    unread = [row["message"] for row in found["findings"] if row["rule"] == "not-read"]
    assert len(unread) == 2
    assert "step-2 cannot be read: " in unread[0]
    report(tmp_path, "--fail-on", "error", code=1)


def test_folders_of_distributed_checkpoints_are_a_run(tmp_path):
    for n, step in enumerate((500, 1000, 1500)):
        folder = tmp_path / "checkpoint" / f"step-{step}"
        folder.mkdir(parents=True)
        for name, content in dcp_files(model(n / 10), ranks=2).items():
            (folder / name).write_bytes(content)
    found = report(tmp_path)
    assert steps(found) == [500, 1000, 1500]
    row = found["rows"][2]
    assert row["relative_change"] == pytest.approx(0.1 / 1.1, rel=1e-6)


def test_steps_of_deepspeed_are_a_run_though_latest_names_one(tmp_path):
    for n, step in enumerate((12, 24, 36)):
        zero = Zero(seed=5)
        zero.masters = {name: one + n for name, one in zero.masters.items()}
        zero.save(tmp_path, f"global_step{step}")
    found = report(tmp_path, "--by", "tensor")
    assert steps(found) == [12, 24, 36]
    (name, *_) = zero.masters
    w = zero.masters[name].double()
    rows = [row for row in found["rows"] if row["name"] == name]
    moved = w.numel() ** 0.5 / (w - 1).norm().item()
    assert rows[-1]["relative_change"] == pytest.approx(moved, rel=0.01)


def test_a_distributed_model_below_a_checkpoint_is_that_one(tmp_path):
    """As accelerate lays out FSDP."""
    for n, step in enumerate((10, 20)):
        folder = tmp_path / f"checkpoint-{step}" / "pytorch_model_fsdp_0"
        folder.mkdir(parents=True)
        for name, content in dcp_files(model(n / 10), ranks=2).items():
            (folder / name).write_bytes(content)
    found = report(tmp_path)
    assert steps(found) == [10, 20]
    assert found["rows"][1]["relative_change"] == pytest.approx(0.1, rel=1e-6)


def test_a_path_is_needed():
    done = scalecheck("history")
    assert (done.code, done.out) == (2, "")
    assert done.problem == "scalecheck: PATH...: a run is missing"


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_run_that_torch_saved_distributed_is_read(tmp_path):
    """As torchtitan saves: model and optimizer, by the names of the model."""
    from torch.distributed import checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    weights = {}

    def save(step, network, optimizer, log):
        state = get_optimizer_state_dict(network, optimizer)
        content = {"model": network.state_dict(), "optimizer": state}
        dcp.save(content, checkpoint_id=tmp_path / "checkpoint" / f"step-{step}", no_dist=True)
        weights[step] = network.state_dict()["2.weight"].double().numpy().copy()

    trained(save)
    found = report(tmp_path, "--by", "tensor")
    assert steps(found) == [*STEPS]
    assert [row["state_step"] for row in found["checkpoints"]] == [*STEPS]
    rows = {row["step"]: row for row in found["rows"] if row["name"].endswith("2.weight")}
    for before, step in pairwise(STEPS):
        moved = np.linalg.norm(weights[step] - weights[before]) / np.linalg.norm(weights[before])
        assert rows[step]["relative_change"] == pytest.approx(moved, rel=1e-9)
        assert rows[step]["relative_update"] > 0
