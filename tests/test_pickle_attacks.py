"""The public tricks of hostile pickles and zips: each runs under `pickle.load`, and none here; and
files of some kilobytes that stand for more than any memory are refused within a bound of it."""

import io
import marshal
import math
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from functools import partial

import pytest
from opcodes import called, doubled, integer, named, storage, tensor, text, torch_zip
from process import bounded, is_refusal, limited, problem_of
from states import open_state

import scalecheck
from scalecheck.checkpoint.formats.torch import MAX_OVERLAP, load
from scalecheck.checkpoint.pickle import contents, tree
from scalecheck.checkpoint.states.state_reader import MAX_SETTINGS
from scalecheck.errors import CheckpointError

MIB = 1 << 20


def binary(content):
    """Pushes bytes."""
    return b"B" + struct.pack("<I", len(content)) + content


def touch(path):
    """Pushes the command that leaves a file."""
    return text(f"touch {path}")


def statement(path):
    """Pushes the statement that leaves a file."""
    return text(f"open({path!r}, 'w').close()")


def stacked(module, name):
    """Pushes a global by two texts, of which the second may have dots."""
    return text(module) + text(name) + b"\x93"


def mapped(path):
    """Pushes map(os.system, [command]), which runs when it is gone through."""
    return named("builtins.map") + b"(" + named("os.system") + b"]" + touch(path) + b"at\x81"


def function(path):
    """Pushes a function of marshalled code."""
    code = marshal.dumps(compile(f"open({path!r}, 'w').close()", "m", "exec"))
    loaded = called("marshal.loads", binary(code))
    return called("types.FunctionType", loaded, called("builtins.globals"))


def command(path):
    """Pushes what os.system makes of the command."""
    return called("os.system", touch(path))


def applied(function, *arguments):
    """Pushes what an object makes of arguments, all of them opcodes."""
    return function + b"(" + b"".join(arguments) + b"tR"


def setter(path, state):
    """Pushes an object that was given os.system for its __setstate__, and then a state."""
    return called("types.SimpleNamespace") + state + b"b" + touch(path) + b"b"


SETSTATE = b"}" + text("__setstate__") + named("os.system") + b"s"
IN_BYTES = named("builtins.bytes")  # which goes through what it is made of

ATTACKS = {
    "os.system": command,
    "posix.system": lambda path: called("posix.system", touch(path)),
    "subprocess": lambda path: called("subprocess.call", b"](" + text("touch") + text(path) + b"e"),
    "shell": lambda path: called("subprocess.getoutput", touch(path)),
    "exec": lambda path: called("builtins.exec", statement(path)),
    "eval": lambda path: called("builtins.eval", statement(path)),
    "getattr": lambda path: applied(
        called("builtins.getattr", called("importlib.import_module", text("os")), text("system")),
        touch(path),
    ),
    "__import__": lambda path: applied(
        called("operator.methodcaller", text("system"), touch(path)),
        called("builtins.__import__", text("os")),
    ),
    "partial": lambda path: applied(called("functools.partial", named("os.system"), touch(path))),
    "timeit": lambda path: called(
        "timeit.timeit", statement(path), text("pass"), named("time.time"), b"K\x01"
    ),
    "runpy": lambda path: called("runpy._run_code", statement(path), b"}"),
    "inst": lambda path: b"(" + touch(path) + b"ios\nsystem\n",
    "obj": lambda path: b"(" + named("os.system") + touch(path) + b"o",
    "newobj": lambda path: IN_BYTES + b"(" + mapped(path) + b"t\x81",
    "newobj ex": lambda path: IN_BYTES + b"(" + mapped(path) + b"t}\x92",
    "stack global": lambda path: applied(stacked("os", "system"), touch(path)),
    "dotted name": lambda path: applied(stacked("subprocess", "os.system"), touch(path)),
    "method of a class": lambda path: applied(
        stacked("pathlib", "Path.touch"), called("pathlib.Path", text(path))
    ),
    "ext1": lambda path: applied(b"\x82\x4d", touch(path)),
    "ext2": lambda path: applied(b"\x83\x4d\0", touch(path)),
    "ext4": lambda path: applied(b"\x84\x4d\0\0\0", touch(path)),
    "state": lambda path: setter(path, SETSTATE),
    "slot": lambda path: setter(path, b"N" + SETSTATE + b"\x86"),
    "item": lambda path: called("collections.deque") + command(path) + b"a",
    "entry": lambda path: called("collections.OrderedDict") + b"N" + command(path) + b"s",
    "key": lambda path: b"}" + command(path) + b"Ns",
    "pickle": lambda path: called("pickle.loads", binary(b"\x80\x02" + command(path) + b".")),
    "pickle in C": lambda path: called("_pickle.loads", binary(command(path) + b".")),
    "marshalled code": lambda path: applied(function(path)),
    "type of torch": lambda path: called(
        "torch._tensor._rebuild_from_type_v2",
        *(named("os.system"), named("builtins.int"), b"(" + touch(path) + b"t", b"}"),
    ),
    "parameter of torch": lambda path: called(
        "torch._utils._rebuild_parameter", called("torch.zeros", b"K\x01"), b"\x88", command(path)
    ),
    "by the memo": lambda path: named("os.system") + b"p7\n0" + applied(b"g7\n", touch(path)),
    "twice on the stack": lambda path: applied(named("os.system") + b"2", touch(path)) + b"0",
    "thrown away": lambda path: command(path) + b"0N",
}
"""Opcodes that push one object, and leave a file where they are obeyed."""

