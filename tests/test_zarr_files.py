"""Zarr arrays in folders: every layout has the numbers that were written, and what is damaged,
lacking or not known is said with its numbers."""

import json

import numpy as np
import pytest
from orbax_files import under, zarr2, zarr3, zstd
from process import problem_of

import scalecheck
from scalecheck.checkpoint.files import extras
from scalecheck.checkpoint.formats import zarr as format
from scalecheck.checkpoint.open import open_checkpoint
from scalecheck.checkpoint.zarr import arrays

W = np.random.default_rng(0).standard_normal((7, 10)).astype("f4")


def written(tmp_path, files, name="model.zarr"):
    for file, content in files.items():
        path = tmp_path / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / name


def only(path):
    [tensor] = open_checkpoint(path).tensors
    return tensor


def problem(path):
    return problem_of(format.load, path)


def changed(files, name, **told):
    """The files with entries of the metadata changed."""
    return files | {name: json.dumps(json.loads(files[name]) | told).encode()}


@pytest.mark.parametrize("chunks", [(7, 10), (3, 4), (1, 10), (7, 1), (100, 100)])
@pytest.mark.parametrize("way", [zarr2, zarr3])
def test_arrays_of_any_chunks_are_whole(tmp_path, way, chunks):
    tensor = only(written(tmp_path, way(W, chunks)))
    assert (tensor.name, tensor.shape) == ("model", (7, 10))
    assert np.array_equal(tensor.array(), W)


@pytest.mark.parametrize("kind", ["f2", "f8", "i8", "?", ">f4", ">i4"])
def test_numbers_of_every_type_are_numpys(tmp_path, kind):
    array = (W * 9).astype(kind)
    [tensor] = format.load(written(tmp_path, zarr2(array, (3, 4)))).tensors
    assert np.array_equal(tensor.array(), array)


@pytest.mark.parametrize(
    "told", [{"order": "F"}, {"compressor": None}, {"compressor": {"id": "zlib"}}]
)
def test_version_2_is_read_in_each_way(tmp_path, told):
    tensor = only(written(tmp_path, zarr2(W, (3, 4), **told)))
    assert np.array_equal(tensor.array(), W)


def test_shards_are_lists_of_chunks(tmp_path):
    tensor = only(written(tmp_path, zarr3(W, (2, 3), shards=(4, 6))))
    assert np.array_equal(tensor.array(), W)


def test_transposed_chunks_are_turned_back(tmp_path):
    files = zarr3(W.T.copy(), (10, 7))
    codecs = json.loads(files["zarr.json"])["codecs"]
    turn = {"name": "transpose", "configuration": {"order": [1, 0]}}
    told = {
        "shape": [7, 10],
        "codecs": [turn, *codecs],
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [7, 10]}},
    }
    assert np.array_equal(only(written(tmp_path, changed(files, "zarr.json", **told))).array(), W)


def test_one_number_is_an_array_without_dimensions(tmp_path):
    for number, way in enumerate((zarr2, zarr3)):
        tensor = only(written(tmp_path, way(np.float32(2.5).reshape(())), f"{number}.zarr"))
        assert (tensor.shape, float(tensor.array())) == ((), 2.5)


@pytest.mark.parametrize(
    ("fill", "dtype", "expected"),
    [
        (2.5, "f4", 2.5),
        ("NaN", "f4", np.nan),
        ("-Infinity", "f8", -np.inf),
        ("0x7fc0", "bfloat16", np.nan),
        (-2.0, "bfloat16", -2),
        (7, "i4", 7),
        (True, "?", 1),
    ],
)
def test_chunks_that_were_never_written_are_full_of_the_fill_value(tmp_path, fill, dtype, expected):
    array = np.ones((4, 2), "u2" if dtype == "bfloat16" else dtype)
    name = dtype if dtype == "bfloat16" else ""
    files = zarr2(array, (2, 2), dtype=name, fill_value=fill)
    del files["1.0"]
    rows = only(written(tmp_path, files)).array()
    assert np.array_equal(rows[2:], np.full((2, 2), expected), equal_nan=True)


def test_chunks_that_nothing_stands_for_are_counted(tmp_path):
    files = zarr2(W, (3, 4))
    del files["2.2"]
    tensor = only(written(tmp_path, files))
    assert tensor.unmeasured == "2 of 70 elements are in no file"


def test_an_array_that_was_never_written_is_not_read_for_ever(tmp_path):
    told = {"shape": [1 << 30, 1 << 20], "chunks": [1 << 20, 1 << 20], "fill_value": 0}
    files = changed({".zarray": zarr2(W)[".zarray"]}, ".zarray", **told)
    tensor = only(written(tmp_path, files))
    assert tensor.unmeasured == f"{1 << 50} of {1 << 50} elements were never written"


def test_a_grid_of_too_many_chunks_is_not_looked_through(tmp_path):
    told = {"shape": [1 << 20, 1 << 20], "chunks": [1, 1], "fill_value": 0}
    files = changed({".zarray": zarr2(W)[".zarray"]}, ".zarray", **told)
    tensor = only(written(tmp_path, files))
    assert tensor.unmeasured == f"{1 << 40} chunks, the limit of all arrays is {arrays.MAX_CHUNKS}"


