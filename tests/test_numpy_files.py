"""NumPy's arrays: each type, order and layout has the numbers that numpy reads, and what is damaged
is refused with its numbers."""

import io
import zipfile
import zlib

import numpy as np
import pytest
from process import cost_of, problem_of
from valid_files import adam_tree, npy, npz

import scalecheck
from scalecheck.checkpoint.formats import numpy as format
from scalecheck.checkpoint.open import open_checkpoint

SAVES = [np.savez, np.savez_compressed]


def written(path, content):
    path.write_bytes(content)
    return path


def tensors(path):
    checkpoint = open_checkpoint(path)
    return {tensor.name: tensor for tensor in (*checkpoint.tensors, *checkpoint.optimizer)}


def problem(path):
    return problem_of(format.load, path)


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("kind", ["f2", ">f4", "<f8", ">f8", "i1", ">i2", "u4", ">i8", "?"])
def test_numbers_of_every_type_are_numpys(tmp_path, kind, save):
    numbers = np.random.default_rng(0).standard_normal((5, 3, 4)) * 50
    arrays = {
        "rows": numbers.astype(kind),
        "columns": np.asfortranarray(numbers.astype(kind)),
        "one": numbers[0, 0, 0].astype(kind),
        "none": numbers[:0].astype(kind),
    }
    found = tensors(written(tmp_path / "model.npz", npz(arrays, save)))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        assert np.array_equal(found[name].array(), array.astype(np.float64))


def test_a_lone_array_is_called_as_its_file(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    [(name, found)] = tensors(written(tmp_path / "emb.npy", npy(array))).items()
    assert name == "emb"
    assert np.array_equal(found.array(), array)


def test_two_bytes_without_a_type_are_bfloat16(tmp_path):
    """As ml_dtypes leaves them."""
    bits = np.array([0x3F80, 0xC000, 0x7F80], "u2").view("V2")
    found = tensors(written(tmp_path / "w.npy", npy(bits)))["w"]
    assert found.dtype.name == "BF16"
    assert found.array().tolist() == [1, -2, float("inf")]


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.array([{"a": 1}], object), "Python objects, kept as a pickle: not read"),
        (np.zeros(3, "V1"), "bytes without a type: an 8-bit float or 4-bit integer of ml_dtypes"),
        (np.array(["ab", "c"]), "text"),
        (np.array([b"ab"]), "text"),
        (np.zeros(2, "M8[s]"), "dates"),
        (np.zeros(2, "c8"), "complex numbers have no single scale"),
        (np.zeros(2, np.longdouble), "floats of a size that differs between machines"),
        (np.zeros(2, [("x", "f4"), ("y", "i2", 3)]), "records of 2 fields: x, y"),
    ],
)
def test_what_is_no_number_is_listed_with_its_reason(tmp_path, array, why):
    path = tmp_path / "odd.npz"
    np.savez(path, odd=array, w=np.ones(3))
    found = tensors(path)
    assert found["odd"].unmeasured.startswith(why)
    assert found["w"].array().tolist() == [1, 1, 1]


def test_names_that_differ_in_case_only_are_two_arrays(tmp_path):
    path = written(tmp_path / "gru.npz", npz({"W": np.ones(2), "w": np.zeros(2)}))
    assert [*tensors(path)] == ["W", "w"]


def test_members_that_are_no_arrays_are_named(tmp_path):
    path = written(tmp_path / "a.npz", npz({"w": np.ones(2)}))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("readme.txt", "x")
    assert open_checkpoint(path).notes == ("members not read, as they are no arrays: readme.txt",)


@pytest.mark.parametrize("save", SAVES)
def test_a_saved_state_of_optax_is_the_optimizers(tmp_path, save):
    path = written(tmp_path / "train.npz", npz(adam_tree(), save))
    checkpoint = open_checkpoint(path)
    assert {t.name for t in checkpoint.tensors if t.kind.is_parameter} == {
        "up/kernel", "up/bias", "ln/scale",
    }  # fmt: skip
    assert {tensor.name for tensor in checkpoint.optimizer} == {
        name for name in adam_tree() if name.startswith("opt/")
    }
    told = {"optimizer": "adamw", "lr": 1e-3, "beta1": 0.9, "beta2": 0.98, "eps": 1e-8}
    rows = {row["name"]: row for row in scalecheck.translate(path, **told).rows}
    for name, row in rows.items():
        mu, nu = (adam_tree()[f"opt/0/{word}/{name}"].astype(float) for word in ("mu", "nu"))
        update = mu / (1 - 0.9**30) / (np.sqrt(nu / (1 - 0.98**30)) + 1e-8)
        assert row["update_rms"] == pytest.approx(np.sqrt(np.mean(update**2)), rel=1e-9)
    assert len(rows) == 3


def test_optax_does_not_say_which_optimizer_it_is(tmp_path):
    path = written(tmp_path / "train.npz", npz(adam_tree()))
    report = scalecheck.translate(path, lr=1e-3)
    assert all(row["update_rms"] is None for row in report.rows)
    assert any("optax saves the moments, not which optimizer" in note for note in report.notes)


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"


