"""A DTensor, a ShardedTensor, a flat parameter of FSDP in the file of one rank: each is read under
its own name, and said to be a piece of a larger tensor; what a rank holds whole is whole."""

import pytest
import torch
import torch.distributed as dist
from checked import found
from command import scalecheck
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore

import scalecheck as api

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.fixture(scope="module", autouse=True)
def ranks():
    """Four ranks, of which this process is the first and the others do not exist."""
    dist.init_process_group("fake", rank=0, world_size=4, store=FakeStore())
    yield
    dist.destroy_process_group()


def spread(placements, shape, mesh=(4,)):
    """The local part of a DTensor of this shape, small normal numbers."""
    local = torch.randn(*shape, generator=torch.Generator().manual_seed(3)) * 0.02
    return DTensor.from_local(local, init_device_mesh("cpu", mesh), placements, run_check=False)


def kinds(path="m.pt"):
    return {t.name: t.kind for t in api.open_checkpoint(path).tensors}


@pytest.mark.parametrize(
    ("placements", "mesh", "words"),
    [
        ([Shard(0)], (4,), "25 % of a DTensor of 32×6: 8 of 32 rows"),
        ([Shard(1)], (4,), "25 % of a DTensor of 8×24: 6 of 24 columns"),
        ([Shard(0), Shard(1)], (2, 2), "25 % of a DTensor of 16×12"),
        ([Replicate(), Shard(0)], (2, 2), "50 % of a DTensor of 16×6: 8 of 16 rows"),
        ([Partial()], (4,), "one summand of a DTensor, whose ranks add up to the tensor"),
    ],
)
@pytest.mark.parametrize("wrapper", [None, "model", "app.state"])
def test_a_part_of_a_dtensor_is_a_piece_of_its_own_name(placements, mesh, words, wrapper):
    state = {"tok_emb.weight": spread(placements, (8, 6), mesh)}
    for key in wrapper.split(".")[::-1] if wrapper else ():
        state = {key: state}
    torch.save(state, "m.pt")
    (name,) = found_kinds = kinds()
    kind = found_kinds[name]
    assert name.endswith("tok_emb.weight")
    assert (kind.kind, kind.role, kind.evidence) == ("piece", "embedding", words)
    (row,) = api.inspect("m.pt").rows
    assert (row["shape"], row["kind"]) == ([8, 6], "piece")
    assert f"{name} is {words}" in "\n".join(api.check("m.pt").notes)


@pytest.mark.parametrize(
    ("placements", "mesh"), [([Replicate()], (4,)), ([Replicate(), Replicate()], (2, 2))]
)
def test_a_replicated_dtensor_is_a_whole_parameter(placements, mesh):
    torch.save({"up.weight": spread(placements, (8, 6), mesh)}, "m.pt")
    assert kinds()["up.weight"].kind == "parameter"
    report = api.inspect("m.pt")
    assert report.source["parameters"] == 48
    assert not any("piece" in note for note in report.notes)


def test_a_parameter_that_is_a_dtensor_is_one_too():
    torch.save({"up.weight": torch.nn.Parameter(spread([Shard(0)], (8, 6)))}, "m.pt")
    assert kinds()["up.weight"].kind == "piece"


def test_pieces_are_forecast_with_their_state_and_judged():
    model = {f"layers.{i}.up.weight": spread([Shard(0)], (8, 6)) for i in range(3)}
    broken = spread([Shard(0)], (8, 6))
    broken._local_tensor[2, 2] = float("nan")
    moments = {"exp_avg": 1e-3, "exp_avg_sq": 1e-6}
    states = {
        i: {
            "step": torch.tensor(900.0),
            **{
                name: DTensor.from_local(
                    torch.full((8, 6), x), model["layers.0.up.weight"].device_mesh, [Shard(0)]
                )
                for name, x in moments.items()
            },
        }
        for i in range(3)
    }
    group = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
    group |= {"amsgrad": False, "params": [0, 1, 2]}
    saved = {"model": model, "optimizer": {"state": states, "param_groups": [group]}}
    torch.save(saved, "m.pt")
    rows = api.translate("m.pt").rows
    assert {row["name"] for row in rows} == model.keys()
    assert [row["update_rms"] for row in rows] == pytest.approx([0.7705] * 3, rel=1e-3)
    assert found("m.pt", "--select", "SC1") == []
    torch.save({"model": model | {"layers.1.up.weight": broken}}, "m.pt")
    assert found("m.pt", "--select", "SC101") == [("SC101", "layers.1.up.weight")]


def test_classes_that_place_a_tensor_on_ranks_are_no_news():
    torch.save({"up.weight": spread([Shard(0)], (8, 6))}, "m.pt")
    assert not any("torch." in note for note in api.inspect("m.pt").notes)


