"""Orbax's checkpoints: the tree of names and its arrays, in folders and in OCDBT databases, steps
and items; and what is unfinished, lacking or damaged."""

import numpy as np
import pytest
from array_files import adam_tree
from orbax_files import (
    leaf,
    manifest,
    node,
    orbax,
    tree_metadata,
    varint,
    varints,
    zarr2,
    zarr3,
)
from process import bounded, problem_of

import scalecheck
from scalecheck.checkpoint.formats import orbax as format
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.zarr.ocdbt import OcdbtStore

W = np.random.default_rng(0).standard_normal((7, 10)).astype("f4")


def written(tmp_path, files, name="step"):
    for file, content in files.items():
        path = tmp_path / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / name


def tensors(path):
    return {tensor.name: tensor for tensor in open_checkpoint(path).tensors}


def problem(path):
    return problem_of(format.load, path)


def train_state(way=zarr2):
    names = {n: n.replace("opt/0", "opt_state/0").replace("/", ".") for n in adam_tree()}
    return {names[name]: way(array) for name, array in adam_tree().items()}


@pytest.mark.parametrize("is_ocdbt", [False, True])
@pytest.mark.parametrize("way", [zarr2, zarr3])
def test_a_training_state_is_a_model_and_its_optimizers(tmp_path, way, is_ocdbt):
    path = written(tmp_path, orbax(train_state(way), is_ocdbt=is_ocdbt))
    checkpoint = open_checkpoint(path)
    assert checkpoint.format == ("orbax-ocdbt" if is_ocdbt else "orbax-zarr")
    assert {t.name for t in checkpoint.tensors if t.kind.is_parameter} == {
        "up.kernel", "up.bias", "ln.scale",
    }  # fmt: skip
    assert len(checkpoint.optimizer) == 7
    for tensor in checkpoint.tensors:
        stored = adam_tree().get(f"params/{tensor.name.replace('.', '/')}")
        assert stored is None or np.array_equal(tensor.array(), stored)
    told = {"optimizer": "adamw", "lr": 1e-3, "beta1": 0.9, "beta2": 0.98, "eps": 1e-8}
    rows = {row["name"]: row for row in scalecheck.translate(path, **told).rows}
    mu, nu = (adam_tree()[f"opt/0/{word}/up/kernel"].astype(float) for word in ("mu", "nu"))
    update = mu / (1 - 0.9**30) / (np.sqrt(nu / (1 - 0.98**30)) + 1e-8)
    assert rows["up.kernel"]["update_rms"] == pytest.approx(np.sqrt(np.mean(update**2)), rel=1e-9)


@pytest.mark.parametrize("is_ocdbt", [False, True])
def test_arrays_in_several_chunks_and_shards_are_whole(tmp_path, is_ocdbt):
    arrays = {"a": zarr2(W, (3, 4)), "b": zarr3(W, (2, 3), shards=(4, 6)), "c": zarr3(W, (4, 10))}
    found = tensors(written(tmp_path, orbax(arrays, is_ocdbt=is_ocdbt)))
    assert all(np.array_equal(tensor.array(), W) for tensor in found.values())
    assert len(found) == 3


def test_types_of_jax_have_their_names(tmp_path):
    arrays = {
        "half": zarr2(np.array([0x3F80, 0xC000], "u2"), dtype="bfloat16"),
        "codes": zarr3(np.array([0x38, 0xC0], "u1"), dtype="float8_e4m3fn"),
        "four": zarr2(np.array([1, 2], "i1"), dtype="int4"),
    }
    found = tensors(written(tmp_path, orbax(arrays)))
    assert found["half"].array().tolist() == [1, -2]
    assert found["codes"].array().tolist() == [1, -2]
    assert found["four"].unmeasured == "integers of 4 bits, which are codes"


@pytest.fixture
def steps(tmp_path):
    """A folder of steps, as CheckpointManager leaves it."""

    def write(*numbers):
        for number in numbers:
            written(tmp_path, orbax(train_state()), f"run/{number}/default")
            (tmp_path / f"run/{number}/_CHECKPOINT_METADATA").write_text("{}")
        return tmp_path / "run"

    return write


def test_one_step_of_a_folder_is_read(steps):
    checkpoint = open_checkpoint(steps(30))
    assert "up.kernel" in {tensor.name for tensor in checkpoint.tensors}
    assert checkpoint.layout == ("holds one step, which is read: 30",)


def test_of_several_steps_the_last_is_named(steps):
    path = steps(9, 30)
    assert problem(path) == "holds no checkpoint itself, 2 of its folders do: 9, 30"
    with pytest.raises(scalecheck.CheckpointError) as raised:
        format.load(path)
    assert raised.value.fix.new == f"{path}/30"


def test_an_unfinished_step_is_none(steps):
    path = steps(9)
    (path / "9").rename(path / "9.orbax-checkpoint-tmp-123")
    said = "is unfinished: Orbax renames a checkpoint when all of it is written"
    assert problem(path / "9.orbax-checkpoint-tmp-123") == said
    steps(8)
    assert open_checkpoint(path).layout == ("holds one step, which is read: 8",)


