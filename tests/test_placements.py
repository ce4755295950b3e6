"""Where the local part of a DTensor lies, as the DeviceMesh of each version of torch says it; a
spec that does not say it for certain gives no place."""

import pytest

from scalecheck.checkpoint.pickle.inert import Foreign, Placeholder
from scalecheck.checkpoint.pickle.placements import share_of
from scalecheck.checkpoint.pickle.records import TensorRecord


def made(name, **attributes):
    module = "torch.distributed.tensor.placement_types"
    return Placeholder(Foreign(module, name), (), state=attributes)


def spec(mesh, *placements, at=(0,), **others):
    held = made("DeviceMesh", _coordinate_on_dim=list(at), **mesh)
    return made("DTensorSpec", mesh=held, placements=placements, **others)


SHARD = made("Shard", dim=0)
TENSOR = {"mesh": TensorRecord("int64", (2,))}
MESHES = {
    "to 2.8": TENSOR,
    "a private tensor": {"_mesh": TensorRecord("int64", (2,))},
    "2.9": {"_layout": made("_MeshLayout", shape=(2,), stride=(1,))},
    "2.9, one number": {"_layout": made("_MeshLayout", shape=2, stride=1)},
    "later": {"_layout": made("_MeshLayout", axes=(made("_FlatLayout", shape=(2,), stride=(1,)),))},
    "a flattened axis": {"_layout": made("_MeshLayout", axes=[made("_FlatLayout", shape=[2, 1])])},
}


@pytest.mark.parametrize("mesh", MESHES.values(), ids=MESHES)
@pytest.mark.parametrize(("at", "ranges"), [(0, ((0, 3),)), (1, ((3, 2),))])
def test_every_way_to_keep_a_mesh(mesh, at, ranges):
    share = share_of(spec(mesh, SHARD, at=(at,)), (5, 4), (ranges[0][1], 4))
    assert share.ranges == (ranges, ((0, 4),))
    assert (share.shape, share.ranks, share.replica) == ((5, 4), 2, ())


def test_an_order_of_cuts_that_is_said():
    mesh = {"mesh": TensorRecord("int64", (2, 2))}
    order = (Placeholder(Foreign("x", "ShardOrderEntry"), (0, (1, 0))),)
    share = share_of(spec(mesh, SHARD, SHARD, at=(0, 1), shard_order=order), (8, 4), (2, 4))
    assert share.ranges == (((4, 2),), ((0, 4),))
    share = share_of(spec(mesh, SHARD, SHARD, at=(0, 1)), (8, 4), (2, 4))
    assert share.ranges == (((2, 2),), ((0, 4),))


def test_ranks_that_hold_the_same_are_told_apart():
    mesh = {"mesh": TensorRecord("int64", (3, 2))}
    share = share_of(spec(mesh, made("Replicate"), SHARD, at=(2, 1)), (4,), (2,))
    assert (share.ranges, share.replica, share.ranks) == ((((2, 2),),), (2,), 6)


HUGE = 1 << 62


@pytest.mark.parametrize(
    ("given", "shape", "local"),
    [
        (spec(TENSOR, SHARD, at=(2,)), (5,), (3,)),
        (spec(TENSOR, SHARD, at=(-1,)), (5,), (3,)),
        (spec(TENSOR, SHARD, at=(0, 0)), (5,), (3,)),
        (spec(TENSOR, SHARD, SHARD), (5,), (3,)),
        (spec(TENSOR, SHARD), (5,), (4,)),
        (spec(TENSOR, made("Partial", reduce_op="sum")), (5,), (5,)),
        (spec(TENSOR, made("Shard", dim=1)), (5,), (3,)),
        (spec(TENSOR, made("Shard", dim="0")), (5,), (3,)),
        (spec(TENSOR, made("Shard")), (5,), (3,)),
        (spec(TENSOR, made("_StridedShard", dim=0, split_factor=0)), (5,), (3,)),
        (spec(TENSOR, made("_StridedShard", dim=0, split_factor=HUGE)), (5,), (3,)),
        (spec(TENSOR, made("Ragged", dim=0)), (5,), (3,)),
        (spec(TENSOR, "Shard"), (5,), (3,)),
        (spec({}, SHARD), (5,), (3,)),
        (spec({"_layout": made("_MeshLayout")}, SHARD), (5,), (3,)),
        (spec({"_layout": made("_MeshLayout", shape=(HUGE, HUGE))}, SHARD), (5,), (3,)),
        (spec(TENSOR, SHARD), (HUGE, HUGE), (HUGE // 2, HUGE)),
        (None, (5,), (3,)),
        ({"placements": 3, "mesh": []}, (5,), (3,)),
    ],
)
def test_what_is_not_certain_has_no_place(given, shape, local):
    assert share_of(given, shape, local) is None


@pytest.mark.parametrize("order", [(), 3, ((0, (7,)),), ((0, "x"),), (None, (0,)), ((0, (0, 0)),)])
def test_an_order_that_says_nothing_leaves_the_usual_one(order):
    assert share_of(spec(TENSOR, SHARD, shard_order=order), (5,), (3,)).ranges == (((0, 3),),)
