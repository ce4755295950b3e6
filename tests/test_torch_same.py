"""Pickles that torch reads as other tensors than they seem to hold: refused, or read as torch
does."""

import struct
import zipfile
from collections import Counter, OrderedDict, defaultdict
from functools import partial

import numpy as np
import pytest
import torch
from opcodes import called, integer, named, numbers, storage, tensor, text, torch_zip
from process import problem_of

import scalecheck
from scalecheck.checkpoint.formats.torch import load

SOUND = struct.pack("<4f", 0.1, -0.2, 0.3, -0.4)
BAD = struct.pack("<4f", float("nan"), float("inf"), 1e30, 7)
ORDERED = called("collections.OrderedDict")
GOOD, EVIL = tensor((4,)), tensor((4,), of=storage(key="1"))
OTHER = b"(" + storage(key="1") + integer(0) + numbers(4) + numbers(1) + b"t"
DATA = b"}" + text("data") + EVIL + b"s"
VIEW = (storage(), integer(0), numbers(4), numbers(1), b"\x89", ORDERED)

problem = partial(problem_of, load)


def of(tmp_path, opcodes):
    path = torch_zip(tmp_path / "model.pt", b"\x80\x02" + opcodes + b".", **{"0": SOUND, "1": BAD})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/version", "3\n")
    return path


def parameter(state):
    return called("torch._utils._rebuild_parameter_with_state", GOOD, b"\x88", ORDERED, state)


def of_type(state):
    rebuilt = named("torch._utils._rebuild_tensor_v2"), named("torch.Tensor")
    arguments = b"(" + b"".join(VIEW) + b"t"
    return called("torch._tensor._rebuild_from_type_v2", *rebuilt, arguments, state)


def typed(kind, numel=4):
    """A storage of another type than float32, under the key of a float32 one."""
    return storage(numel).replace(b"FloatStorage", kind)


def third(dtype):
    return called("torch._utils._rebuild_tensor_v3", *VIEW, named(f"torch.{dtype}"))


def with_metadata(entry):
    return called("torch._utils._rebuild_tensor_v2", *VIEW, b"}" + entry)


def view_of(start):
    return storage(view=b"(" + text("v") + integer(start) + integer(2) + b"t")


