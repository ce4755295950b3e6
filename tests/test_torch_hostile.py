"""torch files that want to run code, fill the memory, or lie about what they hold."""

import copyreg
import io
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opcodes import Runs, integer, nested, storage, tensor, text, torch_zip
from process import problem_of

from scalecheck.checkpoint.formats.torch import load
from scalecheck.checkpoint.malformed import Malformed
from scalecheck.checkpoint.pickle import torch_zip as torch_zip_reader
from scalecheck.checkpoint.pickle import tree as pickled_tree
from scalecheck.checkpoint.pickle import unpickle
from scalecheck.checkpoint.pickle.inert import Foreign, Placeholder
from scalecheck.checkpoint.pickle.torch_globals import Globals
from scalecheck.errors import CheckpointError

FOUR = struct.pack("<4f", 0, 1, 2, 3)
ROOT = b"\x80\x02}" + text("w") + tensor() + b"s."


def of_opcodes(tmp_path, opcodes):
    return torch_zip(tmp_path / "model.pt", b"\x80\x02" + opcodes + b".", **{"0": FOUR})


problem = partial(problem_of, load)


def tree(content):
    """The object of a pickle as the reader has it."""
    names = Globals()
    return unpickle.unpickle(io.BytesIO(content), names.known, names.persistent)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [True, False])
