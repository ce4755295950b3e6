"""DeepSpeed's checkpoints of tensor-parallel, pipeline and expert-parallel runs: slices are put
together where the checkpoint says how they were cut."""

import numpy as np
import pytest
import torch
from command import scalecheck
from zero_files import KEYS, Zero

import scalecheck as api
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.states.open_state import find_state
from scalecheck.checkpoint.states.state_names import named
from scalecheck.updates.recognition import state_layout

DEGREES = {"checkpoint_parallel_dimensions": {"pp_degree": 1, "tp_degree": 2}}
INFO = {
    "universal_checkpoint_version": 0.2,
    "tp_replicated_parameter_patterns": [r"\d+.norm.weight"],
    "parameter_with_row_parallelism_patterns": [r"\d+.down.weight"],
    "parameter_with_2_sub_params_cat_dim_0": [r"\d+.gated.weight"],
    "vocabulary_parameter_patterns": ["emb.weight"],
    "original_vocab_size": 11,
}
SLICES = {
    "emb.weight": (6, 4),
    "0.up.weight": (5, 4),
    "0.down.weight": (4, 5),
    "0.gated.weight": (6, 4),
    "0.norm.weight": (4,),
    "0.up.bias": (5,),
}


def whole(name, slices):
    """What Megatron's slices of a parameter are slices of."""
    if "norm" in name:
        return slices[0]
    if "gated" in name:
        upper, lower = zip(*(one.chunk(2) for one in slices), strict=True)
        return torch.cat([*upper, *lower])
    one = torch.cat(slices, dim=1 if "down" in name else 0)
    return one[:11] if name == "emb.weight" else one


def same(tensor, expected):
    assert tensor.unmeasured is None
    assert tensor.shape == tuple(expected.shape)
    np.testing.assert_array_equal(tensor.array(), expected.double().numpy())


def states_of(checkpoint):
    states = named(find_state(checkpoint, state_layout()), checkpoint).states
    return {one.name: one for one in states}


def two(stage, world, extra):
    return [
        Zero(stage, world, groups=(SLICES,), mp=mp, seed=1000 * mp, extra=DEGREES | extra)
        for mp in range(2)
    ]


@pytest.mark.parametrize(("stage", "world"), [(1, 1), (2, 3), (3, 2)])
def test_slices_are_put_together_where_it_is_said_how(stage, world, tmp_path):
    parts = two(stage, world, {"universal_checkpoint_info": INFO})
    for part in parts:
        run = part.save(tmp_path / "run")
    checkpoint = open_checkpoint(run)
    rows = {tensor.name: tensor for tensor in checkpoint.tensors}
    assert {*rows} == {"pos", *SLICES}
    same(rows["pos"], torch.arange(4.0))
    states = states_of(checkpoint)
    for name in SLICES:
        master = whole(name, [part.masters[name] for part in parts])
        same(checkpoint.masters.get(name, rows[name]), master)
        for key in KEYS:
            same(
                states[name].tensors[key], whole(name, [part.moments[key][name] for part in parts])
            )
    assert "slices put together as its universal_checkpoint_info says" in str(checkpoint.layout)


UNKNOWN = {
    "nothing is said": {},
    "a pattern that is not understood": INFO | {"tp_replicated_parameter_patterns": ["(a+)+$"]},
    "parts of parts": INFO | {"parameter_with_sub_params": [{"patterns": ["x"]}]},
}


@pytest.mark.parametrize("info", UNKNOWN)
def test_slices_stay_slices_where_it_is_not_known_how(info, tmp_path):
    parts = two(2, 2, {"universal_checkpoint_info": UNKNOWN[info]})
    for part in parts:
        run = part.save(tmp_path / "run")
    checkpoint = open_checkpoint(run)
    rows = {tensor.name: tensor for tensor in checkpoint.tensors}
    for mp, part in enumerate(parts):
        for name, master in part.masters.items():
            shown = f"mp_rank_0{mp}/{name}"
            same(checkpoint.masters[shown], master)
            assert rows[shown].kind.kind == "piece"
    assert scalecheck("translate", run).code == 0


