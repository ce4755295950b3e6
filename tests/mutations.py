"""Damage to valid files, the same for the same seed and number: to their bytes, and to what the
bytes mean to a reader: a header, opcodes, a zip directory, tokens."""

import gzip
import io
import json
import lzma
import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from random import Random

from hostile import LOUD
from opcodes import integer, storage, tensor, text
from valid_files import VALID, Case, safetensors

MAX_NBYTES = 1 << 20  # of a file; repeats of repeats would grow without end

BOUNDS = (
    *(0, 1, -1, 2, 3, 7, 8, 63, 64, 65, 127, 128, 255, 256, 1023, 1024, 1025, 4301, 65_535, 65_536),
    *((1 << power) + step for power in (24, 31, 32, 53, 60, 63, 64) for step in (-1, 0, 1)),
    *(-(1 << power) for power in (31, 63)),
)
"""Whole numbers at which readers go wrong."""

WORDS = (
    *("", "a", ".", "..", "/", "0", "\0", "\n", LOUD, "²", "\ud800", "w" * 1025, "w." * 600),
    *("__metadata__", "dtype", "shape", "data_offsets", "weight_map", "F32", "BF16", "F4", "F99"),
    *("state", "param_groups", "params", "param_names", "step", "exp_avg", "exp_avg_sq", "lr"),
    *("model", "optimizer", "storage", "module", "data.pkl", "_parameters", "_modules", "betas"),
    *("model.safetensors", "model.safetensors.index.json", "name", "rows", "settings", "match"),
    *("tok.weight", "nan", "inf", "tensor", "schema", "severity", "error", "none", "eps"),
)

Edit = Callable[[bytes, Random], bytes]
"""Damages a content. Raises what reading it raises where it is already too damaged."""

UNFIT = (  # NotImplementedError is zipfile's, of a way of compression that it lacks
    *(AttributeError, EOFError, IndexError, KeyError, NotImplementedError, OverflowError),
    *(OSError, RecursionError, RuntimeError, TypeError, ValueError),
    *(struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)


def mutated(kind: str, seed: int, number: int) -> Case:
    """A valid file of a kind with one to four damages."""
    rng = Random(f"{kind} {seed} {number}")
    valid = rng.choice(VALID[kind]())
    content = valid.files[valid.target]
    edits = EDITS[valid.form]
    for _ in range(rng.choice((1, 1, 1, 1, 2, 4))):
        edit = rng.choice(edits if rng.random() < 0.8 else BYTE_EDITS)
        try:
            content = edit(content, rng)[:MAX_NBYTES]
        except UNFIT:
            content = rng.choice(BYTE_EDITS)(content, rng)[:MAX_NBYTES]
    return replace(valid.case(kind), files={**valid.files, valid.target: content})


# Bytes.


def _place(content: bytes, rng: Random) -> int:
    """A place in it, more often near an end, where lengths and directories lie."""
    if rng.random() < 0.4:
        near = min(rng.randrange(32), len(content))
        return near if rng.random() < 0.5 else len(content) - near
    return rng.randint(0, len(content))


def _stretch(content: bytes, rng: Random) -> slice:
    start = _place(content, rng)
    return slice(start, start + rng.choice((1, 2, 4, 8, 16, 64, 300)))


def flip(content: bytes, rng: Random) -> bytes:
    """Some bits turned over."""
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 4) if content else 0):
        place = min(_place(content, rng), len(content) - 1)
        damaged[place] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def overwrite(content: bytes, rng: Random) -> bytes:
    """A bound in place of a byte or word, little- or big-endian."""
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice((*BOUNDS, len(content), len(content) - 8)) % (1 << 8 * size)
    place = _place(content, rng)
    order = rng.choice(("little", "little", "big"))
    return content[:place] + number.to_bytes(size, order) + content[place + size :]


def truncate(content: bytes, rng: Random) -> bytes:
    """Its start, or its end."""
    place = _place(content, rng)
    return content[:place] if rng.random() < 0.8 else content[place:]


def insert(content: bytes, rng: Random) -> bytes:
    """Bytes of any sort more."""
    place = _place(content, rng)
    length = rng.choice((1, 2, 4, 8, 30))
    more = rng.choice((rng.randbytes(length), bytes(length), b"\xff" * length))
    return content[:place] + more + content[place:]


def repeat(content: bytes, rng: Random) -> bytes:
    """A stretch twice, or many times."""
    stretch = _stretch(content, rng)
    times = rng.choice((1, 1, 1, 2, 100, 3000))
    return content[: stretch.stop] + content[stretch] * times + content[stretch.stop :]