LOADER = """
import copyreg, pathlib, pickle, sys, warnings
warnings.simplefilter("ignore")
copyreg.add_extension("os", "system", 77)
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.pkl")):
    try:
        pickle.loads(path.read_bytes())
    except Exception:
        pass
"""


def test_each_attack_runs_where_it_is_unpickled(tmp_path):
    """What the tests below would prove of nothing otherwise."""
    for number, attack in enumerate(ATTACKS.values()):
        content = b"\x80\x04" + attack(f"{tmp_path}/{number}.ran") + b"."
        (tmp_path / f"{number}.pkl").write_bytes(content)
    subprocess.run([sys.executable, "-c", LOADER, tmp_path], check=True, capture_output=True)
    ran = [(tmp_path / f"{number}.ran").exists() for number in range(len(ATTACKS))]
    assert [name for name, has in zip(ATTACKS, ran, strict=True) if not has] == []


def zipped(path, content, method=zipfile.ZIP_STORED, **members):
    """A zip of torch with this pickle, and a storage 0 of four float32."""
    return torch_zip(path, content, method, **{"0": bytes(16), **members})


def beside_a_tensor(attack):
    return b"\x80\x04}" + text("w") + tensor() + b"s" + text("x") + attack + b"s."


def legacy(root, *others):
    """A file of torch before 1.6 whose object is this pickle."""
    parts = (
        pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    )
    storages = pickle.dumps(["0"], 2) + struct.pack("<q", 4) + bytes(16)
    return b"".join(parts) + root + storages


def in_a_zip(attack, path):
    zipped(path, beside_a_tensor(attack))


def in_a_legacy_file(attack, path):
    path.write_bytes(legacy(beside_a_tensor(attack)))


def as_the_magic_number(attack, path):
    path.write_bytes(b"\x80\x04" + attack + b".")


def in_an_optimizer_state(attack, path):
    group = b"}" + text("params") + b"]K\x00as" + text("lr") + attack + b"s"
    state = b"}K\x00}" + text("exp_avg") + tensor() + b"s" + text("step") + attack + b"ss"
    table = b"}" + text("state") + state + b"s" + text("param_groups") + b"]" + group + b"as"
    zipped(path, b"\x80\x04}" + text("optimizer") + table + b"s" + text("w") + tensor() + b"s.")


def refusal(read, path):
    """What is said of a path; None where it is read."""
    try:
        read(path)
    except CheckpointError as error:
        return error.problem
    return None


@pytest.mark.parametrize(
    "place", [in_a_zip, in_a_legacy_file, as_the_magic_number, in_an_optimizer_state]
)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_runs(attack, place, tmp_path):
    path, ran = tmp_path / "model.pt", tmp_path / "ran"
    place(ATTACKS[attack](str(ran)), path)
    before = {*sys.modules}
    said = [
        refusal(read, path)
        for read in (scalecheck.inspect, open_state, partial(scalecheck.translate, lr=1e-3))
    ]
    assert all(line is None or line.isprintable() for line in said)
    assert not ran.exists()
    assert not {"runpy", "timeit", "marshal"} & ({*sys.modules} - before)