def test_no_call_in_a_file_is_made(tmp_path, protocol, zipped):
    touched = tmp_path / "touched"
    attack = [
        Runs(os.system, f"touch {touched}"),
        Runs(exec, f"open({str(touched)!r}, 'w')"),
        Runs(getattr, "text", "upper"),
        Runs(setattr, Runs(__import__, "sys"), "hacked", True),
    ]
    path = tmp_path / "model.pt"
    torch.save(
        {"w": torch.ones(2), "attack": attack},
        path,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    checkpoint = load(path)
    assert [one.name for one in checkpoint.tensors] == ["w"]
    (note,) = checkpoint.notes
    assert note.startswith("set aside, not run: ")
    assert "system" in note
    assert not touched.exists()
    assert not hasattr(sys, "hacked")


def test_a_name_of_the_file_is_never_imported(tmp_path, monkeypatch):
    (tmp_path / "imported_by_a_pickle.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(tree(b"cimported_by_a_pickle\nClass\n."), Foreign)
    assert isinstance(tree(b"(iimported_by_a_pickle\nClass\n."), Placeholder)
    assert "imported_by_a_pickle" not in sys.modules


@pytest.mark.parametrize(
    "opcodes",
    [
        b"cbuiltins\ngetattr\n(cos\nsystem\nX\x01\x00\x00\x00xtR",
        b"\x8c\x02os\x8c\x06system\x93)R",
        b"\x8c\x05torch\x8c\x16_utils.os.system.upper\x93)\x81",
        b"cos\nsystem\n)}\x92",
        b"(cos\nsystem\nX\x01\x00\x00\x00xo",
        b"cos\nsystem\n)R)R)R",
        b"K\x01)R",
        b"cos\nsystem\n)\x81}(X\x09\x00\x00\x00__class__cos\nsystem\nub",
        b"cos\nsystem\n)\x81(NNtb",
        b"cos\nsystem\n)\x81(K\x01K\x02e",
        b"cos\nsystem\n)\x81(K\x01K\x02u",
        b"cos\nsystem\n)\x81(K\x01K\x02\x90",
        b"\x82\x01)R",
        b"\x83\x01\x02)R",
        b"\x84\x01\x02\x03\x04)R",
    ],
    ids=[
        *(
            "getattr",
            "stack global",
            "dotted name",
            "newobj ex",
            "obj",
            "call of a call",
            "call of a number",
        ),
        *("class in a state", "slots", "append", "set item", "add items", "ext1", "ext2", "ext4"),
    ],
)
def test_calls_states_and_items_of_foreign_objects_make_placeholders(opcodes):
    made = tree(b"\x80\x04" + opcodes + b".")
    assert type(made) is Placeholder


def test_the_extension_registry_is_not_asked():
    copyreg.add_extension("os", "system", 77)
    try:
        made = tree(b"\x80\x02\x82\x4d.")
    finally:
        copyreg.remove_extension("os", "system", 77)
    assert str(made) == "copyreg.extension 77"


@pytest.mark.parametrize(
    "opcodes",
    [
        b"K\x01K\x02R",
        b"K\x01K\x02a",
        b"K\x01K\x02K\x03s",
        b"](K\x01u",
        b"}(K\x01u",
        b"t",
        b"0",
        b"R",
        b"h\x00",
        b"g99\n",
        b"Pid\n",
        b"K\x01Q",
        b")Q",
        b"\x97",
        b"p-1\n",
        b"p99999999999999999999\n",
        b"X\xff\xff\xff\xffabc",
        b"\x8b\xff\xff\xff\xff",
        b"\x8b\xff\xff\xff\x7f",
        b"\x8d" + b"\xff" * 8,
        b"\x96" + struct.pack("<Q", 1 << 40),
        b"X\x01\x00\x00\x00\xff",
        b"I" + b"9" * 5000 + b"\n",
        b"\xff",
        b"\x93",
        b"K\x01K\x02\x93",
        b"c" + b"a" * 300 + b"\nb\n",
    ],
)
def test_opcodes_that_no_pickler_writes_are_refused(opcodes):
    """Empty stacks, unset memos, lengths past the end, text in place of numbers."""
    with pytest.raises(Malformed):
        tree(b"\x80\x04" + opcodes + b"a" + b".")


@pytest.mark.parametrize("index", [1 << 31, (1 << 32) - 1])
def test_a_memo_takes_room_for_what_it_holds_and_not_for_its_largest_index(index):
    tracemalloc.start()
    try:
        assert tree(b"\x80\x02]r" + struct.pack("<I", index) + b".") == []
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_keys_of_a_file_are_not_hashed_by_their_content():
    """A tuple so deep overflows the C stack when hashed; chosen integers and tuples collide."""
    deep = b")" + b"\x85" * 200_000
    assert len(tree(b"\x80\x02}(" + deep + b"N" + deep + b"NK\x01Nu.")) == 3


def test_a_circle_of_placeholders_is_walked_once(tmp_path):
    circle = b"ca\nb\n)\x81q\x00}(X\x01\x00\x00\x00wh\x00X\x01\x00\x00\x00v" + tensor() + b"ub"
    checkpoint = load(of_opcodes(tmp_path, circle))
    assert [one.name for one in checkpoint.tensors] == ["v"]


def test_tensors_are_found_down_to_the_deepest_that_is_read(tmp_path):
    (found,) = load(of_opcodes(tmp_path, nested(pickled_tree.MAX_DEPTH, tensor()))).tensors
    assert found.name.endswith("0.0.0")
    assert "deeper than 200" in problem(
        of_opcodes(tmp_path, nested(pickled_tree.MAX_DEPTH + 1, tensor()))
    )


def test_no_depth_overflows_the_stack(tmp_path):
    assert "deeper than 10000" in problem(of_opcodes(tmp_path, nested(50_000, tensor())))


def test_a_name_of_a_million_characters_is_refused(tmp_path):
    said = problem(of_opcodes(tmp_path, b"}X\x40\x42\x0f\x00" + b"n" * 1_000_000 + tensor() + b"s"))
    assert said == "holds a tensor with a name of 1025 characters"


def test_a_pickle_of_too_many_opcodes_is_refused(monkeypatch):
    monkeypatch.setattr(unpickle, "MAX_OPCODES", 1000)
    with pytest.raises(Malformed, match="more than 1000 opcodes"):
        tree(b"\x80\x02" + b"]0" * 1000 + b"N.")


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ({"shape": (5,)}, "w: elements 0..5 past the end of its storage (4 elements)"),
        ({"offset": 3}, "w: elements 3..5 past the end of its storage (4 elements)"),
        ({"strides": (4,)}, "w: elements 0..5 past the end of its storage (4 elements)"),
        (
            {"shape": (1 << 40, 1 << 20), "strides": (1 << 20, 1)},
            f"w: elements 0..{1 << 60} past the end of its storage (4 elements)",
        ),
        ({"offset": (1 << 63) - 1}, f"w: elements {(1 << 63) - 1}..{(1 << 63) + 1} past the end"),
        ({"numel": 5}, "w: storage 0 of 20 bytes has 16 in the file"),
        ({"shape": (-1,)}, "shape is no integer from 0 to 2^63"),
        ({"shape": (True,)}, "shape is no integer from 0 to 2^63"),
        ({"shape": (1 << 63,)}, "shape is no integer from 0 to 2^63"),
        ({"shape": (1 << 50_000,)}, "shape is no integer from 0 to 2^63"),
        ({"shape": (1.5,)}, "shape is no integer from 0 to 2^63"),
        ({"strides": (-1,)}, "strides is no integer from 0 to 2^63"),
        ({"offset": -1}, "offset is no integer from 0 to 2^63"),
        ({"offset": False}, "offset is no integer from 0 to 2^63"),
        ({"numel": -1}, "storage size is no integer from 0 to 2^63"),
        ({"shape": (2, 2)}, "a tensor of 2 dimensions with 1 strides"),
        ({"shape": (1,) * 65, "strides": (1,) * 65}, "shape has 65 dimensions"),
        ({"shape": (1 << 32, 1 << 32), "strides": (0, 0)}, "number of elements is no integer"),
    ],
)
def test_a_view_that_does_not_fit_is_refused_with_the_numbers(tmp_path, view, said):
    path = of_opcodes(tmp_path, b"}" + text("w") + tensor(**view) + b"s")
    assert said in problem(path)