WRITES = {
    "set_": (GOOD + OTHER + b"b", "sets the state of a tensor"),
    "variable": (
        GOOD + b"(" + EVIL + b"N\x89" + ORDERED + b"\x89tb",
        "sets the state of a tensor",
    ),
    "parameter": (
        called("torch._utils._rebuild_parameter", GOOD, b"\x89", ORDERED) + OTHER + b"b",
        "sets the state of a tensor",
    ),
    "class": (
        named("torch.nn.parameter.Parameter") + GOOD + b"\x89\x86\x81" + OTHER + b"b",
        "sets the state of a tensor",
    ),
    "storage": (
        storage() + b"}" + text("_untyped_storage") + storage(key="1") + b"sb",
        "sets the state of a StorageRecord",
    ),
    "dict": (b"}" + text("w") + GOOD + b"s}b", "sets the state of a dict"),
    "twice": (ORDERED + b"}b}b", "sets the state of a OrderedDict"),
    "parameter's slots": (
        parameter(b"N" + DATA + b"\x86"),
        "has a tensor whose attributes set its data",
    ),
    "parameter's dict": (parameter(DATA), "has a tensor whose attributes set its data"),
    "tensor's slots": (
        of_type(b"N" + DATA + b"\x86"),
        "has a tensor whose attributes set its data",
    ),
    "real part": (
        of_type(DATA.replace(text("data"), text("real"))),
        "has a tensor whose attributes set its real",
    ),
    "list": (
        called("torch.Tensor", b"](" + b"G" + struct.pack(">d", float("nan")) + b"e"),
        "makes a tensor by calling its class",
    ),
    "empty and set": (
        named("torch.FloatTensor") + b")\x81" + OTHER + b"b",
        "makes a tensor by calling its class",
    ),
    "new storage": (
        called("torch.storage.UntypedStorage", b"]"),
        "makes a storage by calling its class",
    ),
    "type": (
        typed(b"HalfStorage") + b"0" + GOOD,
        "has storage 0 as 4 of float16 and as 4 of float32",
    ),
    "size": (storage(2) + b"0" + GOOD, "has storage 0 as 2 of float32 and as 4 of float32"),
    "view": (
        view_of(0) + b"0" + tensor(of=view_of(2)),
        "has two stretches of storages named v",
    ),
    "narrower": (third("float16"), "has a tensor of float16 over a storage of float32"),
    "wider": (third("float64"), "has a tensor of float64 over a storage of float32"),
    "converted": (
        called(
            "torch._utils._rebuild_device_tensor_from_cpu_tensor",
            *(GOOD, named("torch.float16"), text("cpu"), b"\x89"),
        ),
        "has a tensor of a device that is converted to another type",
    ),
    "flag": (with_metadata(text("neg") + b"K\x01s"), "has a tensor whose metadata are no flags"),
    "hooks": (
        called("torch._utils._rebuild_tensor_v2", *VIEW[:5], b"}K\x01" + EVIL + b"s"),
        "has a tensor with hooks",
    ),
    "parameter's hooks": (
        called("torch._utils._rebuild_parameter", GOOD, b"\x89", b"}K\x01" + EVIL + b"s"),
        "has a tensor with hooks",
    ),
    "parameter of nothing": (
        called("torch._utils._rebuild_parameter", b"N", b"\x89", ORDERED),
        "makes a parameter of what is no tensor",
    ),
    "counted": (
        called("collections.Counter", b"](" + EVIL + b"e"),
        "has a dict of something other than a dict",
    ),
    "True and 1": (
        b"}K\x01" + GOOD + b"s\x88" + EVIL + b"s",
        "has the keys 1 and True in one dict",
    ),
    "1.0 and 1": (
        b"}G" + struct.pack(">d", 1) + EVIL + b"sK\x01" + GOOD + b"s",
        "has 1 twice among the keys of a dict, once as another type",
    ),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_no_writer_makes_is_refused_and_how_to_save_it_is_said(name, tmp_path):
    opcodes, what = WRITES[name]
    path = of(tmp_path, b"}" + text("w") + opcodes + b"s" + text("sound") + GOOD + b"s")
    anew = "which torch.save never writes: load it in torch and save its state_dict() anew"
    assert problem(path) == f"{what}, {anew}"


@pytest.mark.parametrize("kind", ["collections.OrderedDict", "collections.Counter"])
def test_a_dict_that_torch_copies_does_not_change_with_its_source(kind, tmp_path):
    source = b"}q\x00" + text("w") + EVIL + b"s0"
    changed = b"h\x00" + text("w") + GOOD + b"s0"
    path = of(tmp_path, source + named(kind) + b"h\x00\x85Rq\x010" + changed + b"h\x01")
    assert torch.load(path, weights_only=False)["w"].isnan().any()
    (found,) = load(path).tensors
    assert found.words().tobytes() == BAD


def test_pairs_of_python_2_are_copied(tmp_path):
    pairs = b"]q\x00(" + text("w") + EVIL + b"\x86q\x05e0"
    changed = b"h\x00(" + text("w") + GOOD + b"\x86e0"
    made = named("collections.OrderedDict") + b"h\x00\x85Rq\x010"
    (found,) = load(of(tmp_path, pairs + made + changed + b"h\x01")).tensors
    assert found.words().tobytes() == BAD


def test_copies_hold_no_more_than_the_pickle_has_bytes(tmp_path):
    entries = b"".join(integer(n) + b"N" for n in range(2000))
    again = (named("collections.OrderedDict") + b"h\x00\x85R0") * 20
    path = of(tmp_path, b"}(" + entries + b"uq\x000" + again + GOOD)
    assert problem(path).startswith("its pickle copies more than its ")


def test_strings_of_python_2_are_utf_8(tmp_path):
    latin, other = "\xc3\xa9", GOOD + b"s"
    path = of(tmp_path, b"}U\x02\xc3\xa9" + other + text(latin) + other)
    assert [one.name for one in load(path).tensors] == ["\xe9", latin] == [*torch.load(path)]


@pytest.mark.parametrize(
    ("opcodes", "name"),
    [
        (ORDERED + text("w") + GOOD + b"s}" + text("_metadata") + EVIL + b"sb", "_metadata"),
        (b"}" + text("w") + GOOD + b"s" + EVIL + text("k") + b"s", "#1 key"),
        (b"}" + text("w") + GOOD + b"s" + text("kept") + storage(key="1") + b"s", "kept"),
        (
            b"}" + text("w") + GOOD + b"s" + storage(key="1") + text("k") + b"s",
            "#1 key",
        ),
        (
            b"}" + called("torch.device", text("cpu")) + EVIL + b"s" + text("cpu") + GOOD + b"s",
            "#0",
        ),
    ],
    ids=["attribute of a dict", "key", "storage", "storage as a key", "device as a key"],
)
def test_a_tensor_wherever_it_lies_is_judged(opcodes, name, tmp_path):
    report = scalecheck.check(of(tmp_path, opcodes), jobs=1)
    assert ("SC101", name) in [(one.rule, one.where) for one in report.findings]


def test_a_tensor_with_tensors_among_its_attributes_is_not_measured(tmp_path):
    path = of(tmp_path, b"}" + text("w") + parameter(DATA.replace(b"data", b"gain")) + b"s")
    (found,) = load(path).tensors
    assert found.unmeasured == "a tensor with attributes that are not read"


NAN = float("nan")


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (np.array([NAN, 1.0]), "a numpy array in the pickle: save it as a tensor"),
        (np.ones((2, 3), np.float32).T, "a numpy array in the pickle: save it as a tensor"),
        (np.ones(1 << 18), "a numpy array in the pickle: save it as a tensor"),
        ([1.0, NAN], "a list of numbers, of which 1 of 2 are NaN or inf"),
    ],
    ids=["array", "transposed", "large", "list"],
)
def test_numbers_in_a_pickle_are_no_weights_that_passed(numbers, said, protocol, tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"w": torch.ones(2), "v": numbers}, path, pickle_protocol=protocol)
    report = scalecheck.check(path, jobs=1, select=["SC107"])
    assert [(one.where, said in one.message) for one in report.findings] == [("v", True)]
    assert "::error" in report.rendered("github")


