"""Damage to what a torch file is made of, one or two pieces at a time, so that most of the rest is
still read: other memo entries, storages, functions, keys and states in its pickle, other names and
places of the members of its zip. The same for the same seed and number."""

import io
import struct
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from random import Random

from mutations import (
    UNFIT,
    header_elements,
    header_numbers,
    header_tree,
    legacy_elements,
    opcodes_of,
    zip_elements,
    zip_fields,
    zip_members,
)
from opcodes import called, integer, named, numbers, storage, text
from valid_files import VALID, Case

Edit = Callable[[bytes, Random], bytes]
Opcodes = list[bytes]


def restructured(kind: str, seed: int, number: int) -> Case:
    """A valid file of a kind with one or two damages to its structure."""
    rng = Random(f"structure {kind} {seed} {number}")
    valid = rng.choice(VALID[kind]())
    content = valid.files[valid.target]
    for _ in range(rng.choice((1, 1, 2))):
        try:
            content = rng.choice(STRUCTURES[valid.form])(content, rng)
        except UNFIT:
            continue
    return replace(valid.case(kind), files={**valid.files, valid.target: content})


# Pickles.


def _places(opcodes: Opcodes, starts: bytes) -> list[int]:
    return [place for place, code in enumerate(opcodes) if code[:1] in starts]


def recall_another(opcodes: Opcodes, rng: Random) -> None:
    """Another memo entry of the file in place of one."""
    place = rng.choice(_places(opcodes, b"hj"))
    opcodes[place] = opcodes[rng.choice(_places(opcodes, b"hj"))]


def recall_more(opcodes: Opcodes, rng: Random) -> None:
    """A memo entry in place of a value."""
    place = rng.choice(_places(opcodes, b"XK}]N"))
    opcodes[place] = opcodes[rng.choice(_places(opcodes, b"hj"))]


def another_text(opcodes: Opcodes, rng: Random) -> None:
    """Another text of the file in place of one: a storage's key, a name."""
    place = rng.choice(_places(opcodes, b"X"))
    opcodes[place] = opcodes[rng.choice(_places(opcodes, b"X"))]


def another_global(opcodes: Opcodes, rng: Random) -> None:
    """Another function or class in place of one."""
    place = rng.choice(_places(opcodes, b"c"))
    opcodes[place] = rng.choice((opcodes[rng.choice(_places(opcodes, b"c"))], *map(named, GLOBALS)))


def another_number(opcodes: Opcodes, rng: Random) -> None:
    """Another offset, size or stride."""
    place = rng.choice(_places(opcodes, b"KM"))
    number = int.from_bytes(opcodes[place][1:], "little") + rng.choice((-4, -2, -1, 1, 2, 4))
    opcodes[place] = integer(rng.choice((number, number, 0, 1, 2)))


def another_key(opcodes: Opcodes, rng: Random) -> None:
    """A key that Python may take for another one."""
    place = rng.choice(_places(opcodes, b"XK"))
    opcodes[place] = rng.choice(KEYS)


def a_state(opcodes: Opcodes, rng: Random) -> None:
    """A state for what a call has made, or for a dict."""
    place = rng.choice(_places(opcodes, b"R}QqR"))
    recalled = opcodes[rng.choice(_places(opcodes, b"hj"))]
    opcodes.insert(place + 1, rng.choice((*STATES, recalled)) + b"b")


def a_call(opcodes: Opcodes, rng: Random) -> None:
    """A function of what is recalled, beside it or in its place."""
    place = rng.choice(_places(opcodes, b"hj"))
    opcodes[place] = named(rng.choice(GLOBALS)) + opcodes[place] + b"\x85R"


def moved(opcodes: Opcodes, rng: Random) -> None:
    """An entry's end earlier or later, or twice."""
    place = rng.choice(_places(opcodes, b"su"))
    code = opcodes.pop(place)
    opcodes.insert(rng.choice((place - 1, place + 1, rng.randrange(len(opcodes)))), code)


