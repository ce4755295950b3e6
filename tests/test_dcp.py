"""Folders of torch.distributed.checkpoint: what is read is what torch loads, and what is missing,
damaged or hostile is said to be that."""

import pickle
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from command import scalecheck
from dcp_files import Folder, saved
from torch.distributed.checkpoint import DefaultSavePlanner, FileSystemWriter
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

import scalecheck as api
from scalecheck import CheckpointError, open_checkpoint

pytestmark = [
    pytest.mark.usefixtures("elsewhere"),
    pytest.mark.filterwarnings("ignore:torch.distributed is disabled"),  # as no_dist asks for
]


def network():
    torch.manual_seed(1)
    return torch.nn.Sequential(
        torch.nn.Embedding(11, 6), torch.nn.Linear(6, 5), torch.nn.LayerNorm(5)
    )


def trained(optimizer=torch.optim.AdamW, **settings):
    """A network after three steps, and its optimizer."""
    model = network()
    optimizer = optimizer(model.parameters(), lr=1e-3, **settings)
    for _ in range(3):
        model(torch.arange(11)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def states(**options):
    model, optimizer = trained()
    own, of_optimizer = get_state_dict(model, optimizer, options=StateDictOptions(**options))
    return {"model": own, "optimizer": of_optimizer}


def save(state, **options):
    dcp.save(state, checkpoint_id="run/step-3", no_dist=True, **options)
    return Path("run/step-3")


def write(folder, path="d"):
    Path(path).mkdir()
    folder.write(Path(path))
    return Path(path)


def arrays(path):
    return {tensor.name: tensor.array() for tensor in open_checkpoint(path).tensors}


def same(path, expected):
    found = arrays(path)
    assert {*found} == {*expected}
    for name, tensor in expected.items():
        assert found[name].shape == tensor.shape
        assert (found[name] == tensor.double().numpy()).all()


def last_updates(path, **options):
    return {row["name"]: row["update_rms"] for row in api.translate(path, **options).rows}


LAYOUTS = {
    "nested": lambda: save(states()),
    "flattened optimizer": lambda: save(states(flatten_optimizer_state_dict=True)),
    "one object a part": lambda: save(
        states(), planner=DefaultSavePlanner(flatten_state_dict=False)
    ),
    "a file an item": lambda: save(
        states(), storage_writer=FileSystemWriter("run/step-3", single_file_per_rank=False)
    ),
    "several threads": lambda: save(
        states(), storage_writer=FileSystemWriter("run/step-3", thread_count=3)
    ),
    "below an app": lambda: save({"app": states(), "epoch": 3}),
    "numbered": lambda: save(
        {"model": trained()[0].state_dict(), "optimizer": trained()[1].state_dict()}
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_model_and_its_last_update_are_read_however_they_were_saved(layout):
    path = LAYOUTS[layout]()
    model, optimizer = trained()
    same(path, model.state_dict())
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, "whole.pt")
    assert last_updates(path) == pytest.approx(last_updates("whole.pt"), rel=1e-12)


def test_tensors_of_every_kind_are_read_as_they_are():
    state = {
        "columns": torch.randn(8, 6).t(),
        "channels": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(2.5),
        "half": torch.randn(4).half(),
        "brain": torch.randn(3, 4).bfloat16(),
        "eight": torch.randn(4, 4).to(torch.float8_e5m2),
        "count": torch.tensor(3),
        "empty": torch.empty(0, 7),
        "list": [torch.randn(2), {"inside": torch.randn(3)}],
    }
    path = save(state)
    first, inside = state.pop("list")
    same(path, {**state, "list.0": first, "list.1.inside": inside["inside"]})


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("ranks", [1, 2, 3, 7, 16])
def test_pieces_of_any_number_of_ranks_are_put_together(ranks, axis):
    folder, tensor = Folder(), torch.randn(7, 5)
    folder.add(("model", "w"), tensor, ranks, axis)
    folder.add(("model", "b"), tensor[0], ranks)
    same(write(folder), {"w": tensor, "b": tensor[0]})


def test_pieces_in_a_grid_are_put_together():
    """As tensor parallelism leaves them, with one cut more in one of the rows."""
    folder, tensor = Folder(), torch.randn(6, 8)
    folder.add(("w",), tensor)
    folder.data.clear()
    folder.stored.clear()
    entry = folder.entries["w"]
    entry.chunks.clear()
    grid = [(0, 0, 4, 3), (0, 3, 4, 5), (4, 0, 2, 3), (4, 3, 2, 2), (4, 5, 2, 3)]
    for rank, (row, column, rows, columns) in enumerate(grid):
        start = torch.Size((row, column))
        entry.chunks.append(ChunkStorageMetadata(start, torch.Size((rows, columns))))
        part = tensor[row : row + rows, column : column + columns].clone()
        folder.put(MetadataIndex("w", start), rank, part)
    same(write(folder), {"w": tensor})


def test_indexes_of_ranks_that_wrote_one_each_are_put_together():
    whole, tensor = Folder(), torch.randn(6, 4)
    whole.add(("model", "w"), tensor, 2)
    whole.add(("model", "b"), torch.ones(3))
    for rank in range(2):
        entry = whole.entries["model.w"]
        part = type(entry)(entry.properties, entry.size, [entry.chunks[rank]])
        own = Folder({"model.w": part}, paths=whole.paths)
        own.stored = {key: place for key, place in whole.stored.items() if key.index == rank}
        if rank == 0:
            own.entries["model.b"] = whole.entries["model.b"]
        whole.data[f"__{rank}.metadata"] = own.index
    Path("d").mkdir()
    for name, content in whole.data.items():
        (Path("d") / name).write_bytes(content)
    same("d", {"w": tensor, "b": torch.ones(3)})


def test_a_piece_whose_archive_differs_from_its_neighbours_is_read_for_itself():
    """Its elements stand in columns, and its neighbours' in rows."""
    folder, tensor = Folder(), torch.randn(6, 4)
    folder.add(("w",), tensor, 3)
    place = next(place for place in folder.stored if place.offset[0] == 2)
    columns = tensor[2:4].t().contiguous().t()
    folder.data["__1_0.distcp"] = saved(columns)
    folder.stored[place].length = len(folder.data["__1_0.distcp"])
    same(write(folder), {"w": tensor})


def test_what_is_no_tensor_is_named_and_tensors_in_it_are_rows():
    path = save({"model": {"w": torch.ones(2)}, "loader": {"place": 3, "seen": (torch.ones(3), 1)}})
    said = scalecheck("inspect", path)
    assert "loader.seen.0" in said.out
    assert "beside the tensors, not inspected: loader (2 values)" in said.out


def test_a_file_that_is_missing_is_named_with_the_tensors_that_it_takes_along():
    folder = Folder()
    folder.add(("model", "cut"), torch.randn(6, 4), 2)
    folder.add(("model", "whole"), torch.randn(3))
    del folder.data["__1_0.distcp"]
    path = write(folder)
    report = api.inspect(path)
    assert [row["name"] for row in report.rows] == ["whole"]
    reason = "12 of 24 elements are in __1_0.distcp, which is missing"
    assert [(one["name"], one["reason"]) for one in report.skipped] == [("cut", reason)]
    assert any("missing: __1_0.distcp" in note and "model.cut" in note for note in report.notes)
    checked = scalecheck("check", path)
    assert checked.code == 1
    assert f"error[SC107] not-analysed: not measured (F32): {reason}\n  cut\n" in checked.out


def test_a_chunk_that_no_index_lists_is_no_silent_hole():
    folder = Folder()
    folder.add(("w",), torch.randn(6, 4), 3)
    del folder.entries["w"].chunks[1]
    [skipped] = api.inspect(write(folder)).skipped
    assert skipped["reason"] == "8 of 24 elements are in no file"


def test_a_state_in_accelerates_folders_is_the_models():
    both = states()
    for name, number, part in (("pytorch_model_fsdp", 0, "model"), ("optimizer", 0, "optimizer")):
        path = f"run/{name}_{number}"
        dcp.save({part: both[part]}, checkpoint_id=path, no_dist=True)
    Path("run/scheduler.bin").write_bytes(saved({"last_epoch": 3}))
    expected = last_updates(save(both))
    assert last_updates("run") == expected
    assert last_updates("run/pytorch_model_fsdp_0") == expected
    assert last_updates("run/pytorch_model_fsdp_0", state="run/optimizer_0") == expected
    with pytest.raises(CheckpointError, match=r"optimizer state of .* and no model weights"):
        open_checkpoint("run/optimizer_0")
    assert "beside the model, not inspected: scheduler.bin" in api.inspect("run").notes


@pytest.mark.parametrize("part", [".metadata", "__0_0.distcp"])
def test_a_part_of_a_folder_says_what_to_name(part):
    path = save({"w": torch.ones(3)})
    said = scalecheck("inspect", path / part)
    assert said.code == 3
    assert said.err.endswith(f"help: name its folder, {path.absolute()}\n")


def test_several_steps_below_a_folder_are_named_and_unfinished_ones_told_apart():
    for step in (5, 10, 20):
        dcp.save({"w": torch.ones(3)}, checkpoint_id=f"run/step-{step}", no_dist=True)
    Path("run/step-20/.metadata").rename("run/step-20/.metadata.tmp")
    said = scalecheck("inspect", "run")
    assert "2 of its folders do: step-5, step-10" in said.err
    assert "the newest (--recursive reads all): scalecheck inspect run/step-10" in said.err
    said = scalecheck("inspect", "run/step-20")
    assert said.code == 3
    assert "was not finished: 1 file of ranks (__0_0.distcp) and .metadata.tmp" in said.err


def test_layers_that_megatron_stacks_are_rows_and_have_their_updates():
    folder = Folder(paths=None)
    weight, norm = torch.randn(3, 8, 6), torch.randn(3, 6)
    names = {"decoder.layers.mlp.linear_fc1.weight": weight, "decoder.layers.norm.weight": norm}
    for name, tensor in names.items():
        folder.add((name,), tensor, 3)
        folder.add((f"optimizer.state.exp_avg.{name}",), 0.01 * tensor, 3)
        folder.add((f"optimizer.state.exp_avg_sq.{name}",), 0.001 * tensor**2, 3)
        folder.add((f"optimizer.state.fp32_param.{name}",), tensor, 3)
    path = write(folder)
    path.joinpath("metadata.json").write_text('{"sharded_backend": "torch_dist"}')
    common = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "step": 100, "lr_mult": 1.0}
    groups = [{**common, "weight_decay": decay, "params": [0]} for decay in (0.1, 0.0)]
    torch.save({"optimizer": {"optimizer": {"param_groups": groups}}}, path / "common.pt")
    rows = {row["name"]: row for row in api.inspect(path).rows}
    for layer in range(3):
        row = rows[f"decoder.layers.{layer}.mlp.linear_fc1.weight"]
        assert row["rms"] == pytest.approx(weight[layer].double().square().mean().sqrt().item())
        assert row["kind"] == "parameter"
    updates = {row["name"]: row for row in api.translate(path).rows}
    assert updates["decoder.layers.2.mlp.linear_fc1.weight"]["weight_decay"] == 0.1
    assert updates["decoder.layers.2.norm.weight"]["weight_decay"] == 0
    assert all(row["update_rms"] == pytest.approx(0.3153, rel=1e-3) for row in updates.values())


def test_pieces_of_hugging_faces_writer_are_put_together():
    from safetensors.torch import save_file

    tensor = torch.randn(7, 4)
    Path("d").mkdir()
    for number, start, stop in ((1, 0, 4), (2, 4, 7)):
        info = f'{{"w": {{"saved_offsets": [{start}, 0]}}}}'
        name = f"d/shard-{number:05}-model-00001-of-00001.safetensors"
        save_file({"w": tensor[start:stop].clone()}, name, {"DCP_SHARDING_INFO": info})
    same("d", {"w": tensor})


def compressed():
    """A folder whose items are compressed by zstandard, a piece in each of two files."""
    zstandard = pytest.importorskip("zstandard")
    folder, tensor = Folder(), torch.arange(600.0).reshape(60, 10)
    folder.add(("model", "w"), tensor, 2)
    folder.add(("epoch",), 3)
    whole = {name: bytes(content) for name, content in folder.data.items()}
    folder.data.clear()
    for place in folder.stored.values():
        content = whole[place.relative_path][place.offset : place.offset + place.length]
        packed = zstandard.compress(content)
        held = folder.data.setdefault(place.relative_path, bytearray())
        place.offset, place.length = len(held), len(packed)
        place.transform_descriptors = ["stream.zstd/1"]
        held += packed
    return folder, tensor


def test_items_that_are_compressed_are_read_by_the_stream():
    folder, tensor = compressed()
    same(write(folder), {"w": tensor})


def test_compressed_items_without_the_library_say_what_to_install(monkeypatch):
    path = write(compressed()[0])
    monkeypatch.setitem(sys.modules, "zstandard", None)
    said = scalecheck("inspect", path)
    assert said.code == 3
    assert "an item compressed by stream.zstd needs the library zstandard" in said.err
    assert said.err.endswith("help: pip install 'scalecheck[formats]'\n")


def test_a_compressed_item_that_is_damaged_or_grows_without_end_is_refused():
    zstandard = pytest.importorskip("zstandard")
    for content in (b"no stream", zstandard.compress(bytes(1 << 22))):
        folder, _ = compressed()
        place = folder.stored[MetadataIndex("model.w", (0, 0))]
        place.relative_path, place.offset, place.length = "__2_0.distcp", 0, len(content)
        folder.data["__2_0.distcp"] = bytearray(content)
        said = scalecheck("inspect", write(folder, f"d{len(content)}"))
        assert said.code == 3
        assert "model.w: its item in __2_0.distcp at byte 0: " in said.err


class Ran:
    """What writes a file where it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("ran").absolute(),)


def two_ranks():
    folder = Folder()
    folder.add(("model", "w"), torch.randn(6, 4), 2)
    folder.add(("model", "b"), torch.randn(3))
    return folder


def chunks(folder):
    return folder.entries["model.w"].chunks


def first_place(folder):
    return folder.stored[MetadataIndex("model.w", (0, 0))]


def overlapping(folder):
    chunks(folder)[0].sizes = torch.Size((4, 4))
    folder.data["__0_0.distcp"] = bytearray()
    folder.put(MetadataIndex("model.w", torch.Size((0, 0))), 0, torch.ones(4, 4))
    folder.put(MetadataIndex("model.b", torch.Size((0,))), 0, torch.ones(3))


def beyond_the_shape(folder):
    folder.entries["model.w"].size = torch.Size((5, 4))


def of_another_size(folder):
    chunks(folder)[0].sizes = torch.Size((2, 4))


def of_another_type(folder):
    folder.entries["model.w"].properties.dtype = torch.float16


def past_the_end(folder):
    folder.stored[MetadataIndex("model.b", (0,))].length += 100_000


def inside_another(folder):
    place = folder.stored[MetadataIndex("model.b", (0,))]
    place.offset, place.length = first_place(folder).offset + 10, 500


def not_stored(folder):
    del folder.stored[MetadataIndex("model.w", (3, 0))]


def outside(folder):
    first_place(folder).relative_path = "../__0_0.distcp"


def absolute(folder):
    first_place(folder).relative_path = str(Path("__0_0.distcp").absolute())


def of_windows(folder):
    first_place(folder).relative_path = "C:\\__0_0.distcp"


def negative(folder):
    first_place(folder).offset = -1


def encrypted(folder):
    first_place(folder).transform_descriptors = ["stream.secret/1"]


def in_one_another(folder):
    folder.add(("model", "w", "inside"), torch.ones(2))


def without_files(folder):
    folder.data.clear()


def too_large(folder):
    folder.entries["model.w"].size = torch.Size((1 << 40, 1 << 40))


def of_no_type(folder):
    folder.entries["model.w"].properties = None


DAMAGES = {
    overlapping: "model.w: 2 pieces overlap, one of them at [0, 0]",
    beyond_the_shape: "a piece of [3, 4] at [3, 0] does not lie in [5, 4]",
    of_another_size: "is float32 [3, 4], the index has float32 [2, 4]",
    of_another_type: "is float32 [3, 4], the index has float16 [3, 4]",
    past_the_end: "of __0_0.distcp, which has",
    inside_another: "that overlap at byte",
    not_stored: "model.w: no storage entry says where its chunk at [3, 0] lies",
    outside: "its item lies in ../__0_0.distcp, outside of the folder",
    absolute: "outside of the folder",
    of_windows: "outside of the folder",
    negative: "is no byte range",
    encrypted: "stream.secret/1",
    in_one_another: "model.w.inside inside of model.w",
    without_files: "has an index and none of its files: __0_0.distcp, __1_0.distcp",
    too_large: "has 2^63 elements or more",
    of_no_type: "model.w: has no type",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_index_is_refused_in_one_line(damage):
    folder = two_ranks()
    damage(folder)
    said = scalecheck("inspect", write(folder))
    assert said.code == 3
    assert said.err.count("\n") == 1
    assert DAMAGES[damage] in said.err


def test_nothing_in_an_index_or_an_item_is_run():
    folder = two_ranks()
    folder.paths["model.w"] = Ran()
    folder.add(("loader",), Ran())
    said = scalecheck("inspect", write(folder))
    assert said.code == 0
    assert "loader" in said.out
    assert not Path("ran").exists()


def test_an_index_that_is_something_else_is_refused():
    Path("d").mkdir()
    Path("d/__0_0.distcp").write_bytes(saved(torch.ones(3)))
    for content in (pickle.dumps([1, 2]), b"", b"{}", saved({"w": torch.ones(2)})):
        Path("d/.metadata").write_bytes(content)
        assert scalecheck("inspect", "d").code == 3


def test_a_file_called_as_an_index_is_leaves_a_model_alone():
    from safetensors.torch import save_file

    Path("d").mkdir()
    save_file({"w": torch.ones(3)}, "d/model.safetensors")
    Path("d/.metadata").write_text('{"owner": "me"}')
    same("d", {"w": torch.ones(3)})