def test_what_trainers_keep_beside_a_model_is_not_told(tmp_path):
    beside = {
        "numpy": np.random.default_rng(0).bit_generator.state,
        "generator": np.random.RandomState(0).get_state(),
        "losses": [1.0, 0.5],
        "best": float("inf"),
        "scalar": np.float64(3),
        "steps": np.arange(3),
    }
    torch.save({"w": torch.ones(2), **beside}, tmp_path / "model.pt")
    assert scalecheck.check(tmp_path / "model.pt", jobs=1, select=["SC107"]).findings == []


class Marked(torch.nn.Parameter):
    """A parameter of a class of its own."""


def tagged(kept):
    kept.tag = {"axis": 1, "names": ["a"], "dtype": torch.float16}
    return kept


ORDINARY = {
    "parameter with attributes": lambda: tagged(torch.nn.Parameter(torch.ones(2))),
    "tensor with attributes": lambda: tagged(torch.ones(2)),
    "parameter of a class": lambda: Marked(torch.ones(2)),
    "buffer": lambda: torch.nn.Buffer(torch.ones(2)),
    "storage of bytes": lambda: torch.ones(2, dtype=torch.uint16),
    "view of a view": lambda: torch.ones(4)[1:][:2],
}


@pytest.mark.parametrize("name", ORDINARY)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_writes_is_read(name, zipped, tmp_path):
    path = tmp_path / "model.pt"
    beside = {
        "counts": Counter("aab"),
        "lists": defaultdict(list, a=[1]),
        "set": {1, 2},
        "bytes": b"\xff",
        "ordered": OrderedDict(a=1),
        "uninitialized": torch.nn.parameter.UninitializedParameter(),
        "layout": torch.strided,
        "device": torch.device("cpu"),
    }
    torch.save({"w": ORDINARY[name](), **beside}, path, _use_new_zipfile_serialization=zipped)
    (found,) = load(path).tensors
    assert (found.name, found.unmeasured, set(found.array().flat)) == ("w", None, {1.0})


def test_a_long_name_is_refused(tmp_path):
    entry = b"}" + text("w" * ((1 << 20) + 1)) + GOOD + b"s"
    assert problem(of(tmp_path, entry)) == "its pickle has a key of 1048577 bytes"


def test_members_that_no_pickle_names_are_listed(tmp_path):
    path = of(tmp_path, b"}" + text("w") + GOOD + b"s")
    assert load(path).notes == ("members not read, as no pickle names them: data/1",)
    path = of(tmp_path, b"}" + text("w") + GOOD + b"s" + text("v") + EVIL + b"s")
    assert load(path).notes == ()