def test_a_tensor_beside_an_attack_is_read(tmp_path):
    for attack in ATTACKS.values():
        in_a_zip(attack(f"{tmp_path}/ran"), tmp_path / "model.pt")
        assert [one.name for one in load(tmp_path / "model.pt").tensors] == ["w"]


@pytest.mark.parametrize(
    "identity",
    [
        b"N",
        b"]",
        b"}",
        text("storage"),
        b"(" + text("storage") + b"t",
        b"(" + b"K\x01" * 5 + b"t",
        b"(" + text("storage") + b"K\x01" * 4 + b"t",
        b"(" + text("storage") + named("torch.FloatStorage") + b"K\x01K\x01K\x01t",
        b"(" + text("storage") + named("os.system") + text("0") + text("cpu") + b"K\x04t",
        b"(" + text("storage") + named("torch.FloatStorage") + text("0") + text("cpu") + b"Nt",
        storage(4)[:-2] + b"K\x01t",
        storage(4)[:-2] + b"(NK\x00K\xfftt",
        storage(4)[:-2] + b"(NK\x00J\xff\xff\xff\xfftt",
        storage(-1)[:-1],
        storage(1 << 63)[:-1],
        storage(1 << 70_000)[:-1],
        b"(" * 3 + text("storage") + b"ttt",
    ],
    ids=range(17),
)
def test_a_persistent_id_that_torch_never_writes_is_refused(identity, tmp_path):
    path = zipped(tmp_path / "model.pt", b"\x80\x02" + identity + b"Q.")
    assert problem_of(load, path)


# Bombs.


def cheaply(path, nbytes=16 * MIB, read=load):
    """The line that refuses a path, within bounds of memory and time."""
    with bounded(nbytes):
        return problem_of(read, path)


def of_opcodes(tmp_path, opcodes):
    return zipped(tmp_path / "model.pt", b"\x80\x02" + opcodes + b".")


PAIRS = {
    "lists": b"](%b%be",
    "tuples": b"%b%b\x86",
    "dicts": b"}(K\x01%bK\x02%bu",
    "arguments": b"ca\nb\n%b%b\x86R",
    "states": b"ca\nb\n)R%b%b\x86b",
    "entries": b"ca\nb\n)R(K\x01%bK\x02%bu",
    "ordered dicts": b"ccollections\nOrderedDict\n)R(K\x01%bK\x02%bu",
}


@pytest.mark.parametrize("pair", PAIRS)
def test_a_billion_laughs_are_refused(pair, tmp_path):
    path = of_opcodes(tmp_path, doubled(30, tensor(), PAIRS[pair]))
    assert cheaply(path) == f"holds more than {tree.MAX_TENSORS} tensors"


@pytest.mark.parametrize("pair", PAIRS)
def test_a_billion_laughs_about_nothing_are_looked_into_once(pair, tmp_path):
    assert cheaply(of_opcodes(tmp_path, doubled(200, b"K\x01", PAIRS[pair]))).startswith("holds ")


def test_one_tensor_under_a_million_names_is_refused(tmp_path):
    path = of_opcodes(tmp_path, doubled(20, tensor(), PAIRS["lists"]))
    assert path.stat().st_size < 1000
    assert cheaply(path) == "holds 1 tensors 1048576 times"


def test_a_tensor_under_sixteen_thousand_names_is_read(tmp_path):
    tensors = load(of_opcodes(tmp_path, doubled(14, tensor(), PAIRS["lists"]))).tensors
    assert len(tensors) == tree.FREE_REPEATS == 16_384


MANY = 2 * math.isqrt(contents.MAX_AGAIN)  # of one object: squared, too many to go through
WIDE = b"(" + b"N" * MANY + b"t"
SHARED = WIDE + b"q\x010](" + b"ca\nb\nh\x01R" * MANY + b"e"
TABLE = b"}(" + b"".join(b"J" + struct.pack("<i", n) + b"N" for n in range(MANY)) + b"u"


