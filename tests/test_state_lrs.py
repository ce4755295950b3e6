"""The lr of each group of an optimizer state: at the end of a schedule, of groups that do not move,
and of optimizers that need none."""

import pytest
import torch

import scalecheck as api
from scalecheck.errors import UsageError
from scalecheck.optimizers import adafactor
from scalecheck.updates.training import Trainings


def saved(folder, *groups, schedule=None):
    """A file of a matrix for each group, trained a step by AdamW with the group's settings."""
    torch.manual_seed(0)
    model = {f"layers.{n}.w": torch.nn.Parameter(torch.randn(4, 4 + n)) for n in range(len(groups))}
    each = zip(model.values(), groups, strict=True)
    optimizer = torch.optim.AdamW([{"params": [one], **group} for one, group in each])
    ended = schedule and torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    for one in model.values():
        one.grad = torch.randn(one.shape)
    optimizer.step()
    if ended:
        ended.step()
    tensors = {name: one.detach() for name, one in model.items()}
    torch.save({"model": tensors, "optimizer": optimizer.state_dict()}, folder / "run.pt")
    return folder / "run.pt"


def to_zero(step):
    return 1.0 if step == 0 else 0.0


@pytest.mark.parametrize("command", [api.translate, api.check])
def test_the_lr_before_a_schedule_that_has_ended_is_used_and_said(command, tmp_path):
    path = saved(tmp_path, {"lr": 5e-5}, {"lr": 1e-3}, schedule=to_zero)
    said = "the lr is 0, as a schedule that has ended leaves it: initial_lr 5e-05, 0.001 is used"
    assert said in command(path).notes
    assert said not in command(path, lr=1e-4).notes


def test_each_group_has_its_own_initial_lr(tmp_path):
    rows = api.translate(saved(tmp_path, {"lr": 5e-5}, {"lr": 1e-3}, schedule=to_zero)).rows
    assert {row["name"]: row["lr"] for row in rows} == {"layers.0.w": 5e-5, "layers.1.w": 1e-3}
    assert all(row["relative_update"] > 0 for row in rows)


def test_an_lr_of_0_without_an_initial_one_has_to_be_given(tmp_path):
    path = saved(tmp_path, {"lr": 0.0}, {"lr": 0.0})
    with pytest.raises(
        UsageError, match=r"the lr of the optimizer state is 0: pass lr, for example lr=3e-4"
    ):
        api.translate(path)
    assert all(row["lr"] == 1e-4 for row in api.translate(path, lr=1e-4).rows)


@pytest.mark.parametrize("schedule", [None, lambda step: 0.5])
def test_a_group_of_lr_0_beside_others_does_not_move(schedule, tmp_path):
    """As a schedule that multiplies 0 leaves it, too."""
    path = saved(tmp_path, {"lr": 0.0}, {"lr": 1e-3}, schedule=schedule)
    report = api.translate(path)
    assert [row["name"] for row in report.rows] == ["layers.1.w"]
    assert [(e["name"], e["reason"]) for e in report.skipped] == [
        ("layers.0.w", "its group has lr 0: not trained")
    ]


def test_a_group_of_lr_0_whose_tensor_is_not_certain_has_its_states_rows(tmp_path):
    path = saved(tmp_path, {"lr": 0.0}, {"lr": 1e-3})
    run = torch.load(path)
    run["model"]["layers.2.w"] = torch.randn(4, 4)  # as the first
    torch.save(run, path)
    report = api.translate(path)
    assert [(row["name"], row["lr"]) for row in report.rows_of("states")] == [
        ("state[0] (4, 4)", 0)
    ]
    assert {e["name"] for e in report.skipped} == {"layers.0.w", "layers.2.w"}


def test_an_lr_that_is_a_tensor_is_read(tmp_path):
    (row,) = api.translate(saved(tmp_path, {"lr": torch.tensor(2.0**-10)})).rows
    assert row["lr"] == 2.0**-10


def test_an_optimizer_that_sets_its_own_lr_needs_none(monkeypatch):
    with pytest.raises(UsageError, match="--lr: no optimizer state with an lr was found"):
        Trainings("adafactor").of("w", {"lr": None})
    monkeypatch.setattr(adafactor.Optimizer, "needs_lr", False)
    assert Trainings("adafactor").of("w", {"lr": None}).lr == 1.0
    assert Trainings("adafactor").of("w", {"lr": 1e-3}).lr == 1e-3
