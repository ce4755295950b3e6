"""The files of several ranks in one folder: DTensors and ShardedTensors are put together as torch
cut them, and what is not certain stays as it lies in each file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from checked import found
from command import scalecheck
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard
from torch.testing._internal.distributed.fake_pg import FakeStore

import scalecheck as api
from scalecheck.checkpoint.optimizer_state import StateLayout
from scalecheck.checkpoint.states.open_state import open_state

pytestmark = pytest.mark.usefixtures("elsewhere")

SAMPLES = Path(__file__).parent / "data" / "samples"
TRUTH = json.loads((SAMPLES / "ranks.json").read_text())

MODEL = "pytorch_model_fsdp_0_rank{}.bin"
STATE = "optimizer_0_rank{}.bin"


def ranks(mesh):
    """Each rank of a mesh in turn, as the only process that there is."""
    for rank in range(int(np.prod(mesh))):
        dist.init_process_group("fake", rank=rank, world_size=int(np.prod(mesh)), store=FakeStore())
        try:
            yield rank, init_device_mesh("cpu", mesh)
        finally:
            dist.destroy_process_group()


def spread(whole, mesh, placements):
    """The rank's DTensor of a whole tensor, cut by torch's own placements."""
    local = whole
    for number, placement in enumerate(placements):
        if isinstance(placement, (Shard, _StridedShard)):
            parts, _ = placement._split_tensor(
                local, mesh.size(number), with_padding=False, contiguous=True
            )
            local = parts[mesh.get_coordinate()[number]]
    local, layout = local.clone(), {"shape": whole.shape, "stride": whole.stride()}
    return DTensor.from_local(local, mesh, placements, run_check=False, **layout)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.05


def saved(tensors, mesh, placements, name=MODEL, skip=()):
    """The files of all ranks with the parts of some tensors; the shards of torch itself."""
    for rank, device_mesh in ranks(mesh):
        if rank not in skip:
            state = {key: spread(whole, device_mesh, placements) for key, whole in tensors.items()}
            torch.save(state, name.format(rank))


def arrays(path="."):
    return {t.name: t for t in api.open_checkpoint(path).tensors}


CUTS = [
    ((2,), [Shard(0)]),
    ((3,), [Shard(0)]),
    ((7,), [Shard(0)]),
    ((3,), [Shard(1)]),
    ((2, 2), [Replicate(), Shard(0)]),
    ((2, 2), [Shard(0), Replicate()]),
    ((2, 3), [Shard(0), Shard(1)]),
    ((2, 3), [Shard(0), Shard(0)]),
    ((2, 2), [_StridedShard(0, split_factor=2), Shard(0)]),
    ((2, 3), [_StridedShard(0, split_factor=3), Shard(0)]),
    ((3, 2), [_StridedShard(1, split_factor=2), Shard(1)]),
    ((3,), [_StridedShard(0, split_factor=2)]),
    ((2, 2, 2), [Replicate(), _StridedShard(0, split_factor=2), Shard(0)]),
    ((2,), [Replicate()]),
]


@pytest.mark.parametrize(("mesh", "placements"), CUTS)
@pytest.mark.parametrize("shape", [(11, 6), (12, 8), (1, 5), (13,)])
def test_tensors_are_put_together_as_torch_cut_them(mesh, placements, shape):
    if len(shape) == 1 and any(getattr(one, "dim", 0) for one in placements):
        shape = (13, 3)
    whole = drawn(*shape)
    saved({"up.weight": whole, "scale": torch.ones(3)}, mesh, [Replicate()] * len(mesh))
    saved({"up.weight": whole}, mesh, placements)
    (tensor,) = api.open_checkpoint(".").tensors
    assert (tensor.name, tensor.kind.kind, tensor.unmeasured) == ("up.weight", "parameter", None)
    np.testing.assert_array_equal(tensor.words(), whole.numpy())
    assert found(".", "--select", "SC107") == []


def test_a_missing_rank_is_named_with_what_it_takes_along():
    saved({"up.weight": drawn(11, 6)}, (3,), [Shard(0)], skip=[1])
    assert arrays()["up.weight"].unmeasured == "24 of 66 elements are in no file"
    (skipped,) = api.inspect(".").skipped
    assert skipped["name"] == "up.weight"
    notes = "\n".join(api.inspect(".").notes)
    assert "1 rank of 3 is missing (1): not complete without: up.weight" in notes
    assert ("SC107", "up.weight") in found(".", "--select", "SC107")


def test_one_file_of_two_ranks_is_not_the_model():
    saved({"up.weight": drawn(11, 6)}, (2,), [Shard(0)], skip=[1])
    assert "30 of 66 elements" in arrays()["up.weight"].unmeasured
    assert arrays(MODEL.format(0))["up.weight"].kind.kind == "piece"


def test_a_missing_replica_takes_nothing_along():
    whole = drawn(8, 6)
    saved({"up.weight": whole}, (2, 2), [Replicate(), Shard(0)], skip=[1])
    np.testing.assert_array_equal(arrays()["up.weight"].words(), whole.numpy())
    assert any("1 rank of 4 is missing (1)" in note for note in api.inspect(".").notes)


def test_summands_stay_with_their_ranks():
    saved({"up.weight": drawn(4, 6)}, (2,), [Partial()])
    assert {name: t.kind.kind for name, t in arrays().items()} == {
        "rank0/up.weight": "piece",
        "rank1/up.weight": "piece",
    }


def test_what_ranks_hold_alike_is_taken_once_and_what_differs_is_not():
    whole = drawn(8, 6)
    for rank, mesh in ranks((2,)):
        held = {"up.weight": spread(whole, mesh, [Shard(0)]), "norm.weight": torch.ones(6)}
        torch.save(held | {"router.weight": drawn(6, 6, seed=rank)}, MODEL.format(rank))
    names = arrays()
    assert names.keys() == {
        *("up.weight", "norm.weight", "rank0/router.weight", "rank1/router.weight"),
    }
    assert names["norm.weight"].kind.kind == "parameter"
    assert names["rank0/router.weight"].kind.kind == "piece"
    notes = "\n".join(api.inspect(".").notes)
    assert "router.weight is read rank by rank, as rank0/NAME: each rank has another one" in notes


def test_two_ranks_with_the_same_part_are_not_put_together():
    saved({"up.weight": drawn(8, 6)}, (2,), [Shard(0)], skip=[1])
    torch.save(torch.load(MODEL.format(0), weights_only=False), MODEL.format(1))
    assert arrays().keys() == {"rank0/up.weight", "rank1/up.weight"}
    assert any("say that they hold the same part" in note for note in api.inspect(".").notes)


def test_parts_that_do_not_agree_on_the_whole_stay_apart():
    saved({"up.weight": drawn(8, 6)}, (2,), [Shard(0)], skip=[1])
    saved({"up.weight": drawn(10, 6)}, (2,), [Shard(0)], skip=[0])
    assert arrays().keys() == {"rank0/up.weight", "rank1/up.weight"}


def test_a_second_model_is_named():
    saved({"up.weight": drawn(8, 6)}, (2,), [Shard(0)])
    saved({"gate.weight": drawn(8, 6)}, (2,), [Shard(0)], name="pytorch_model_fsdp_1_rank{}.bin")
    assert arrays().keys() == {"up.weight"}
    notes = "\n".join(api.inspect(".").notes)
    assert "pytorch_model_fsdp_1_rank0.bin, pytorch_model_fsdp_1_rank1.bin" in notes


def trained(shapes, seed=1):
    """Parameters of these shapes after some steps of AdamW, and the state by name."""
    torch.manual_seed(seed)
    model = {name: torch.nn.Parameter(drawn(*shape)) for name, shape in shapes.items()}
    optimizer = torch.optim.AdamW([*model.values()], lr=2e-3)
    for _ in range(9):
        for one in model.values():
            one.grad = torch.randn_like(one) * 0.01
        optimizer.step()
    states = {n: optimizer.state[p] for n, p in model.items()}
    group = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
    return {n: p.detach() for n, p in model.items()}, states, group


def shard_states(states, group, mesh, placements):
    state = {
        name: {key: spread(one, mesh, placements) if one.dim() else one for key, one in own.items()}
        for name, own in states.items()
    }
    return {"state": state, "param_groups": [{**group, "params": [*state]}]}


def update_of(own, group):
    beta1, beta2 = group["betas"]
    m = own["exp_avg"].double() / (1 - beta1 ** own["step"].item())
    v = own["exp_avg_sq"].double() / (1 - beta2 ** own["step"].item())
    return (m / (v.sqrt() + group["eps"])).square().mean().sqrt().item()


@pytest.mark.parametrize("is_one_file", [False, True])
@pytest.mark.parametrize("mesh", [(2,), (2, 2)])
def test_moments_of_ranks_are_put_together(mesh, is_one_file):
    placements = [Shard(0)] if len(mesh) == 1 else [Replicate(), Shard(0)]
    weights, states, group = trained({"up.weight": (7, 5), "down.weight": (5, 7), "ln": (5,)})
    for rank, device_mesh in ranks(mesh):
        model = {n: spread(w, device_mesh, placements) for n, w in weights.items()}
        state = shard_states(states, group, device_mesh, placements)
        if is_one_file:
            torch.save({"model": model, "optimizer": state}, f"ep0-ba9-rank{rank}.pt")
        else:
            torch.save(model, MODEL.format(rank))
            torch.save(state, STATE.format(rank))
    rows = {row["name"]: row for row in api.translate(".").rows}
    assert rows.keys() == weights.keys()
    for name, row in rows.items():
        assert row["update_rms"] == pytest.approx(update_of(states[name], group), rel=1e-6)
        assert (row["step"], row["lr"]) == (9, 2e-3)


def test_states_that_do_not_agree_are_not_read():
    weights, states, group = trained({"up.weight": (8, 5)})
    for rank, mesh in ranks((2,)):
        torch.save({n: spread(w, mesh, [Shard(0)]) for n, w in weights.items()}, MODEL.format(rank))
        own = shard_states(states, {**group, "lr": 0.1 + rank}, mesh, [Shard(0)])
        torch.save(own, STATE.format(rank))
    notes = "\n".join(api.translate(".", lr=1e-3).notes)
    assert "optimizer state not read: param_groups.0.lr is 0.1 in rank 0 and 1.1 in rank 1" in notes
    done = scalecheck("translate", ".", "--lr", "1e-3", "--state", ".")
    assert done.code == 3
    assert "param_groups.0.lr" in done.err
    assert len(done.err.splitlines()) <= 2


def test_flat_moments_without_a_place_are_not_read():
    whole = drawn(8, 5)
    for rank, mesh in ranks((2,)):
        torch.save({"up.weight": spread(whole, mesh, [Shard(0)])}, MODEL.format(rank))
        state = {0: {"step": torch.tensor(3.0), "exp_avg": drawn(20, seed=rank)}}
        torch.save(
            {"state": state, "param_groups": [{"lr": 1e-3, "params": [0]}]}, STATE.format(rank)
        )
    notes = "\n".join(api.translate(".", lr=1e-3).notes)
    assert "state.0.exp_avg of 2 ranks: each rank has another one" in notes


def test_states_that_repeat_one_storage_for_ever_are_refused():
    whole = drawn(64, 64)
    for rank, mesh in ranks((2,)):
        torch.save({"up.weight": spread(whole, mesh, [Shard(0)])}, MODEL.format(rank))
        one = spread(whole, mesh, [Shard(0)])
        own = {f"{n}.weight": {"exp_avg": one, "exp_avg_sq": one} for n in range(900)}
        groups = [{"lr": 1e-3, "params": [*own]}]
        torch.save({"state": own, "param_groups": groups}, STATE.format(rank))
    done = scalecheck("translate", ".", "--lr", "1e-3")
    assert (done.code, "step over" in done.err, len(done.err.splitlines())) == (3, True, 1)


def test_a_whole_larger_than_any_tensor_is_no_whole():
    saved({"up.weight": drawn(8, 6)}, (2,), [Shard(0)])
    for rank in range(2):
        local = torch.load(MODEL.format(rank), weights_only=False)["up.weight"]
        content = Path(MODEL.format(rank)).read_bytes()
        assert b"K\x08K\x06\x86" in content  # the shape (8, 6) in the pickle
        assert local.shape == (8, 6)
        long = b"\x8a\x07" + b"\xff" * 6 + b"\x7f"
        loaded = rewritten(content, b"K\x08K\x06\x86", long + long + b"\x86")
        Path(MODEL.format(rank)).write_bytes(loaded)
    assert arrays().keys() == {"rank0/up.weight", "rank1/up.weight"}


def rewritten(content, old, new):
    """A torch file with other bytes in its pickle."""
    import io
    import zipfile

    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(made, "w") as after:
        for info in before.infolist():
            member = before.read(info)
            if info.filename.endswith("data.pkl"):
                member = member.replace(old, new)
            after.writestr(info.filename, member)
    return made.getvalue()


def test_two_folders_of_ranks_are_compared():
    for folder, factor in (("a", 1), ("b", 3)):
        Path(folder).mkdir()
        whole = {"up.weight": drawn(8, 6) * factor}
        saved(whole, (2,), [Shard(0)], name=f"{folder}/{MODEL}")
    (row,) = api.diff("a", "b").rows
    assert row["relative_change"] == pytest.approx(2, rel=1e-6)


def test_a_state_of_ranks_is_opened_by_its_folder():
    weights, states, group = trained({"up.weight": (8, 5)})
    for rank, mesh in ranks((2,)):
        torch.save({n: spread(w, mesh, [Shard(0)]) for n, w in weights.items()}, MODEL.format(rank))
        torch.save(shard_states(states, group, mesh, [Shard(0)]), STATE.format(rank))
    (state,) = open_state(".", StateLayout({"exp_avg", "exp_avg_sq"}, ())).states
    assert state.tensors["exp_avg"].shape == (8, 5)


@pytest.mark.parametrize("sample", TRUTH)
def test_samples_have_the_figures_of_the_whole_tensors(sample):
    rows = {row["name"]: row for row in api.inspect(SAMPLES / sample).rows}
    assert rows.keys() == TRUTH[sample].keys()
    for name, truth in TRUTH[sample].items():
        for field, expected in truth.items():
            assert rows[name][field] == pytest.approx(expected, rel=1e-9, abs=1e-12), (name, field)