@pytest.mark.parametrize(
    "opcodes",
    [
        SHARED,
        TABLE + b"q\x010](" + b"ca\nb\n)Rh\x01b" * MANY + b"e",
        TABLE + b"q\x010Nh\x01\x86q\x020](" + b"ca\nb\n)Rh\x02b" * MANY + b"e",
        WIDE + b"q\x010](" + b"ca\nb\n)Rh\x01b" * MANY + b"e",
        TABLE + b"q\x010](" + b"ca\nb\n)h\x01\x92" * MANY + b"e",
    ],
    ids=["arguments", "state", "slots", "state that is a tuple", "keywords"],
)
@pytest.mark.parametrize(("read", "most"), [(load, contents.MAX_AGAIN), (open_state, 10_000)])
def test_objects_that_share_what_they_are_made_of_are_refused(
    read, most, opcodes, tmp_path, monkeypatch
):
    monkeypatch.setattr(contents, "MAX_AGAIN", most)
    path = of_opcodes(tmp_path, opcodes)
    said = cheaply(path, 64 * MIB, read=read)
    assert said == "its objects share their contents too often"


def test_a_key_that_is_long_and_there_ten_thousand_times_is_refused(tmp_path):
    """Of eight parts of a thousand letters each, shared by all."""
    key = text("n" * 1000) + b"q\x010(" + b"h\x01" * 8 + b"tq\x02"
    entries = b"h\x02h\x00" * 10_000
    path = of_opcodes(tmp_path, tensor() + b"q\x000" + key + b"0}(" + entries + b"u")
    assert cheaply(path, 64 * MIB) == f"holds a tensor with a name of {1025} characters"


def test_names_that_fill_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "MAX_LETTERS", 10_000)
    many = b"".join(text(f"{n:0100}") + b"h\x00" for n in range(200))
    path = of_opcodes(tmp_path, tensor() + b"q\x000}(" + many + b"u")
    assert cheaply(path) == "names its tensors by more than 10000 characters"


def test_paths_that_fill_the_memory_are_refused(tmp_path, monkeypatch):
    """Of many tensors a hundred deep, every name has a hundred parts."""
    monkeypatch.setattr(tree, "MAX_STEPS", 5_000)
    many = b"](" + tensor() * 100 + b"e"
    path = of_opcodes(tmp_path, b"](" * 100 + many + b"e" * 100)
    assert cheaply(path) == "nests its tensors deeper than 200 or too often"


def test_a_group_of_too_many_settings_is_refused(tmp_path):
    """Each of its parameters has them."""
    many = b"".join(text(f"s{n}") + b"K\x01" for n in range(MAX_SETTINGS))
    group = b"}(" + text("params") + b"]" + many + b"u"
    path = of_opcodes(
        tmp_path, b"}(" + text("state") + b"}" + text("param_groups") + b"]" + group + b"au"
    )
    said = cheaply(path, read=open_state)
    assert said == f"param_groups.0 has {MAX_SETTINGS + 1} settings, the limit is 1000"


def views(count, numel):
    """As many views of a storage, each from another element to the last but those."""
    each = (text(f"v{n}") + tensor((numel - count,), (1,), n, b"h\x00") for n in range(count))
    return storage(numel) + b"q\x000}(" + b"".join(each) + b"u"