@pytest.mark.parametrize(("start", "size", "fits"), [(1, 3, True), (1, 2, False), (2, 3, False)])
def test_a_view_of_a_storage_bounds_its_tensors(tmp_path, start, size, fits):
    """Torch before 0.4 kept such views, as (key, start, size)."""
    view = b"(X\x01\x00\x00\x00v" + integer(start) + integer(size) + b"t"
    path = of_opcodes(tmp_path, tensor(offset=1, of=storage(view=view)))
    if fits:
        assert load(path).tensors[0].words().tolist() == [start + 1, start + 2]
    else:
        assert "past" in problem(path)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "w: has no member data/0"),
        ({"m/data/0": b""}, "w: storage 0 of 16 bytes has 0 in the file"),
        ({"m/byteorder": b"big"}, "has a byte order that is not read: b'big'"),
        ({"m/byteorder": bytes(17)}, "has member m/byteorder of 17 bytes, the limit is 16"),
        (
            {"n/data.pkl": b""},
            "has member n/data.pkl outside of its folder m/: torch.save writes one folder",
        ),
    ],
)
def test_an_archive_that_lacks_or_contradicts_is_refused(tmp_path, members, said):
    path = torch_zip(tmp_path / "model.pt", ROOT)
    with zipfile.ZipFile(path, "a") as file:
        for name, stored in members.items():
            file.writestr(name, stored)
    assert problem(path) == said


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path):
    path = of_opcodes(tmp_path, tensor())
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("m/data/0", bytes(16))
    assert problem(path) == "has 2 members named m/data/0"