def drop(content: bytes, rng: Random) -> bytes:
    """It without a stretch."""
    stretch = _stretch(content, rng)
    return content[: stretch.start] + content[stretch.stop :]


def swap(content: bytes, rng: Random) -> bytes:
    """A stretch over another one, or the two exchanged."""
    one, other = _stretch(content, rng), _stretch(content, rng)
    damaged = bytearray(content)
    damaged[one] = content[other]
    if rng.random() < 0.5:
        damaged[other] = content[one]
    return bytes(damaged)


def splice(content: bytes, rng: Random) -> bytes:
    """Its start and the end of another file of any kind."""
    files = rng.choice(VALID[rng.choice([*VALID])]()).files
    other = files[rng.choice([*files])]
    return content[: _place(content, rng)] + other[_place(other, rng) :]


_ELEMENTS = (
    *(
        struct.pack("<f", x)
        for x in (0, -0.0, 1e-45, 3e38, -3e38, 1e-20, float("inf"), float("nan"))
    ),
    *(struct.pack("<d", x) for x in (5e-324, 1.7e308, float("-inf"), float("nan"))),
    *(bytes(4), b"\xff" * 4, b"\x01\x00\x80\x7f"),
)
"""Elements at which arithmetic goes wrong, the last a signalling NaN."""


def elements(data: bytes, rng: Random) -> bytes:
    """Tensors' bytes with odd numbers among them, or nothing else."""
    word = rng.choice(_ELEMENTS)
    size = min(len(data), rng.choice((4, 8, 40, len(data), len(data))))
    place = rng.randrange(0, len(data) - size + 1, 4)
    return data[:place] + (word * size)[:size] + data[place + size :]


def digits(content: bytes, rng: Random) -> bytes:
    """Another number in place of one that is written in digits."""
    found = [match.span() for match in re.finditer(rb"\d+", content)]
    start, stop = rng.choice(found)
    number = rng.choice((*BOUNDS, int(content[start:stop][:20]) + rng.choice((-1, 1, 1 << 32))))
    return content[:start] + str(number).encode() + content[stop:]


BYTE_EDITS: Sequence[Edit] = (flip, overwrite, truncate, insert, repeat, drop, swap, splice)


# JSON.


class Members(list[tuple[str, object]]):
    """The members of an object, of which two may have one name."""


@dataclass(frozen=True)
class Raw:
    """A text in place of a JSON value."""

    text: str


RAW = ("NaN", "-Infinity", "1e999", "-0.0", "1e-400", "9" * 5000, "1.0", "[" * 2000, "", "{", "\0")


def encoded(node: object) -> str:
    """A tree of Members, lists, Raw and scalars as JSON."""
    if isinstance(node, Members):
        members = (f"{json.dumps(name)}: {encoded(member)}" for name, member in node)
        return "{" + ", ".join(members) + "}"
    if isinstance(node, list):
        return "[" + ", ".join(map(encoded, node)) + "]"
    return node.text if isinstance(node, Raw) else json.dumps(node)


def _any_json(rng: Random, depth: int = 3) -> object:
    kind = rng.choice((0, 0, 1, 1, 2, 3, 4, 5) if depth else (0, 0, 1, 1, 5))
    if kind == 0:
        return rng.choice(BOUNDS)
    if kind == 1:
        return rng.choice(WORDS)
    if kind == 2:
        return Raw(rng.choice(RAW))
    if kind == 3:
        return [_any_json(rng, depth - 1) for _ in range(rng.choice((0, 1, 2, 3, 65)))]
    if kind == 4:
        return Members(
            (rng.choice(WORDS), _any_json(rng, depth - 1)) for _ in range(rng.randrange(4))
        )
    return rng.choice((None, True, False, 0.5, -1e300))


def _inner(node: object) -> list[list[object]]:
    """Every list and object in a tree."""
    found: list[list[object]] = []
    if isinstance(node, list):
        found.append(node)
        for child in node:
            found += _inner(child[1] if isinstance(node, Members) else child)
    return found


