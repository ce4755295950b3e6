"""Tensors whose group in an optimizer state is not certain, or that are in none of them."""

import pytest
import torch

import scalecheck as api
from scalecheck.errors import UsageError
from scalecheck.updates.emit import emit


def saved(groups, layers, folder):
    """A file of linear layers trained a step by AdamW, some of them in groups and some in none."""
    model = torch.nn.Sequential(*(torch.nn.Linear(n, n) for n in layers))
    of = [{"params": [getattr(model[i], part) for i, part in names], **s} for names, s in groups]
    optimizer = torch.optim.AdamW(of)
    x = torch.ones(4, layers[0])
    sum(layer(x[:, : layer.in_features]).square().sum() for layer in model).backward()
    optimizer.step()
    # The numbers of a state do not say which parameters they are of.
    run = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(run, folder / "run.pt")
    return folder / "run.pt"


def test_a_tensor_of_no_certain_group_has_what_the_groups_of_its_shape_share(tmp_path):
    decayed = [(1, "weight"), (2, "weight")]
    others = [(1, "bias"), (2, "bias")]
    path = saved(
        [(decayed, {"weight_decay": 0.1}), (others, {"weight_decay": 0.0})], (8, 8, 8), tmp_path
    )
    rows = {row["name"]: row for row in api.translate(path).rows}
    assert rows["1.weight"]["weight_decay"] == 0.1
    assert rows["2.bias"]["weight_decay"] == 0.0


def test_a_setting_that_is_not_certain_is_not_known(tmp_path):
    groups = [([(1, "weight")], {"weight_decay": 0.1}), ([(0, "weight")], {"weight_decay": 0.3})]
    path = saved(groups, (8, 8), tmp_path)
    report = api.translate(path, steps=100)
    said = "The weight_decay of 2 tensors is not known, because their group is not known. "
    assert said + "Pass weight_decay or param_names." in report.notes
    for row in report.rows:
        assert row["weight_decay"] is row["decay_pull"] is row["decay_sum"] is None
        assert row["equilibrium_rms"] is row["memory_steps"] is None
        assert row["lr"] == 1e-3
        assert row["relative_update"] > 0
    given = api.translate(path, weight_decay=0)
    assert not any("not known, as" in note for note in given.notes)
    assert {row["weight_decay"] for row in given.rows} == {0}


@pytest.mark.parametrize(
    ("setting", "one", "other", "still_known"),
    [
        ("lr", 1e-3, 1e-2, "update_rms_expected"),
        ("betas", (0.9, 0.99), (0.9, 0.999), "nominal_relative_update"),
    ],
)
def test_a_setting_of_the_update_that_is_not_certain_leaves_none(
    setting, one, other, still_known, tmp_path
):
    groups = [([(1, "weight")], {setting: one}), ([(0, "weight")], {setting: other})]
    path = saved(groups, (8, 8), tmp_path)
    for row in api.translate(path).rows:
        assert row["relative_update"] is row["absolute_update"] is row["stalled"] is None
        assert row["reason"].endswith("is not known, as its group is not")
        assert (row[still_known] is None) == (setting == "betas")
    with pytest.raises(UsageError, match="nothing was checked, as no rule could run: SC201"):
        api.check(path, select=["SC201"])
    option = {"lr": 1e-3} if setting == "lr" else {"beta2": 0.999}
    assert all(row["relative_update"] > 0 for row in api.translate(path, **option).rows)


def test_settings_on_which_all_groups_agree_are_known(tmp_path):
    groups = [([(1, "weight")], {"eps": 1e-8}), ([(0, "weight")], {"eps": 1e-8})]
    path = saved(groups, (8, 8), tmp_path)
    assert not any("not known, as" in note for note in api.translate(path).notes)


def test_settings_for_larger_weights_leave_out_what_is_not_known(tmp_path):
    groups = [([(1, "weight")], {"lr": 1e-3}), ([(0, "weight")], {"lr": 1e-2})]
    path = saved(groups, (8, 8), tmp_path)
    scaled = {
        row["setting"]: row["scaled"] for row in api.translate(path, scale_by=10).rows_of("scaled")
    }
    assert scaled == {"lr": None, "eps": 1e-9, "weight_decay": 1e-3, "clipping norm": None}


def test_groups_of_uncertain_settings_are_not_emitted(tmp_path):
    groups = [([(1, "weight")], {"lr": 1e-3}), ([(0, "weight")], {"lr": 1e-2})]
    path = saved(groups, (8, 8), tmp_path)
    with pytest.raises(
        UsageError, match=r"the lr of 0\.weight is not known: --lr or --param-names"
    ):
        emit("json", api.translate(path, target=1e-3))


def test_a_target_needs_no_lr_of_a_certain_group(tmp_path):
    groups = [([(1, "weight")], {"lr": 1e-3}), ([(0, "weight")], {"lr": 1e-2})]
    path = saved(groups, (8, 8), tmp_path)
    rows = api.translate(path, target=1e-3).rows
    given = api.translate(path, target=1e-3, lr=1e-3).rows
    for row, other in zip(rows, given, strict=True):
        assert row["lr"] is None
        assert row["target_lr"] == pytest.approx(other["target_lr"])


def test_a_tensor_of_no_group_is_not_trained(tmp_path):
    groups = [([(1, "weight")], {"lr": 1e-4}), ([(1, "bias")], {"lr": 1e-2})]
    path = saved(groups, (16, 8), tmp_path)
    report = api.translate(path)
    assert {row["name"]: row["lr"] for row in report.rows} == {"1.weight": 1e-4, "1.bias": 1e-2}
    reason = "no state: not trained"
    assert {(entry["name"], entry["reason"]) for entry in report.skipped} == {
        ("0.weight", reason),
        ("0.bias", reason),
    }
    assert (
        "2 of 4 tensors are not trained (no state). Pass state='none' to forecast all."
    ) in report.notes
    judged = api.check(path, select=["SC201"], match=["1.*"])
    assert judged.summary["rules_run"] == 1
    with pytest.raises(UsageError, match="nothing was checked, as no rule could run: SC201"):
        api.check(path, select=["SC201"], match=["0.*"])


def test_the_first_step_of_adam_is_of_one_size(tmp_path):
    weights = torch.full((64, 64), 2.0**-5, dtype=torch.bfloat16)
    torch.save({"w.weight": weights}, tmp_path / "w.pt")
    for lr, stalled in ((3e-4, 0.0), (3e-5, 1.0)):
        (row,) = api.translate(tmp_path / "w.pt", lr=lr, step=1).rows
        assert row["stalled"] == stalled


def test_like_and_target_are_not_asked_together(tmp_path):
    torch.save({"w.weight": torch.ones(4, 4)}, tmp_path / "w.pt")
    with pytest.raises(UsageError, match="like and target"):
        api.translate(tmp_path / "w.pt", lr=1e-3, like=tmp_path / "w.pt", target=1e-3)


def test_a_state_in_flat_parts_leaves_no_tensor_unjudged(tmp_path):
    flat = torch.nn.Parameter(torch.ones(640))
    optimizer = torch.optim.AdamW([flat], lr=1.0)
    flat.sum().backward()
    optimizer.step()
    run = {"model": {"w.weight": torch.randn(16, 16)}, "optimizer": optimizer.state_dict()}
    torch.save(run, tmp_path / "run.pt")
    report = api.check(tmp_path / "run.pt", select=["SC201"])
    assert [finding.where for finding in report.findings] == ["w.weight"]
