"""DeepSpeed's ZeRO and universal checkpoints: every tensor, master weight and moment is what was
parted among the ranks, and what does not fit is refused or named."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command import scalecheck
from zero_files import GROUPS, KEYS, SETTINGS, STEP, Zero

import scalecheck as api
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.states.open_state import find_state
from scalecheck.checkpoint.states.state_names import named
from scalecheck.updates.recognition import state_layout

SAMPLES = Path(__file__).parent / "data" / "samples"
TRUTH = json.loads((SAMPLES / "deepspeed.json").read_text())

VARIANTS = {
    f"stage {stage} on {world}": Zero(stage, world) for stage in (1, 2, 3) for world in (1, 2, 3, 5)
}
VARIANTS |= {
    "frozen, stage 2": Zero(2, frozen={"first.weight": (3, 5), "first.bias": (3,)}),
    "frozen, stage 3": Zero(3, 3, frozen={"first.weight": (3, 5), "first.bias": (3,)}),
    "tied, stage 1": Zero(1, tied={"head.weight": "emb.weight"}),
    "tied, stage 3": Zero(3, tied={"head.weight": "emb.weight"}),
    "sub-groups": Zero(3, 2, sub=40),
    "fp16": Zero(2, dtype=torch.float16),
    "fp32": Zero(3, dtype=torch.float32),
    "one group": Zero(2, 3, groups=({**GROUPS[0], **GROUPS[1]},)),
    "smaller than its ranks": Zero(2, 4, groups=({"scale": (1,)}, {"w": (3, 3)})),
    "without elements": Zero(3, 2, groups=({"none": (0, 4), "w": (3, 3), "last": (0,)},)),
}


@pytest.fixture(params=VARIANTS)
def zero(request):
    return VARIANTS[request.param]


def states_of(checkpoint):
    return {
        one.name: one for one in named(find_state(checkpoint, state_layout()), checkpoint).states
    }


def same(tensor, expected):
    assert tensor.unmeasured is None
    assert tensor.shape == tuple(expected.shape)
    np.testing.assert_array_equal(tensor.array(), expected.double().numpy())


def test_every_tensor_is_what_was_parted_among_the_ranks(zero, tmp_path):
    checkpoint = open_checkpoint(zero.save(tmp_path / "run"))
    rows = {tensor.name: tensor for tensor in checkpoint.tensors}
    assert {*rows} == {*zero.module}
    for name, master in zero.masters.items():
        same(checkpoint.masters.get(name, rows[name]), master)
        if zero.stage < 3:
            same(rows[name], zero.module[name])
    for name, one in zero.still.items():
        same(rows[name], one.to(zero.dtype))
    for name, of in zero.tied.items():
        assert rows[name].tied_to == of
    same(rows["pos"], torch.arange(4.0))


def test_every_moment_has_its_name_and_settings(zero, tmp_path):
    checkpoint = open_checkpoint(zero.save(tmp_path / "run"))
    states = states_of(checkpoint)
    assert {*states} == {*zero.masters}
    for name, state in states.items():
        assert state.step == STEP
        for key in KEYS:
            same(state.tensors[key], zero.moments[key][name])
    groups = find_state(checkpoint, state_layout()).groups
    assert [group.settings["weight_decay"] for group in groups] == [0.1, 0.0][: len(groups)]
    assert [set(group.params) for group in groups] == [set(group) for group in zero.groups]


def test_a_step_is_read_as_its_run_is(tmp_path):
    run = Zero().save(tmp_path / "run")
    one, other = (open_checkpoint(path) for path in (run, run / "global_step12"))
    assert [t.name for t in one.tensors] == [t.name for t in other.tensors]
    assert one.layout[0] == "`latest` names global_step12, which is read"


def test_ranks_are_sorted_as_numbers(tmp_path):
    zero = Zero(2, 11, groups=({"w": (23, 9)},))
    same(open_checkpoint(zero.save(tmp_path / "run")).masters["w"], zero.masters["w"])


@pytest.mark.parametrize("stage", [1, 3])
def test_a_universal_checkpoint_has_its_master_weights_and_moments(stage, tmp_path):
    zero = Zero(stage, 2, frozen={"first.weight": (3, 5)}, tied={"head.weight": "emb.weight"})
    checkpoint = open_checkpoint(zero.save_universal(tmp_path / "universal"))
    rows = {tensor.name: tensor for tensor in checkpoint.tensors}
    assert checkpoint.format == "deepspeed-universal"
    assert {*rows} == {*zero.module}
    states = states_of(checkpoint)
    for name, master in zero.masters.items():
        same(rows[name], master)
        assert states[name].step == STEP
        for key in KEYS:
            same(states[name].tensors[key], zero.moments[key][name])
    same(rows["first.weight"], zero.still["first.weight"].to(torch.bfloat16))
    assert rows["head.weight"].tied_to == "emb.weight"


def test_translate_moves_the_master_weights_by_measured_updates(tmp_path):
    zero = Zero(2)
    report = api.translate(zero.save(tmp_path / "run"))
    rows = {row["name"]: row for row in report.rows}
    beta1, beta2 = SETTINGS["betas"]
    for name, master in zero.masters.items():
        m = zero.moments["exp_avg"][name].double() / (1 - beta1**STEP)
        v = zero.moments["exp_avg_sq"][name].double() / (1 - beta2**STEP)
        update = (m / (v.sqrt() + 1e-8)).square().mean().sqrt().item()
        rms = master.double().square().mean().sqrt().item()
        assert rows[name]["dtype"] == "F32"
        assert math.isclose(rows[name]["rms"], rms, rel_tol=1e-9)
        assert math.isclose(rows[name]["update_rms"], update, rel_tol=1e-9)
    assert "figures are of the F32 master weights, which the optimizer changes" in str(report.notes)


def test_weights_with_master_weights_do_not_stall(tmp_path):
    run = Zero(2).save(tmp_path / "run")
    assert "SC203" not in scalecheck("check", run, "--lr", "1e-6").out
    assert "SC203" in scalecheck("check", run, "--lr", "1e-6", "--param-dtype", "bf16").out


def test_weights_that_agree_with_their_masters_are_said_to(tmp_path):
    zero = Zero(2)
    words = "The BF16 weights are the rounded F32 master weights: 160 elements of 6 tensors agree."
    for command in ("inspect", "check"):
        assert words in scalecheck(command, zero.save(tmp_path / "run")).out
    for number, universal in enumerate((1, 2)):
        path = Zero(universal).save_universal(tmp_path / f"universal{number}")
        assert words in scalecheck("inspect", path).out


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_weights_that_do_not_agree_are_counted(dtype, tmp_path):
    def change(name, tables):
        if name.startswith("mp_rank"):
            tables["module"]["emb.weight"][:2] *= 2
            tables["module"]["norm.weight"][3] = math.nan

    out = scalecheck("inspect", Zero(2, dtype=dtype, change=change).save(tmp_path / "run")).out
    assert "15 of 160 elements differ, in 2 of 6 tensors (most in emb.weight, 14 of 77)" in out


def test_nan_agrees_with_nan(tmp_path):
    zero = Zero(2)
    zero.masters["norm.weight"][3] = math.nan
    assert "160 elements of 6 tensors agree" in scalecheck("inspect", zero.save(tmp_path / "r")).out


def test_a_missing_rank_is_named_and_its_tensors_are_skipped(tmp_path):
    run = Zero(3, 3).save(tmp_path / "run")
    (run / "global_step12" / "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    done = scalecheck("check", run)
    assert done.code == 1
    words = "5 of 6 tensors lack elements of their master weights and moments"
    assert f"rank 1 of 3 missing: {words}: emb.weight" in done.out
    assert "error[SC107] not-analysed: 15 tensors, not measured" in done.out
    assert "26 of 77 elements are in no file" in done.out


def test_a_missing_rank_of_stage_2_leaves_the_tensors_of_others(tmp_path):
    zero = Zero(2, 3)
    run = zero.save(tmp_path / "run")
    (run / "global_step12" / "bf16_zero_pp_rank_2_mp_rank_00_optim_states.pt").unlink()
    checkpoint = open_checkpoint(run)
    same(checkpoint.masters["emb.weight"], zero.masters["emb.weight"])
    assert checkpoint.masters["layers.1.weight"].unmeasured == "35 of 35 elements are in no file"
    rows = {row["name"]: row for row in api.translate(run).rows}
    assert [rows[name]["dtype"] for name in ("emb.weight", "layers.1.weight")] == ["F32", "BF16"]
    assert [row["measured"] for row in rows.values()].count(False) == 3
    words = "its exp_avg is not read: 35 of 35 elements are in no file"
    assert words in rows["layers.1.weight"]["state_reason"]


@pytest.mark.parametrize("kept", [0, 2])
def test_one_rank_of_three_tells_where_its_elements_lie(kept, tmp_path):
    zero = Zero(2, 3)
    run = zero.save(tmp_path / "run")
    for rank in {0, 1, 2} - {kept}:
        (run / "global_step12" / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").unlink()
    checkpoint = open_checkpoint(run)
    assert "2 ranks of 3 missing" in str(checkpoint.layout)
    whole = [name for name, one in checkpoint.masters.items() if one.unmeasured is None]
    assert whole == {0: ["layers.0.bias"], 2: ["layers.1.weight", "scale"]}[kept]
    for name in whole:
        same(checkpoint.masters[name], zero.masters[name])


def test_ranks_at_different_steps_are_noted(tmp_path):
    def change(name, tables):
        if "rank_1" in name:
            state = tables["optimizer_state_dict"]["base_optimizer_state"]["state"]
            state[0]["step"] = torch.tensor(STEP + 1)

    out = scalecheck("translate", Zero(2, 3, change=change).save(tmp_path / "run"), "--verbose").out
    assert "ranks have made different numbers of steps: 12, but rank 1 at 13" in out


def test_a_model_beside_the_step_is_read_with_its_state(tmp_path):
    zero = Zero(3)
    run = zero.save(tmp_path / "checkpoint-12")
    torch.save({n: t.bfloat16() for n, t in zero.masters.items()}, run / "pytorch_model.bin")
    done = scalecheck("inspect", run)
    assert "6 tensors of BF16" in done.out
    assert "160 elements of 6 tensors agree" in done.out
    assert "whole 16-bit" not in done.out
    rows = api.translate(run).rows
    assert all(row["measured"] and row["dtype"] == "F32" for row in rows)
    shutil.rmtree(run / "global_step12")
    assert "6 tensors of BF16" in scalecheck("inspect", run).out


def test_what_a_trainer_keeps_beside_the_step_is_named(tmp_path):
    path = Zero(3).save(tmp_path, "pytorch_model")
    for name in ("scheduler.bin", "random_states_0.pkl", "zero_to_fp32.py"):
        (path / name).write_bytes(b"1")
    notes = api.inspect(path).notes
    assert "beside the model, not inspected: random_states_0.pkl, scheduler.bin" in notes


def test_another_step_is_named(tmp_path):
    run = Zero().save(tmp_path / "run")
    shutil.copytree(run / "global_step12", run / "global_step6")
    assert "global_step6: another step of the run, not read" in scalecheck("inspect", run).out


@pytest.mark.parametrize("sample", TRUTH)
def test_samples_of_deepspeed_have_the_figures_of_its_own_reading(sample):
    truth = TRUTH[sample]
    rows = {row["name"]: row for row in api.inspect(SAMPLES / sample).rows}
    for name, figures in truth["tensors"].items():
        for key, figure in figures.items():
            assert math.isclose(rows[name][key], figure, rel_tol=1e-9), (name, key)
    rows = {row["name"]: row for row in api.translate(SAMPLES / sample).rows}
    for name, figures in truth["master"].items():
        if name in rows:
            assert math.isclose(rows[name]["rms"], figures["rms"], rel_tol=1e-9), name
    for name, figures in truth["optimizer"].items():
        for key in ("update_rms", "lr", "weight_decay", "step"):
            assert math.isclose(rows[name][key], figures[key], rel_tol=1e-9), (name, key)