def sharded(local, whole, start=None):
    """A ShardedTensor as its pickle has it, without what takes a group of processes."""
    from torch.distributed._shard.metadata import ShardMetadata
    from torch.distributed._shard.sharded_tensor import Shard as LocalShard
    from torch.distributed._shard.sharded_tensor import ShardedTensor, ShardedTensorMetadata
    from torch.distributed._shard.sharding_spec import EnumerableShardingSpec

    class Rebuilt(torch.Tensor):
        def __reduce_ex__(self, protocol):
            shards = [
                LocalShard(
                    tensor,
                    ShardMetadata(
                        start or [place * len(tensor), *[0] * (tensor.dim() - 1)],
                        [*tensor.shape],
                        "rank:0/cpu",
                    ),
                )
                for place, tensor in enumerate(local)
            ]
            spec = EnumerableShardingSpec([shard.metadata for shard in shards])
            state = (shards, ShardedTensorMetadata(), None, spec, False)
            size = torch.Size(whole)
            args = (ShardedTensor, torch.float32, size, (1,) * len(whole), 0, torch.strided)
            made = torch._utils._rebuild_wrapper_subclass
            return torch._tensor._rebuild_from_type_v2, (made, ShardedTensor, args, state)

    return torch.zeros(1).as_subclass(Rebuilt)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ([4, 0], "50 % of a ShardedTensor of 8×6: rows 4 to 7 of 8"),
        (None, "50 % of a ShardedTensor of 8×6: rows 0 to 3 of 8"),
    ],
)
def test_a_shard_of_a_sharded_tensor_says_which_rows_it_has(start, words):
    torch.save({"head.weight": sharded([torch.randn(4, 6)], (8, 6), start)}, "m.pt")
    kind = kinds()["head.weight"]
    assert (kind.kind, kind.evidence) == ("piece", words)


def test_several_shards_of_one_tensor_are_as_many_pieces():
    torch.save({"head.weight": sharded([torch.randn(2, 6)] * 2, (8, 6))}, "m.pt")
    assert {name: kind.kind for name, kind in kinds().items()} == {
        "head.weight.0": "piece",
        "head.weight.1": "piece",
    }


def test_a_sharded_tensor_of_one_rank_is_whole():
    torch.save({"head.weight": sharded([torch.randn(8, 6)], (8, 6))}, "m.pt")
    assert kinds()["head.weight"].kind == "parameter"


def test_a_flat_parameter_is_many_tensors_in_one():
    torch.save({"blocks.0._flat_param": sharded([torch.randn(40)], (80,), [40])}, "m.pt")
    kind = kinds()["blocks.0._flat_param"]
    assert (kind.kind, kind.is_flat) == ("piece", True)
    done = scalecheck("translate", "m.pt", "--lr", "1e-3")
    assert (done.code, "a flat parameter of FSDP" in done.err) == (2, True)


def test_a_flat_parameter_is_told_by_its_attribute_too():
    flat = torch.nn.Parameter(torch.randn(40))
    flat._is_flat_param = True
    torch.save({"blocks.0.handle": flat, "up.weight": torch.randn(4, 4)}, "m.pt")
    assert kinds()["blocks.0.handle"].is_flat
    assert kinds()["up.weight"].kind == "parameter"


@pytest.mark.parametrize("samples", ["fsdp_rank_files", "fsdp1_local"])
def test_files_of_ranks_are_read_under_their_rank(samples):
    names = {
        0: {"up.weight": spread([Shard(0)], (8, 6))},
        1: {"up.weight": spread([Shard(0)], (8, 6))},
    }
    for rank, state in names.items():
        torch.save(state, f"pytorch_model_fsdp_{samples}_rank{rank}.bin")
        torch.save({}, f"optimizer_rank{rank}.bin")
    assert {name: kind.kind for name, kind in kinds(".").items()} == {
        "rank0/up.weight": "piece",
        "rank1/up.weight": "piece",
    }


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"_local_tensor": 3},
        (None, {"_local_tensor": {}}),
        ([], None),
        ([None, 3],),
        ({"a": 1}, {"_local_tensor": None}, 4),
    ],
)
@pytest.mark.parametrize("kind", ["DTensor", "ShardedTensor"])
def test_what_is_no_distributed_tensor_is_none(kind, state):
    from scalecheck.checkpoint.pickle.inert import Foreign
    from scalecheck.checkpoint.pickle.sharded import local_part

    foreign = Foreign("torch.distributed.tensor", kind)
    for args in ((), None, (1, 2, "x"), (1, 2, (3, -1))):
        assert local_part(foreign, args, state) is None