def of_header(text, data=bytes(8), version=1):
    size = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode() + data


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_the_header_is_read(tmp_path, version):
    path = written(tmp_path / "w.npy", of_header(HEADER, version=version))
    assert tensors(path)["w"].shape == (2,)


def test_shapes_as_python_2_wrote_them_are_read(tmp_path):
    path = written(tmp_path / "w.npy", of_header(HEADER.replace("2,", "2L,")))
    assert tensors(path)["w"].shape == (2,)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (of_header(HEADER, bytes(7)), "F32 [2] needs 8 bytes and has 7"),
        (of_header(HEADER, bytes(9)), "F32 [2] needs 8 bytes and has 9"),
        (of_header(HEADER, version=4), "is of version 4 of the format, and 1 to 3 are read"),
        (of_header("{" + "[" * 9000), "has a header that is no literal"),
        (of_header("-" * 9999), "has a header that is no literal"),
        (of_header("x" * 10_001), "has a header of 10001 bytes, the limit is 10000"),
        (of_header("__import__('os').abort()"), "has a header that is no literal"),
        (of_header("{'descr': '<f4'}"), "has a header without its three entries"),
        (of_header(HEADER.replace("(2,)", "(-2,)")), "has a shape that is none: (-2,)"),
        (of_header(HEADER.replace("(2,)", "(True,)")), "has a shape that is none: (True,)"),
        (of_header(HEADER.replace("2,", "1," * 65)), "has 65 dimensions, the limit is 64"),
        (of_header(HEADER.replace("2,", f"{1 << 40}, {1 << 40}")), f"has {1 << 80} elements"),
        (of_header(HEADER.replace("False", "0")), "has a fortran_order that is 0"),
        (of_header(HEADER.replace("<f4", "<q4")), "has a type that is not known: <q4"),
        (of_header(HEADER.replace("'<f4'", "[('a',)]")), "has a field that is none: ('a',)"),
        (of_header(HEADER)[:30], "is truncated: 30 bytes, its header ends at"),
    ],
)  # fmt: skip
def test_a_damaged_array_is_refused(tmp_path, content, said):
    assert problem(written(tmp_path / "w.npy", content)).startswith(said)


def of_members(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def test_a_zip_without_arrays_says_what_it_holds(tmp_path):
    content = npz({})
    path = written(tmp_path / "none.npz", content)
    assert problem(path) == "holds no array and 0 other members"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path):
    path = of_members(tmp_path / "a.npz", {"w.npy": npy(np.ones(2))})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("w.npy", npy(np.zeros(2)))
    assert problem(path) == "has 2 members named w.npy"


def damaged_stream(path, edit):
    """A compressed array whose packed bytes are edited, its sizes as they were."""
    of_members(path, {"w.npy": npy(np.arange(9000.0))}, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    start = 30 + len("w.npy")
    with zipfile.ZipFile(path) as file:
        edit(content, start, start + file.infolist()[0].compress_size)
    return written(path, content)


def test_a_damaged_stream_is_refused_when_it_is_read(tmp_path):
    def edit(content, _, end):
        content[end - 400 : end - 300] = bytes(100)

    path = damaged_stream(tmp_path / "a.npz", edit)
    with pytest.raises(scalecheck.CheckpointError, match=r"has damaged member w\.npy"):
        scalecheck.inspect(path)


def test_a_stream_of_another_content_is_refused(tmp_path):
    """Its checksum says so."""
    path = tmp_path / "a.npz"
    of_members(path, {"w.npy": npy(np.arange(9.0))}, zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    old = zlib.crc32(npy(np.arange(9.0))).to_bytes(4, "little")
    written(path, content.replace(old, bytes(4)))
    with pytest.raises(scalecheck.CheckpointError, match="not what its checksum says"):
        scalecheck.inspect(path)


def test_a_size_that_deflate_cannot_pack_is_refused(tmp_path):
    file = io.BytesIO()
    path = of_members(tmp_path / "a.npz", {"w.npy": npy(np.zeros(99))}, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    for place in (22, content.index(b"PK\x01\x02") + 24):
        content[place : place + 4] = (1 << 30).to_bytes(4, "little")
    said = "w: 1073741824 bytes packed into"
    assert problem(written(path, content)).startswith(said)
    assert not file.getvalue()


def test_a_large_array_of_zeros_takes_no_memory(tmp_path):
    """A mebibyte of file that is a gibibyte: it is read in blocks."""
    path = tmp_path / "zeros.npz"
    head = of_header(HEADER.replace("(2,)", f"({1 << 26},)"), b"")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("w.npy", "w") as out:
        out.write(head)
        for _ in range(256):
            out.write(bytes(1 << 20))
    done, _, peak = cost_of("inspect", path)
    assert done.code == 0
    assert "67,108,864 zeros" in done.out
    assert peak < 128 << 20


def test_python_objects_are_no_codes(tmp_path):
    np.save(tmp_path / "o.npy", {"w": np.ones(3)}, allow_pickle=True)
    report = scalecheck.inspect(tmp_path / "o.npy")
    assert report.skipped[0]["reason"] == "Python objects, kept as a pickle: not read"
    assert not any("quantised" in note for note in report.notes)