def edit_tree(tree: object, rng: Random) -> None:
    """Damages one member or item: another value, another name, gone, twice, or elsewhere."""
    container = rng.choice([inner for inner in _inner(tree) if inner])
    at = rng.randrange(len(container))
    name, node = container[at] if isinstance(container, Members) else (None, container[at])
    kind = rng.randrange(7)
    if kind == 0:
        del container[at]
        return
    if kind == 1:
        container.insert(rng.randint(0, len(container)), container[at])
        return
    if kind == 2 and name is not None:
        other = container[rng.randrange(len(container))][0]
        name = rng.choice((other, rng.choice(WORDS)))
    elif kind == 3 and isinstance(node, int):
        node = node + rng.choice((1, -1, 4, -4, node, 1 << 32, 1 << 64))
    elif kind == 4:
        node = deepcopy(rng.choice(_inner(tree)))
    elif kind == 5 and isinstance(node, str):
        node = rng.choice(WORDS)
    else:
        node = _any_json(rng)
    container[at] = node if name is None else (name, node)


def _tree(text: bytes) -> object:
    return json.loads(text.decode(), object_pairs_hook=Members)


def json_tree(content: bytes, rng: Random) -> bytes:
    """A JSON text with its tree damaged."""
    tree = _tree(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        edit_tree(tree, rng)
    return encoded(tree).encode()


def header_tree(content: bytes, rng: Random) -> bytes:
    """A safetensors file with its header's tree damaged, most often under the right length."""
    nbytes = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + nbytes], content[8 + nbytes :]
    text = json_tree(header, rng)
    if rng.random() < 0.1:
        text += b" " * rng.choice((1, 7, 4096))
    length = len(text) if rng.random() < 0.9 else rng.choice(BOUNDS) % (1 << 64)
    if rng.random() < 0.2:
        data = rng.choice((data + bytes(8), data[:-1], b""))
    return length.to_bytes(8, "little") + text + data


def header_elements(content: bytes, rng: Random) -> bytes:
    """A safetensors file with odd elements."""
    start = 8 + int.from_bytes(content[:8], "little")
    return content[:start] + elements(content[start:], rng)