def test_a_zip_of_something_else_says_what_it_holds(tmp_path):
    path = tmp_path / "arrays.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("a.json", "b.npy", "c.npy", "d.npy"):
            file.writestr(name, b"")
    assert problem(path) == (
        "is a zip of 4 members that torch.save did not write:"
        " no data.pkl beside a.json, b.npy, c.npy, …"
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_zip_bomb_is_not_inflated(tmp_path, method):
    """It claims 64 bytes for what inflates to 16 MiB."""
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("m/data.pkl", bytes(1 << 24))
    content = bytearray(path.read_bytes())
    for place in (22, content.index(b"PK\x01\x02") + 24):
        content[place : place + 4] = struct.pack("<I", 64)
    path.write_bytes(content)
    tracemalloc.start()
    try:
        assert "m/data.pkl" in problem(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def test_a_pickle_larger_than_the_limit_is_not_read(tmp_path, monkeypatch):
    path = torch_zip(tmp_path / "model.pt", bytes(1001))
    monkeypatch.setattr(torch_zip_reader, "MAX_PICKLE_NBYTES", 1000)
    assert problem(path) == "has member m/data.pkl of 1001 bytes, the limit is 1000"


def legacy(tmp_path, *pickles, data=b""):
    path = tmp_path / "model.pt"
    path.write_bytes(b"".join(one if type(one) is bytes else dumped(one) for one in pickles) + data)
    return path


def dumped(obj):
    return pickle.dumps(obj, 2)


MAGIC, SYSTEM = 0x1950A86A20F9469CFC6C, {"little_endian": True}
DATA = struct.pack("<q", 4) + bytes(16)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (({"lr": 1},), "is a pickle without the magic number of torch.save"),
        ((b"\x80\x02" + b"]" * 100,), "is a pickle without the magic number of torch.save"),
        ((MAGIC, 1000), "is torch's legacy format in a version other than 1001"),
        ((MAGIC, 1001, {"little_endian": False}), "is big-endian, which is not read"),
        ((MAGIC, 1001, SYSTEM, ROOT, "0"), "has no list of storages behind its pickle"),
        ((MAGIC, 1001, SYSTEM, ROOT, ["1"]), "lists a storage that its pickle does not name"),
        ((MAGIC, 1001, SYSTEM, ROOT, [["0"]]), "lists a storage that its pickle does not name"),
        ((MAGIC, 1001, SYSTEM, ROOT, []), "w: does not list storage 0"),
    ],
    ids=str,
)
def test_a_row_of_pickles_that_torch_did_not_write_is_refused(tmp_path, parts, said):
    assert problem(legacy(tmp_path, *parts, data=DATA)) == said


@pytest.mark.parametrize("numel", [0, 3, 5, -1, (1 << 63) - 1])
def test_a_storage_that_counts_other_elements_than_its_pickle_is_refused(tmp_path, numel):
    data = struct.pack("<q", numel) + bytes(16)
    said = problem(legacy(tmp_path, MAGIC, 1001, SYSTEM, ROOT, ["0"], data=data))
    assert said == f"has {numel} elements in storage 0, its pickle says 4"


def small():
    return OrderedDict(w=torch.arange(3.0), b=torch.ones(2, dtype=torch.float16))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_truncated_at_any_byte_is_refused(tmp_path, zipped):
    path = tmp_path / "model.pt"
    torch.save(small(), path, _use_new_zipfile_serialization=zipped)
    assert len(load(path).tensors) == 2
    for nbytes in reversed(range(path.stat().st_size)):
        os.truncate(path, nbytes)
        assert problem(path)


def read_or_refused(path):
    """The checkpoint, or None where it is refused in one line."""
    try:
        return load(path)
    except CheckpointError as error:
        said = error.problem
    assert said.isprintable()
    return None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(zipped=st.booleans(), data=st.data())
def test_damage_anywhere_is_refused_or_read(tmp_path, zipped, data):
    """Nothing but a CheckpointError comes out, and no tensor lies outside its file."""
    path = tmp_path / "model.pt"
    torch.save(small(), path, _use_new_zipfile_serialization=zipped)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    if checkpoint := read_or_refused(path):
        for one in checkpoint.tensors:
            if one.unmeasured is None:
                one.words()
                assert one.offset + one.span * one.dtype.itemsize <= len(content)


OPCODES = [bytes([code]) for code in range(256)]
PIECES = [tensor(), b"ca\nb\n", b"ca\nb\n)R", b"K\x01", b"X\x01\x00\x00\x00w", b"h\x00", b"}", b"]"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(pieces=st.lists(st.sampled_from(OPCODES) | st.sampled_from(PIECES), max_size=30))
def test_any_row_of_opcodes_is_refused_or_read(tmp_path, pieces):
    read_or_refused(of_opcodes(tmp_path, b"".join(pieces)))


def test_several_archives_in_one_file_are_refused(tmp_path):
    """As torch.distributed.checkpoint lays them end to end: zipfile sees the last one only."""
    path = tmp_path / "__0_0.distcp"
    parts = []
    for number in range(3):
        torch.save(torch.full((4,), float(number)), tmp_path / "one.pt")
        parts.append((tmp_path / "one.pt").read_bytes())
    path.write_bytes(b"".join(parts))
    with pytest.raises(CheckpointError, match="several archives in one file"):
        load(path)