GLOBALS = (
    *("collections.OrderedDict", "collections.Counter", "__builtin__.set", "torch.Size"),
    *("torch.FloatStorage", "torch.HalfStorage", "torch.LongStorage", "torch.BFloat16Storage"),
    *("torch.DoubleStorage", "torch.storage.UntypedStorage", "torch.ComplexFloatStorage"),
    *("torch.Tensor", "torch.FloatTensor", "torch.nn.parameter.Parameter", "torch.device"),
    *("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch.float16"),
    *("torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_parameter", "torch.float32"),
    *("torch._utils._rebuild_parameter_with_state", "torch._tensor._rebuild_from_type_v2"),
    "torch._utils._rebuild_device_tensor_from_cpu_tensor",
    "torch._utils._rebuild_meta_tensor_no_storage",
)

KEYS = (
    *(b"\x88", b"\x89", b"K\x00", b"K\x01", b"N", b")", b"U\x01w", b"U\x02\xc3\xa9", b"K\x01\x85"),
    *(b"G" + struct.pack(">d", number) for number in (0.0, 1.0, 2.5)),
    *map(text, ("table", "model", "weight", "0", "1", "\u00e9")),
    called("torch.device", text("cpu")),
    called("_codecs.encode", text("w"), text("latin1")),
)

STATES = (
    b"}",
    b"N",
    b")",
    b"(\x89N}t",
    b"(" + storage() + integer(0) + numbers(2) + numbers(1) + b"t",
    b"N}" + text("data") + b"Ns\x86",
    b"}" + text("_metadata") + b"}s",
)

EDITS = (
    *(recall_another, recall_another, recall_more, another_text, another_text, another_global),
    *(another_number, another_number, another_key, a_state, a_call, moved),
)


def _edited(content: bytes, rng: Random, pickles: int = 1) -> bytes:
    opcodes, rest = opcodes_of(content, pickles)
    rng.choice(EDITS)(opcodes, rng)
    return b"".join(opcodes) + rest


def legacy_pickle(content: bytes, rng: Random) -> bytes:
    """A file of torch before 1.6 with one piece of its pickles changed."""
    return _edited(content, rng, 5)


# Zips.


def _members(content: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def _zipped(members: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members may have one name
        for name, member in members:
            archive.writestr(zipfile.ZipInfo(name), member)
    return file.getvalue()


def zip_pickle(content: bytes, rng: Random) -> bytes:
    """A zip of torch with one piece of its pickle changed."""
    members = _members(content)
    return _zipped(
        [
            (name, _edited(member, rng) if name.endswith("data.pkl") else member)
            for name, member in members
        ]
    )


def zip_names(content: bytes, rng: Random) -> bytes:
    """A zip with members in another order, or more of them under names that are nearly theirs."""
    members = _members(content)
    name, member = rng.choice(members)
    other = rng.choice(members)[1]
    kind = rng.randrange(4)
    if kind == 0:
        rng.shuffle(members)
    elif kind == 1:
        folder, _, rest = name.partition("/")
        near = (name.upper(), f"{folder}/{rest.upper()}", f"other/{rest}", f"{name}/", f"{name} ")
        members.insert(rng.randint(0, len(members)), (rng.choice(near), other))
    elif kind == 2:
        folder = name.partition("/")[0]
        order = (rng.choice(("byteorder", "BYTEORDER")), rng.choice((b"big", b"little", b"Little")))
        members.append((f"{folder}/{order[0]}", order[1]))
    else:
        members[members.index((name, member))] = (name.upper(), member)
    return _zipped(members)


def zip_directories(content: bytes, rng: Random) -> bytes:
    """Two archives in one file, or one with its directory twice, or with an end record more."""
    other = _zipped([(name, member[::-1]) for name, member in _members(content)])
    start, directory = content.index(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    return rng.choice(
        (
            other + content,
            content + other,
            content[:directory] + content[start:],
            content[:-2] + struct.pack("<H", 22) + other[-22:],
            content[:start] + other[other.index(b"PK\x01\x02") :],
        )
    )


STRUCTURES: dict[str, tuple[Edit, ...]] = {
    "zip": (
        *(zip_pickle, zip_pickle, zip_pickle, zip_pickle, zip_names, zip_directories),
        *(zip_elements, zip_members, zip_fields),
    ),
    "legacy": (legacy_pickle, legacy_pickle, legacy_pickle, legacy_elements),
    "safetensors": (header_tree, header_numbers, header_elements),
}
"""What is done to files of each form."""