def header_numbers(content: bytes, rng: Random) -> bytes:
    """Tensors of many types and shapes, their offsets as they should be: only a type, a shape or a
    name is odd."""
    tensors = {}
    for _ in range(rng.randint(1, 5)):
        dtype, bits = rng.choice((*_DTYPES, ("F99", 8)))
        shape = [rng.choice((0, 1, 1, 2, 3, 8)) for _ in range(rng.choice((0, 1, 2, 3, 64, 65)))]
        numel = 1
        for size in shape:
            numel = min(numel * size, 1 << 12)
        name = rng.choice((*WORDS, "blocks.0.attn.weight", "blocks.1.attn.weight"))
        nbytes = -(-numel * bits // 8)
        tensors[name] = (dtype, shape, rng.choice((bytes(nbytes), rng.randbytes(nbytes))))
    return safetensors(tensors)


_DTYPES = (
    *(("F64", 64), ("F32", 32), ("F16", 16), ("BF16", 16), ("F8_E4M3", 8), ("F8_E5M2", 8)),
    *(("F8_E8M0", 8), ("F4", 4), ("F6_E2M3", 6), ("I64", 64), ("U64", 64), ("I32", 32)),
    *(("U32", 32), ("I16", 16), ("U16", 16), ("I8", 8), ("U8", 8), ("BOOL", 8), ("C64", 64)),
)


# Tokens of JSON and of TOML.

_TOKEN = re.compile(
    r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[\w.+-]+|\n|[ \t]+|.', re.DOTALL
)  # a text, a word or number, a line's end, spaces, a sign

TOML_TOKENS = (
    *('"', "'", '"""', "'''", "=", ".", ",", "[", "]", "[[", "]]", "{", "}", "#", "\n", "\r", "\0"),
    *("[group]\n", "[[severity]]\n", "[limits.SC201]\n", "\n[[group]]\n", "tool.scalecheck", "_"),
    *("0x" + "f" * 4000, "9" * 5000, "0b1", "1e999", "-nan", "inf", "true", "[" * 1500),
    *("1979-05-27T07:32:00Z", "07:32:00", '"\\ud800"', '"\\U0010FFFF"', '"\\u0007"', "a." * 60),
    *("{a=1}", "[{}]", "[[]]", "select", "match", "role", "rules", "reason", "high", "names"),
)


TOML_VALUES = (
    *TOML_TOKENS[-10:],
    *('"SC101"', '["SC201", "*"]', "[1, 2.5]", "[0.1, nan]", "-inf", "nan", "1e999", "0", "-1"),
    *('""', "''", "[]", "{}", "[[1]]", '[{names=["a"]}]', "true", "1979-05-27", '{high = "a"}'),
    *("9223372036854775807", "18446744073709551616", "0x" + "f" * 16, "{a = {b = {c = 1}}}"),
)


def toml_values(content: bytes, rng: Random) -> bytes:
    """A configuration with other settings, some under another key, most of them TOML still."""
    lines = content.decode().split("\n")
    keyed = [number for number, line in enumerate(lines) if " = " in line]
    for number in rng.choices(keyed, k=rng.choice((1, 1, 2, 4))):
        key, _, value = lines[number].partition(" = ")
        kind = rng.randrange(4)
        if kind == 0:
            key = rng.choice([lines[other].partition(" = ")[0] for other in keyed])
        elif kind == 1:
            value = lines[rng.choice(keyed)].partition(" = ")[2]
        elif kind == 2:
            value = json.dumps(rng.choice(WORDS))
        else:
            value = rng.choice(TOML_VALUES)
        lines[number] = f"{key} = {value}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def tokens(content: bytes, rng: Random) -> bytes:
    """A text with tokens gone, twice, exchanged, or others in their place."""
    found = _TOKEN.findall(content.decode("utf-8", "surrogateescape"))
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, other = rng.randrange(len(found)), rng.randrange(len(found))
        kind = rng.randrange(6)
        if kind == 0:
            del found[at : at + rng.choice((1, 1, 3))]
        elif kind == 1:
            found[other:other] = found[at : at + rng.choice((1, 3, 10, 40))]
        elif kind == 2:
            found[at], found[other] = found[other], found[at]
        elif kind == 3:
            found[at] = str(rng.choice(BOUNDS))
        elif kind == 4:
            found[at] = json.dumps(rng.choice(WORDS))
        else:
            found[at] = rng.choice((*TOML_TOKENS, *RAW))
    return "".join(found).encode("utf-8", "surrogateescape")


# Pickles.


VALUES = (
    *(b"N", b"\x88", b"\x89", b")", b"]", b"}", b"\x8f", b"K\x01", b"h\x00", b"h\x01", b"h\x05"),
    *(b"G" + struct.pack(">d", x) for x in (-1, 0, -0.0, 1, 5e-324, 1e308, -1e-3, 0.999)),
    *(b"G\x7f\xf8" + bytes(6), b"G\x7f\xf0" + bytes(6), b"I9\n", b"L9L\n", b"F1e999\n"),
    *(b"cos\nsystem\n", b"cos\nsystem\n(X\x04\x00\x00\x00exittR", b"(ios\nsystem\n", b"ca\nb\n)R"),
    *(b"ca\nb\n)\x81}b", b"ctorch\nfloat16\n", b"ctorch\nFloatStorage\n", b"C\x02ab", b"\x82\x01"),
    *(
        b"ccollections\nOrderedDict\n)R",
        b"(K\x01K\x02K\x03t",
        b"(X\x01\x00\x00\x00aK\x01d",
        storage(2),
    ),
    b"\x8a\xff" + b"\xff" * 255,
    tensor(of=storage(2)),
    b"ctorch._utils\n_rebuild_sparse_tensor\n(K\x00)tR",
    b"ctorch._utils\n_rebuild_qtensor\n(NK\x00(K\x02tK\x01tR",
    b"ctorch._utils\n_rebuild_parameter\n(N\x88NtR",
    b"cnumpy.core.multiarray\n_reconstruct\n)R",
)
"""Opcodes that leave one object on the stack."""

SNIPPETS = (*VALUES, *(bytes([code]) for code in range(256)), b"0", b"(", b"q\x00", b"\x94", b"2")


def opcodes_of(content: bytes, pickles: int) -> tuple[list[bytes], bytes]:
    """The opcodes of so many pickles with their arguments, and what lies behind them."""
    stream = io.BytesIO(content)
    found: list[bytes] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(pickles):
            places = [place or 0 for _, _, place in pickletools.genops(stream)]
            for start, stop in zip(places, [*places[1:], stream.tell()], strict=True):
                found.append(content[start:stop])
    return found, content[stream.tell() :]


def edit_opcodes(opcodes: list[bytes], rng: Random) -> None:
    """Damages one opcode: another one, another argument, gone, again, elsewhere."""
    at, other = rng.randrange(len(opcodes)), rng.randrange(len(opcodes))
    kind = rng.randrange(8)
    if kind == 0:
        del opcodes[at : at + rng.choice((1, 1, 2, 5))]
    elif kind == 1:
        opcodes[other:other] = opcodes[at : at + rng.choice((1, 2, 10, 60))]
    elif kind == 2:
        opcodes[at], opcodes[other] = opcodes[other], opcodes[at]
    elif kind == 3:
        opcodes.insert(at, rng.choice(SNIPPETS))
    elif kind == 4:
        opcodes[at] = bytes([rng.randrange(256)]) + opcodes[at][1:]
    elif kind == 5:
        opcodes[at] *= rng.choice((2, 2, 2, 100, 5000))
    else:
        edit_value(opcodes, rng)


def edit_value(opcodes: list[bytes], rng: Random) -> None:
    """Puts an object in place of another: what follows finds the stack as it was."""
    pushing = [n for n, code in enumerate(opcodes) if code[:1] in _PUSHING]
    place = rng.choice(pushing)
    opcodes[place] = _other_value(opcodes[place], opcodes, rng)


_PUSHING = b"KJMIG\x8a\x8bXUTC\x88\x89N)]}hjc"
_RECALLING = b"hj"


def _other_value(code: bytes, opcodes: list[bytes], rng: Random) -> bytes:
    if code[:1] in b"KJM" and rng.random() < 0.6:
        return integer(rng.choice(BOUNDS))
    if code[:1] in b"XU" and rng.random() < 0.6:
        return text(rng.choice(WORDS))
    if code[:1] in _RECALLING and rng.random() < 0.6:
        return b"h" + bytes([rng.randrange(256)])
    same = [one for one in opcodes if one[:1] == code[:1]]
    return rng.choice((rng.choice(VALUES), rng.choice(same), integer(rng.choice(BOUNDS))))


def _pickle(content: bytes, rng: Random, pickles: int = 1) -> bytes:
    opcodes, rest = opcodes_of(content, pickles)
    edit = rng.choice((edit_opcodes, edit_value))
    for _ in range(rng.choice((1, 1, 2, 3))):
        edit(opcodes, rng)
    return b"".join(opcodes) + rest


def pickles(content: bytes, rng: Random) -> bytes:
    """A pickle by itself with some of its opcodes damaged."""
    return _pickle(content, rng)


def legacy_pickles(content: bytes, rng: Random) -> bytes:
    """A file of torch before 1.6 with an opcode of its five pickles damaged."""
    return _pickle(content, rng, 5)


def legacy_elements(content: bytes, rng: Random) -> bytes:
    """The same with odd elements, and odd counts of them."""
    opcodes, data = opcodes_of(content, 5)
    return b"".join(opcodes) + elements(data, rng)


# Zips.


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zipped(members: dict[str, bytes], methods: Callable[[str], int]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(name), member, methods(name))
    return file.getvalue()


def _stored(_: str) -> int:
    return zipfile.ZIP_STORED


def zip_pickle(content: bytes, rng: Random) -> bytes:
    """A zip of torch with an opcode of its pickle damaged."""
    members = _members(content)
    [name] = [name for name in members if name.endswith("data.pkl")]
    return _zipped({**members, name: _pickle(members[name], rng)}, _stored)


def zip_elements(content: bytes, rng: Random) -> bytes:
    """A zip of torch with odd elements in some of its storages."""
    members = _members(content)
    storages = [name for name in members if "/data/" in name and members[name]]
    for name in rng.choices(storages, k=rng.choice((1, 1, len(storages)))):
        members[name] = elements(members[name], rng)
    return _zipped(members, _stored)


def msgpack_markers(content: bytes, rng: Random) -> bytes:
    """MessagePack with some markers and counts changed: bytes beyond ASCII, and those behind."""
    damaged = bytearray(content)
    places = [place for place, byte in enumerate(content) if byte >= 0x80] or [0]
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = rng.choice(places) + rng.choice((0, 0, 1, 2))
        if place < len(damaged):
            damaged[place] = rng.choice((rng.randrange(256), rng.randrange(0x80, 0xE0)))
    return bytes(damaged)


def npy_header(content: bytes, rng: Random) -> bytes:
    """A NumPy array with a word of its header changed, or its length."""
    at = 10 + int.from_bytes(content[8:10], "little")
    words = re.split(rb"(\w+|[<>|]\w\d*)", content[10:at])
    if len(words) < 3:
        return overwrite(content, rng)
    place = rng.randrange(1, len(words), 2)
    number = str(rng.choice((*BOUNDS, rng.randrange(1 << 20), rng.randrange(1 << 20))))
    word = rng.choice((number, number, *WORDS, "True", "None", "O", "V2", ">f4", "U3", "'"))
    words[place] = word.encode(errors="replace")
    text = b"".join(words)
    length = len(text) if rng.random() < 0.9 else rng.choice(BOUNDS) % (1 << 16)
    return content[:8] + (length % (1 << 16)).to_bytes(2, "little") + text + content[at:]


def npz_headers(content: bytes, rng: Random) -> bytes:
    """A zip of NumPy arrays with the header of one damaged, and its members deflated or not."""
    members = _members(content)
    name = rng.choice([*members])
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    return _zipped({**members, name: npy_header(members[name], rng)}, lambda _: method)


def zip_members(content: bytes, rng: Random) -> bytes:
    """A zip with members renamed, gone, more, shorter, compressed, or a zip itself."""
    members = _members(content)
    name = rng.choice([*members])
    kind = rng.randrange(6)
    if kind == 0:
        del members[name]
    elif kind == 1:
        other = rng.choice([*members, "archive/constants.pkl", "archive/byteorder", "../a", "a/b/"])
        members[other] = members[name]
    elif kind == 2:
        members[name] = rng.choice((members[name][:-1], members[name] + b"\0", b"", bytes(70_000)))
    elif kind == 3:
        members[name] = content
    elif kind == 4:
        members = {f"more/{name}": member for name, member in members.items()}
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    method = rng.choice(methods)
    return _zipped(members, lambda each: method if each == name else zipfile.ZIP_STORED)


_FIELDS = {
    b"PK\x01\x02": (
        *((4, 2), (6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2)),
        *((34, 2), (36, 2), (38, 4), (42, 4)),
    ),
    b"PK\x03\x04": ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\x05\x06": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
    b"PK\x06\x06": ((4, 8), (24, 8), (32, 8), (40, 8), (48, 8)),
    b"PK\x06\x07": ((4, 4), (8, 8), (16, 4)),
}
"""Where numbers lie in the records of a zip: place and bytes."""


def zip_fields(content: bytes, rng: Random) -> bytes:
    """A zip with numbers of its directory and headers changed."""
    damaged = bytearray(content)
    places = [
        match.start()
        for match in re.finditer(rb"PK(?:\x01\x02|\x03\x04|\x05\x06|\x06\x06|\x06\x07)", content)
    ]
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = rng.choice(places)
        at, size = rng.choice(_FIELDS[content[place : place + 4]])
        at += place
        old = int.from_bytes(content[at : at + size], "little")
        new = rng.choice((*BOUNDS, old + 1, old - 1, old * 2, old + 30, rng.choice(places)))
        damaged[at : at + size] = (new % (1 << 8 * size)).to_bytes(size, "little")
    return bytes(damaged)


def tar_headers(content: bytes, rng: Random) -> bytes:
    """A tar archive with a field of a header changed, and a checksum that fits."""
    damaged = bytearray(content)
    places = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]
    at = rng.choice(places)
    first, size = rng.choice(((0, 100), (124, 12), (124, 12), (156, 1), (345, 155)))
    old = content[at + first : at + first + size]
    number = b"%o" % rng.choice([abs(bound) for bound in BOUNDS])
    new = rng.choice((number, b"\x80" + old[1:], bytes([rng.choice(b"0123456789xgLKSD")]), old[1:]))
    damaged[at + first : at + first + size] = new[:size].ljust(size, b"\0")
    damaged[at + 148 : at + 156] = b" " * 8
    damaged[at + 148 : at + 156] = b"%06o\0 " % sum(damaged[at : at + 512])
    return bytes(damaged)


def compressed_tar(content: bytes, rng: Random) -> bytes:
    """The same of one that is compressed."""
    return gzip.compress(tar_headers(gzip.decompress(content), rng), mtime=0)


EDITS: dict[str, Sequence[Edit]] = {
    "safetensors": (header_tree, header_tree, header_numbers, header_elements, digits),
    "json": (json_tree, json_tree, json_tree, tokens, digits),
    "zip": (zip_pickle, zip_pickle, zip_pickle, zip_elements, zip_members, zip_fields),
    "npz": (npz_headers, npz_headers, zip_fields),
    "npy": (npy_header,),
    "bytes": BYTE_EDITS,
    "msgpack": (msgpack_markers,),
    "legacy": (legacy_pickles, legacy_pickles, legacy_elements),
    "pickle": (pickles, digits),
    "distcp": BYTE_EDITS,
    "tar": (tar_headers, *BYTE_EDITS),
    "tar.gz": (compressed_tar, *BYTE_EDITS),
    "toml": (toml_values, toml_values, tokens, digits),
}
"""What is done to the meaning of files of each form."""