def test_slices_that_do_not_fit_are_one_line(tmp_path):
    for mp, rows in enumerate((6, 4)):
        groups = (SLICES | {"0.down.weight": (rows, 5)},)
        extra = DEGREES | {"universal_checkpoint_info": INFO}
        run = Zero(1, 1, groups=groups, mp=mp, extra=extra).save(tmp_path / "run")
    done = scalecheck("inspect", run)
    assert done.code == 3
    assert "0.down.weight: has slices of [6, 5] and [4, 5], cut along 1" in done.err


@pytest.mark.parametrize("degree", [0, 3, 1 << 62])
def test_more_tensor_parallel_ranks_than_files_are_refused(degree, tmp_path):
    extra = {"checkpoint_parallel_dimensions": {"tp_degree": degree}}
    for mp in range(2):
        run = Zero(1, 1, mp=mp, extra=extra).save(tmp_path / "run")
    done = scalecheck("inspect", run)
    assert done.code == 3
    assert f"says that it has {degree} tensor-parallel ranks" in done.err


def test_pipeline_stages_are_one_model(tmp_path):
    degrees = {"checkpoint_parallel_dimensions": {"pp_degree": 2, "tp_degree": 1}}
    stages = []
    for n in range(2):
        groups = ({f"{n}.weight": (3, 4), f"{n}.bias": (3,)},)
        stages.append(Zero(1, 2, groups=groups, mp=n, seed=n, extra=degrees))
    for number, stage in enumerate(stages):
        stage.change = lambda name, tables: tables.update(
            {"module": None} if name.endswith("model_states.pt") else {}
        )
        run = stage.save(tmp_path / "run")
        layer = {n.partition(".")[2]: t.bfloat16() for n, t in stage.masters.items()}
        torch.save(layer, run / "global_step12" / f"layer_{number:02}-model_states.pt")
    checkpoint = open_checkpoint(run)
    rows = {tensor.name: tensor for tensor in checkpoint.tensors}
    assert {*rows} == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert {*states_of(checkpoint)} == {*rows}
    for stage in stages:
        for name, master in stage.masters.items():
            same(rows[name], master.bfloat16())
            same(checkpoint.masters[name], master)
    assert "30 elements of 4 tensors agree" in scalecheck("inspect", run).out


def test_experts_of_each_rank_have_their_numbers_among_all(tmp_path):
    start = "moe.deepspeed_moe.experts.deepspeed_experts"
    experts = {f"{start}.{n}.weight": (3, 3) for n in range(2)}
    ranks = [Zero(1, 1, groups=(experts,), seed=n) for n in (5, 50)]

    def change(name, tables):
        if name.endswith("model_states.pt"):
            tables["module"] = {n: t for n, t in tables["module"].items() if start not in n}
            return
        held = tables["optimizer_state_dict"]
        own = ranks["pp_rank_1_" in name].rank_state(0)
        held["partition_count"] = [2, 1]
        held["group_paddings"][1] = own["group_paddings"][0]
        held["single_partition_of_fp32_groups"][1] = own["single_partition_of_fp32_groups"][0]
        held["base_optimizer_state"]["state"][1] = own["base_optimizer_state"]["state"][0]
        held["base_optimizer_state"]["param_groups"][1]["moe"] = True

    zero = Zero(1, 2, groups=({"a.weight": (5, 4)}, experts), change=change)
    run = zero.save(tmp_path / "run")
    masters = {"a.weight": zero.masters["a.weight"]}
    for number, rank in enumerate(ranks):
        for local, (_, master) in enumerate(rank.masters.items()):
            expert = 2 * number + local
            masters[f"{start}.{expert}.weight"] = master
            name = f"layer_0_expert_{expert}_mp_rank_00_model_states.pt"
            one = {f"{start}.{expert}.weight": master.bfloat16()}
            torch.save(one, run / "global_step12" / name)
    checkpoint = open_checkpoint(run)
    assert {*states_of(checkpoint)} == {*masters}
    for name, master in masters.items():
        same(checkpoint.masters[name], master)
    assert "56 elements of 5 tensors agree" in scalecheck("inspect", run).out
    assert all(row["measured"] for row in api.translate(run).rows)