def test_groups_have_the_names_of_their_paths(tmp_path):
    files = under("enc/0/kernel", zarr2(W)) | under("head", zarr3(W)) | {".zgroup": b"{}"}
    found = {tensor.name: tensor for tensor in open_checkpoint(written(tmp_path, files)).tensors}
    assert [*found] == ["enc/0/kernel", "head"]
    assert np.array_equal(found["head"].array(), W)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"compressor": {"id": "lz4"}}, "its chunks are compressed by lz4, which is not read"),
        ({"filters": [{"id": "delta"}]}, "its chunks are filtered by delta, which is not read"),
        ({"dtype": "int4"}, "integers of 4 bits, which are codes"),
        ({"dtype": "<c8"}, "complex numbers have no single scale"),
        ({"dtype": [["x", "<f4"], ["y", "<i2"]]}, "records of 2 fields: x, y"),
    ],
)
def test_what_version_2_has_and_is_not_read_has_a_reason(tmp_path, told, why):
    files = changed(zarr2(W), ".zarray", **told)
    assert only(written(tmp_path, files)).unmeasured == why


@pytest.mark.parametrize(
    ("codec", "why"),
    [
        ("zfpy", "its chunks are compressed by zfpy, which is not read"),
        ("gzip", "its chunks are compressed 2 times"),
    ],
)
def test_codecs_that_are_not_read_are_named(tmp_path, codec, why):
    files = zarr3(W)
    codecs = [*json.loads(files["zarr.json"])["codecs"], {"name": codec}]
    if codec == "zfpy":
        codecs = [codecs[0], codecs[2]]
    tensor = only(written(tmp_path, changed(files, "zarr.json", codecs=codecs)))
    assert tensor.unmeasured == why


def test_a_library_that_lacks_is_named_with_how_to_install_it(tmp_path, monkeypatch):
    def none(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(extras, "import_module", none)
    path = written(tmp_path, zarr2(W))
    with pytest.raises(scalecheck.CheckpointError, match="needs the library zstandard") as raised:
        open_checkpoint(path)
    assert raised.value.help == "pip install 'scalecheck[formats]'"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"zarr_format": 3}, "model: has metadata of zarr_format 3, not 2"),
        ({"shape": [-1, 10]}, "model: has a shape that is none: [-1, 10]"),
        ({"shape": 7}, "model: has a shape that is none: 7"),
        ({"shape": [1 << 40, 1 << 40]}, f"model: has {1 << 80} elements"),
        ({"shape": [1] * 65}, "model: has 65 dimensions, the limit is 64"),
        ({"chunks": [7]}, "model: has chunks of [7], which cut no array of its shape"),
        ({"chunks": [0, 10]}, "model: has chunks of [0, 10], which cut no array of its shape"),
        ({"order": "K"}, "model: has order 'K', not C or F"),
        ({"dimension_separator": "/../"}, "model: has the separator '/../', not . or /"),
        ({"compressor": "zstd"}, "model: has a compressor or filter without an id"),
        ({"filters": [{}] * 9}, "model: has filters that are no short list"),
        ({"dtype": 7}, "model: has a type that is none: 7"),
        ({"compressor": None}, "model: a chunk of 280 bytes has "),
        ({"chunks": [1 << 20, 1 << 20]}, "model: a chunk of 4398046511104 bytes packed into "),
    ],
)
def test_damaged_metadata_of_version_2_are_refused(tmp_path, told, said):
    assert problem(written(tmp_path, changed(zarr2(W), ".zarray", **told))).startswith(said)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"codecs": []}, "model: has codecs that are no list of 1 to 8"),
        ({"codecs": [{"name": "transpose"}]}, "model: has a transpose of order None"),
        (
            {"codecs": [{"name": "transpose", "configuration": {"order": [0, 0]}}]},
            "model: has a transpose of order [0, 0]",
        ),
        (
            {"codecs": [{"name": "transpose", "configuration": {"order": [1, 0]}}]},
            "model: has codecs that make no bytes",
        ),
        ({"codecs": [7]}, "model: has a codecs without a name"),
        ({"chunk_grid": {"name": "rectilinear"}}, "model: has chunk_grid rectilinear, and regular"),
        ({"chunk_key_encoding": {"name": "sha"}}, "model: has chunk_key_encoding sha, not default"),
        ({"data_type": None}, "model: has a data_type without a name"),
    ],
)
def test_damaged_metadata_of_version_3_are_refused(tmp_path, told, said):
    assert problem(written(tmp_path, changed(zarr3(W), "zarr.json", **told))).startswith(said)


def test_shards_that_their_chunks_do_not_fill_are_refused(tmp_path):
    files = zarr3(W, (2, 3), shards=(4, 6))
    text = files["zarr.json"].replace(b'"chunk_shape": [2, 3]', b'"chunk_shape": [3, 3]')
    path = written(tmp_path, files | {"zarr.json": text})
    assert problem(path) == "model: has shards of [4, 6] cut into [3, 3]"


@pytest.mark.parametrize("place", [0, 8])
def test_a_shard_whose_list_is_wrong_is_refused(tmp_path, place):
    """The places of its chunks, or how long they are."""
    files = zarr3(W, (2, 3), shards=(4, 6))
    at = len(files["c/0/0"]) - 4 - 64 + place
    content = bytearray(files["c/0/0"])
    content[at : at + 8] = (1 << 40).to_bytes(8, "little")
    path = written(tmp_path, files | {"c/0/0": bytes(content)})
    with pytest.raises(scalecheck.CheckpointError, match=r"a shard of \d+ bytes has a chunk at"):
        scalecheck.inspect(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (zstd(W.tobytes()[:-4]), "ends at byte 276 and should have 280"),
        (zstd(W.tobytes() + bytes(4)), "has more than its 280 bytes"),
        (zstd(W.tobytes())[:-9], "has damaged chunk of"),
        (b"no zstd at all", "has damaged chunk of 14 bytes at byte 0"),
    ],
)
def test_a_damaged_chunk_is_refused_when_it_is_read(tmp_path, content, said):
    path = written(tmp_path, zarr2(W) | {"0.0": content})
    with pytest.raises(scalecheck.CheckpointError, match=said):
        scalecheck.inspect(path)