def test_items_of_a_step_are_one_checkpoint(tmp_path):
    state = train_state()
    params = {n.removeprefix("params."): a for n, a in state.items() if n.startswith("params.")}
    moments = {n.removeprefix("opt_state."): a for n, a in state.items() if "opt_state." in n}
    written(tmp_path, orbax(params, is_ocdbt=True), "30/params")
    written(tmp_path, orbax(moments), "30/optimizer")
    written(tmp_path, {"metadata": b"{}"}, "30/loader")
    path = written(tmp_path, {"_CHECKPOINT_METADATA": b"{}"}, "30")
    checkpoint = open_checkpoint(path)
    assert {tensor.name for tensor in checkpoint.tensors} == {"up.kernel", "up.bias", "ln.scale"}
    assert {tensor.name for tensor in checkpoint.optimizer} > {"optimizer.0.mu.up.kernel"}
    assert checkpoint.layout == ("beside the arrays, not read: loader/",)
    assert checkpoint.format == "orbax-ocdbt and orbax-zarr"


def test_the_parts_of_processes_are_not_read_twice(tmp_path):
    files = orbax({"w": zarr2(W)}, is_ocdbt=True)
    parts = {f"ocdbt.process_0/{name}": content for name, content in files.items()}
    assert [*tensors(written(tmp_path, files | parts))] == ["w"]


def test_parts_that_were_not_merged_are_unfinished(tmp_path):
    files = orbax({"w": zarr2(W)}, is_ocdbt=True)
    parts = {f"ocdbt.process_0/{name}": content for name, content in files.items()}
    path = written(tmp_path, {"_METADATA": files["_METADATA"], **parts})
    assert problem(path).startswith("is unfinished: it has no manifest.ocdbt, as 1 parts such as")


def test_a_database_without_a_tree_has_the_names_of_its_arrays(tmp_path):
    files = orbax({"params.up.kernel": zarr2(W), "params.up.bias": zarr2(W[0])}, is_ocdbt=True)
    del files["_METADATA"]
    assert [*tensors(written(tmp_path, files))] == ["up.bias", "up.kernel"]


def test_arrays_that_the_tree_does_not_name_are_said(tmp_path):
    files = orbax({"w": zarr2(W), "old": zarr2(W)})
    files["_METADATA"] = tree_metadata([["w"]])
    checkpoint = open_checkpoint(written(tmp_path, files))
    assert checkpoint.notes == ("not read, as its _METADATA does not name them: old",)


def test_arrays_that_are_not_there_are_named(tmp_path):
    files = orbax({"w": zarr2(W)})
    files["_METADATA"] = tree_metadata([["w"], ["params", "up"]])
    assert problem(written(tmp_path, files)) == "1 of 2 arrays are not there: params.up"


def test_a_chunk_that_is_not_there_is_lacking_where_all_were_written(tmp_path):
    files = orbax({"w": zarr2(W, (3, 10))})
    del files["w/1.0"]
    assert tensors(written(tmp_path, files))["w"].unmeasured == "30 of 70 elements are in no file"


def test_earlier_versions_leave_out_chunks_of_zeros(tmp_path):
    files = orbax({"w": zarr2(W, (3, 10))}, store_array_data_equal_to_fill_value=False)
    del files["w/1.0"]
    rows = tensors(written(tmp_path, files))["w"].array()
    assert not rows[3:6].any()
    assert rows[6:].all()


def test_a_file_of_values_that_is_not_there_is_named_with_what_it_takes_along(tmp_path):
    values = {"w/.zarray": zarr2(W)[".zarray"], "w/0.0": bytes(200)}
    body, data = leaf(values, most_inline=199)
    body = body.replace(b"d/data", b"d/gone")
    root = node(body)
    files = {
        "_METADATA": tree_metadata([["w"]]),
        "manifest.ocdbt": manifest(len(data), len(root)),
        "d/data": data + root,
    }
    checkpoint = open_checkpoint(written(tmp_path, files))
    assert checkpoint.notes == ("1 file not there: d/gone (of w/0.0)",)
    assert checkpoint.tensors[0].unmeasured == "70 of 70 elements are in no file"


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (b"{", "has a bad _METADATA: "),
        (b"[]", "has a _METADATA that is no object"),
        (b'{"tree_metadata": []}', "has a _METADATA whose tree_metadata is no object"),
        (b'{"tree_metadata": {"w": {}}}', "has a _METADATA without the keys of w"),
        (
            b'{"tree_metadata": {"w": {"key_metadata": [{}], "value_metadata": {}}}}',
            "has a _METADATA with keys that are no names: w",
        ),
        (tree_metadata([["a" * 1025]]), "aaaa"),
        (tree_metadata([["..", "..", "w"]]), "1 of 1 arrays are not there: ......w"),
    ],
)
def test_a_damaged_tree_is_refused(tmp_path, tree, said):
    files = orbax({"w": zarr2(W)}) | {"_METADATA": tree}
    assert problem(written(tmp_path, files)).startswith(said)


def database(root, height=0, **told):
    """A folder of one node."""
    whole = node(root, **told)
    return {"manifest.ocdbt": manifest(0, len(whole), height), "d/data": whole}