@pytest.mark.parametrize("count", [MAX_OVERLAP // 2, 3 * MAX_OVERLAP])
def test_views_that_would_be_read_for_ever_are_refused(count, tmp_path):
    numel = 200_000
    path = tmp_path / "model.pt"
    zipped(path, b"\x80\x02" + views(count, numel) + b".", **{"0": bytes(4 * numel)})
    if count < MAX_OVERLAP:
        assert len(load(path).tensors) == count
    else:
        nbytes = 4 * count * (numel - count)
        size = path.stat().st_size
        assert (
            cheaply(path)
            == f"has {count} tensors that step over {nbytes} bytes in a file of {size}"
        )


def test_views_of_few_elements_that_step_over_all_are_refused(tmp_path):
    numel, step = 200_000, 10_000
    each = (text(f"v{n}") + tensor((20,), (step,), n, b"h\x00") for n in range(100))
    path = tmp_path / "model.pt"
    opcodes = storage(numel) + b"q\x000}(" + b"".join(each) + b"u"
    zipped(path, b"\x80\x02" + opcodes + b".", **{"0": bytes(4 * numel)})
    assert cheaply(path).startswith("has 100 tensors that step over ")


def test_an_optimizer_state_that_is_one_tensor_many_times_is_refused(tmp_path):
    numel, count = 200_000, 3 * MAX_OVERLAP
    keys = b"".join(map(integer, range(count)))
    states = b"".join(integer(n) + b"}" + text("exp_avg") + b"h\x01s" for n in range(count))
    one = tensor((numel,)).replace(storage(), storage(numel)) + b"q\x010"
    group = b"}" + text("params") + b"](" + keys + b"es"
    table = b"}(" + text("state") + b"}(" + states + b"u" + text("param_groups") + b"]" + group
    path = tmp_path / "optimizer.pt"
    zipped(path, b"\x80\x02" + one + table + b"au.", **{"0": bytes(4 * numel)})
    assert cheaply(path, read=open_state).startswith(
        f"has {count} tensors that step over {4 * numel * count}"
    )


@pytest.mark.parametrize("length", [b"\x8b\xff\xff\xff\x7f", b"\x8e" + bytes(6) + b"\x01\x00"])
@pytest.mark.parametrize("zip", [True, False])
def test_a_length_past_the_end_takes_no_room(zip, length, tmp_path):
    path = tmp_path / "model.pt"
    if zip:
        zipped(path, b"\x80\x04" + length + b"abc.")
    else:
        path.write_bytes(legacy(b"\x80\x04" + length + b"abc."))
    assert "its pickle is broken" in cheaply(path, MIB)


def test_a_whole_number_of_a_million_digits_is_no_size(tmp_path):
    path = of_opcodes(tmp_path, tensor((1 << (1 << 22),)))
    assert cheaply(path) == "holds a tensor whose shape is no integer from 0 to 2^63"


def test_builders_in_builders_do_not_overflow_the_stack(tmp_path):
    """torch rebuilds a type by another function, which may be the same."""
    again = named("torch._tensor._rebuild_from_type") + b"q\x00"
    deep = b"h\x00N" * 100_000 + b")" + b"\x87" * 100_000
    path = of_opcodes(tmp_path, again + deep + b"R")
    assert "its pickle is broken" in cheaply(path, 64 * MIB)


# Zips.


def test_a_member_that_claims_more_than_the_file_takes_no_room(tmp_path):
    """A stored pickle of 128 MiB in a file of some hundred bytes."""
    path = of_opcodes(tmp_path, b"N")
    content = path.read_bytes()
    at = content.index(b"PK\x01\x02")
    claimed = struct.pack("<II", 128 * MIB, 128 * MIB)
    path.write_bytes(content[: at + 20] + claimed + content[at + 28 :])
    assert "has member m/data.pkl of 134217728 bytes at" in cheaply(path, MIB)


def bomb(path, nbytes=200 * MIB):
    """A pickle that packs to a thousandth: a text of zeros."""
    packed = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
    with packed as archive, archive.open("m/data.pkl", "w") as file:
        file.write(b"\x80\x02X" + struct.pack("<I", nbytes))
        for _ in range(nbytes // MIB):
            file.write(bytes(MIB))
        file.write(b".")
    return path


def test_a_pickle_packed_a_thousand_times_is_not_unpacked(tmp_path):
    path = bomb(tmp_path / "model.pt")
    assert path.stat().st_size < MIB
    assert "bytes packed into" in cheaply(path, MIB)


def test_a_pickle_packed_ten_times_is_read(tmp_path):
    content = b"\x80\x02}(" + b"".join(text(f"w{n}") + tensor() for n in range(3000)) + b"u."
    path = zipped(tmp_path / "model.pt", content, zipfile.ZIP_DEFLATED)
    assert len(zlib.compress(content)) * 10 < len(content)
    assert len(load(path).tensors) == 3000


def directory(*members):
    """The directory of a zip: (name, offset, bytes) of stored members."""
    entries = b"".join(
        b"PK\x01\x02"
        + struct.pack("<4B4HL2L5H2L", 20, 0, 20, 0, 0, 0, 0, 0, 0, n, n, len(name), *(0,) * 5, at)
        + name
        for name, at, n in members
    )
    return entries, len(members)


def with_directory(body, *members):
    entries, count = directory(*members)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(entries), len(body), 0)
    return body + entries + end


def local(name, content):
    """A stored member as it lies in a zip."""
    sizes = (0, len(content), len(content), len(name), 0)
    return b"PK\x03\x04" + struct.pack("<5H3L2H", 20, 0, 0, 0, 0, *sizes) + name + content


PICKLE = b"\x80\x02}(" + b"".join(text(k) + tensor(of=storage(4, k)) for k in "ab") + b"u."


def test_members_that_are_one_are_refused(tmp_path):
    """Two names in the directory for the same bytes."""
    first = local(b"m/data.pkl", PICKLE)
    body = first + local(b"m/data/a", bytes(16))
    path = tmp_path / "model.pt"
    members = [(b"m/data.pkl", 0, len(PICKLE)), (b"m/data/a", len(first), 16)]
    path.write_bytes(with_directory(body, *members, (b"m/data/b", len(first), 16)))
    said = f"has members m/data/a and m/data/b that overlap at byte {len(first)}"
    assert cheaply(path) == said


def test_members_that_quote_each_other_are_refused(tmp_path):
    """The header of the second lies within the data of the first."""
    first = local(b"m/data.pkl", PICKLE)
    inner = local(b"m/data/b", bytes(16))
    body = first + local(b"m/data/a", inner)
    path = tmp_path / "model.pt"
    at = body.index(inner)
    members = [(b"m/data.pkl", 0, len(PICKLE)), (b"m/data/a", len(first), len(inner))]
    path.write_bytes(with_directory(body, *members, (b"m/data/b", at, 16)))
    assert cheaply(path) == f"has members m/data/a and m/data/b that overlap at byte {at}"


def test_members_side_by_side_are_read(tmp_path):
    """What the two above are, but for the overlap."""
    first, second = local(b"m/data.pkl", PICKLE), local(b"m/data/a", bytes(16))
    body = first + second + local(b"m/data/b", bytes(16))
    path = tmp_path / "model.pt"
    places = ((b"m/data/a", len(first), 16), (b"m/data/b", len(first + second), 16))
    path.write_bytes(with_directory(body, (b"m/data.pkl", 0, len(PICKLE)), *places))
    assert [one.name for one in load(path).tensors] == ["a", "b"]


def test_a_zip_in_a_zip_is_not_opened(tmp_path):
    inner = io.BytesIO()
    zipped(inner, b"\x80\x02" + tensor() + b".")
    path = zipped(tmp_path / "model.pt", inner.getvalue())
    assert "its pickle is broken" in cheaply(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.pt", inner.getvalue())
    assert cheaply(path).startswith("is a zip of 1 member that torch.save did not write")


BOMBS = {
    "shared contents": (SHARED, "its objects share their contents too often"),
    "laughs": (doubled(20, tensor(), PAIRS["lists"]), "holds 1 tensors 1048576 times"),
    "memo": (
        b"N" + b"".join(b"r" + struct.pack("<I", 2 * place) for place in range(1, 1_000_000)),
        "its pickle makes objects of more than …",
    ),
    "lists": (
        b"]" * 2_000_000,
        "its pickle makes more than 262144 containers and objects",
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_pickle_bombs_are_refused_within_512_mib_by_a_process_of_its_own(name, tmp_path):
    opcodes, problem = BOMBS[name]
    path = of_opcodes(tmp_path, opcodes)
    assert is_refusal(limited("RLIMIT_DATA", 512 * MIB, "inspect", path), path, problem)


def test_a_zip_bomb_is_refused_within_256_mib_by_a_process_of_its_own(tmp_path):
    path = bomb(tmp_path / "model.pt")
    done = limited("RLIMIT_DATA", 256 * MIB, "inspect", path)
    assert is_refusal(done, path, "has member m/data.pkl of 209715208 bytes packed into…")