def one_leaf(files=b"\x01\x06\x00d/data", key=b"w", kind=0, value=b"1234"):
    head = bytes([0]) + files + varint(1) + varint(len(key)) + key
    where = varints([0, 1 << 40]) if kind == 1 else b""
    return head + varints([len(value), kind]) + where + value


def table(path):
    return varints([1, len(path), 0]) + path


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"manifest.ocdbt": b"\x0c\xdb"}, "manifest.ocdbt: ends at byte 2 of its node"),
        ({"manifest.ocdbt": bytes(40)}, "manifest.ocdbt: starts with b'"),
        ({"manifest.ocdbt": node(bytes(16), 0x0CDB3A2A)[:-1]}, "manifest.ocdbt: says "),
        ({"manifest.ocdbt": node(bytes(16) + b"\1", 0x0CDB3A2A)}, "manifest.ocdbt: is of kind 1"),
        ({"manifest.ocdbt": node(bytes(16), 0x0CDB3A2A)}, "manifest.ocdbt: ends at byte 16"),
        ({"manifest.ocdbt": manifest(0, 9)}, "d/data is not there, which keeps a part"),
        ({"manifest.ocdbt": manifest(0, 9, file="../../x")}, "manifest.ocdbt: names ../../x, no"),
        ({"manifest.ocdbt": manifest(0, 9, file="/etc/x")}, "manifest.ocdbt: names /etc/x, no"),
        ({"manifest.ocdbt": manifest(7, 9), "d/data": bytes(9)}, "d/data at byte 7: a node to"),
        ({"manifest.ocdbt": manifest(0, 9, 17), "d/data": bytes(9)}, "d/data at byte 0: a tree 17"),
        (database(one_leaf(), height=1), "d/data at byte 0: a node of height 0 where one of 1"),
        (database(one_leaf(table(b"d/../x"))), "d/data at byte 0: names d/../x, no file below"),
        (database(one_leaf(key=b"\xff")), "d/data at byte 0: a name that is no UTF-8"),
        (database(one_leaf(kind=2)), "d/data at byte 0: key w has a value of kind 2"),
        (database(one_leaf(table(b"d/data"), kind=1)), "d/data: w ends at byte"),
        (database(one_leaf()[:-1]), "d/data at byte 0: ends at byte"),
        (database(bytes([0]) + varint(0) + varint(1 << 62)), "d/data at byte 0: "),
        (database(b"\xff" * 12), "d/data at byte 0: a node of height 255"),
        (database(bytes([0]) + b"\xff" * 12), "d/data at byte 0: a number of more than 64 bits"),
        (database(one_leaf(), compression=2), "d/data at byte 0: version 0, compression 2"),
    ],
)
def test_a_damaged_database_is_refused(tmp_path, files, said):
    assert problem(written(tmp_path, files)).startswith(said)


def test_a_node_that_holds_itself_is_refused(tmp_path):
    """Its own place would be where the tree goes on."""
    body = bytes([1]) + table(b"d/data") + varint(1) + varints([1, 0]) + b"w"
    body += varints([0, 0, 0]) + varints([0] * 3)
    body = body[:-4] + varints([38]) + varints([0] * 3)
    whole = node(body, compression=0)
    assert len(whole) == 38
    files = {"manifest.ocdbt": manifest(0, 38, 1), "d/data": whole}
    said = "d/data at byte 0: a node that is there twice in its tree"
    assert problem(written(tmp_path, files)) == said


def test_names_that_share_their_starts_take_no_memory_for_ever(tmp_path):
    """A byte for each of a million names of four kilobytes."""
    count = 1 << 18
    body = bytes([0]) + varint(0) + varint(count)
    body += varints([4000] * (count - 1)) + varints([4000] + [0] * (count - 1)) + bytes(4000)
    path = written(tmp_path, database(body))
    with bounded(128 << 20):
        assert f"{count} names of" in problem(path)


def test_a_bomb_of_zeros_is_not_unpacked(tmp_path):
    path = written(tmp_path, database(bytes(1 << 27)))
    with bounded(256 << 20):
        assert problem(path) == "d/data at byte 0: a node of more than 67108864 bytes"


def test_a_database_has_the_values_that_tensorstore_reads(tmp_path):
    """In several levels and versions, small values in nodes and large ones apart."""
    tensorstore = pytest.importorskip("tensorstore")
    spec = {
        "driver": "ocdbt",
        "base": f"file://{tmp_path}/db/",
        "config": {"max_decoded_node_bytes": 1000, "max_inline_value_bytes": 40},
    }
    rng = np.random.default_rng(0)
    store = tensorstore.KvStore.open(spec).result()
    for version in range(3):
        with tensorstore.Transaction() as transaction:
            for number in range(version, 150):
                value = rng.bytes(int(rng.integers(80)))
                store.with_transaction(transaction)[f"layers.{number}/{number % 7}.0"] = value
    keys = [key.decode() for key in store.list().result()]
    ours = OcdbtStore(tmp_path / "db")
    assert len(keys) == 150
    for key in keys:
        value = ours.get(key)
        assert value is not None
        assert bytes(value.read()) == store[key]
